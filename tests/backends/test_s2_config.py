from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.s2.backend import CHECK_UNENCRYPTED
from resumable_stream.backends.s2.config import S2Config
from resumable_stream.exceptions import InvalidBackendError

CLOUD = {"basin": "my-basin-01", "access_token": "token-of-the-cloud"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S2_BASIN", "S2_ACCESS_TOKEN", "S2_ACCOUNT_ENDPOINT", "S2_BASIN_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def config(**options: Any) -> S2Config:
    return S2Config.from_options("default", {**CLOUD, **options})


def problem(**options: Any) -> str:
    with pytest.raises(InvalidBackendError) as caught:
        S2Config.from_options("default", options)
    return str(caught.value)


def test_a_basin_and_a_token_are_enough_for_the_cloud() -> None:
    found = config()
    assert found.account_endpoint == "https://a.s2.dev/v1"
    assert found.basin_endpoint == "https://my-basin-01.b.s2.dev/v1"
    assert found.is_cloud


def test_s2s_environment_variables_fill_what_the_options_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2_BASIN", "basin-of-the-environment")
    monkeypatch.setenv("S2_ACCESS_TOKEN", "token-of-the-environment")
    monkeypatch.setenv("S2_ACCOUNT_ENDPOINT", "http://localhost:8080")
    monkeypatch.setenv("S2_BASIN_ENDPOINT", "http://localhost:8080")
    found = S2Config.from_options("default", {"basin": "basin-of-the-options", "access_token": None})
    assert found.basin == "basin-of-the-options"
    assert found.access_token == "token-of-the-environment"
    assert found.account_endpoint == found.basin_endpoint == "http://localhost:8080/v1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("localhost", "http://localhost/v1"),
        ("[::1]:8080", "http://[::1]:8080/v1"),
        ("s2.internal.example:8443", "https://s2.internal.example:8443/v1"),
        ("{basin}.b.s2.dev", "https://my-basin-01.b.s2.dev/v1"),
        ("https://{basin}.cell.example/v1", "https://my-basin-01.cell.example/v1"),
        ("https://proxy.example/s2/v1", "https://proxy.example/s2/v1"),
    ],
)
def test_an_endpoint_is_taken_in_every_usual_form(given: str, expected: str) -> None:
    assert config(account_endpoint="https://a.s2.dev", basin_endpoint=given).basin_endpoint == expected


@pytest.mark.parametrize(
    "given",
    ["", "ftp://example.com", "https://", "https://user:pass@example.com", "https://example.com?x=1", "http://h:99999"],
)
def test_what_is_no_endpoint_is_refused_without_repeating_it(given: str) -> None:
    message = problem(**CLOUD, account_endpoint="https://a.s2.dev", basin_endpoint=given or " ")
    assert "S2_BASIN_ENDPOINT" in message
    assert "user:pass" not in message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"access_token": "x"}, ["OPTIONS['basin']", "S2_BASIN"]),
        ({"basin": "Short"}, ["'Short'", "S2_BASIN"]),
        ({"basin": "my-basin-01"}, ["OPTIONS['access_token']", "S2_ACCESS_TOKEN"]),
        ({**CLOUD, "basin_endpoint": "http://localhost"}, ["OPTIONS['account_endpoint']", "S2_ACCOUNT_ENDPOINT"]),
        ({**CLOUD, "account_endpoint": "http://localhost"}, ["OPTIONS['basin_endpoint']", "S2_BASIN_ENDPOINT"]),
        ({**CLOUD, "acess_token": "x"}, ["acess_token", "access_token"]),
        ({**CLOUD, "timeout": 0}, ["OPTIONS['timeout']", "above 0"]),
        ({**CLOUD, "timeout": "5"}, ["OPTIONS['timeout']", "'5'"]),
        ({**CLOUD, "retention_seconds": 0}, ["OPTIONS['retention_seconds']", "whole number above 0"]),
        ({**CLOUD, "max_connections": 1.5}, ["OPTIONS['max_connections']", "whole number"]),
        ({**CLOUD, "client": object(), "transport": object()}, ["'client'", "'transport'"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_or_missing_option_is_named_with_its_fix(options: dict[str, Any], named: list[str]) -> None:
    message = problem(**options)
    assert message.startswith("Backend 'default': ")
    assert all(name in message for name in named), message


@pytest.mark.parametrize("token", ["with space ", "new\nline", "ünïcode", 5])
def test_a_malformed_token_is_refused_without_showing_it(token: Any) -> None:
    message = problem(basin="my-basin-01", access_token=token)
    assert "S2_ACCESS_TOKEN" in message
    assert str(token) not in message


def test_a_server_that_is_not_the_cloud_may_do_without_a_token() -> None:
    found = S2Config.from_options(
        "default", {"basin": "my-basin-01", "account_endpoint": "localhost", "basin_endpoint": "localhost"}
    )
    assert found.access_token == ""


def test_the_token_is_in_no_repr() -> None:
    assert CLOUD["access_token"] not in repr(config())
    assert CLOUD["access_token"] not in repr(S2Backend("default", dict(CLOUD)))


@pytest.mark.parametrize(
    ("endpoint", "ids"),
    [("https://s2.example", []), ("http://127.0.0.1:80", []), ("http://s2.example", [CHECK_UNENCRYPTED])],
)
def test_the_check_warns_of_a_token_sent_without_encryption_to_another_host(endpoint: str, ids: list[str]) -> None:
    backend = S2Backend("default", {**CLOUD, "account_endpoint": endpoint, "basin_endpoint": endpoint})
    messages = backend.check()
    assert [message.id for message in messages] == ids
    assert all(CLOUD["access_token"] not in str(message) and message.hint for message in messages)


@pytest.mark.parametrize("package", ["aiohappyeyeballs", "httptools", "httpx"])
def test_without_its_packages_only_the_backend_itself_fails_and_says_what_to_install(package: str) -> None:
    script = f"""
import sys
sys.modules[{package!r}] = None
import resumable_stream.backends, resumable_stream.backends.memory
from resumable_stream.exceptions import InvalidBackendError
try:
    import resumable_stream.backends.s2
except InvalidBackendError as error:
    sys.stdout.write(str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 'pip install "django-resumable-stream[s2]"' in done.stdout
