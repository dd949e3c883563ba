from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from resumable_stream.backends import BackendHandler, backends
from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.exceptions import InvalidBackendError

MEMORY = "resumable_stream.backends.memory.MemoryBackend"
SQLITE = "resumable_stream.backends.sqlite.SQLiteBackend"


def configured(**configs: Any) -> override_settings:
    return override_settings(RESUMABLE_STREAM={"BACKENDS": configs})


def test_an_alias_gives_its_backend_and_always_the_same(tmp_path: Path) -> None:
    with configured(default={"BACKEND": MEMORY}, other={"BACKEND": SQLITE, "OPTIONS": {"path": tmp_path / "log"}}):
        assert type(backends["default"]) is MemoryBackend
        assert type(backends["other"]) is SQLiteBackend
        assert backends["default"] is backends["default"]
        assert [backend.alias for backend in backends.values()] == ["default", "other"]
        assert len(backends) == 2


def test_the_embedded_log_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S2_BASIN", raising=False)
    with override_settings(RESUMABLE_STREAM={}):
        assert type(backends["default"]) is SQLiteBackend


def test_a_change_of_the_setting_makes_new_backends() -> None:
    with configured(default={"BACKEND": MEMORY}):
        before = backends["default"]
        with configured(default={"BACKEND": MEMORY}):
            assert backends["default"] is not before


def test_a_change_of_another_setting_makes_none() -> None:
    with configured(default={"BACKEND": MEMORY}):
        before = backends["default"]
        with override_settings(DEBUG=True):
            assert backends["default"] is before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MEMORY, r"\['default'\] must be a dictionary with .*'BACKEND'"),
        ({}, r"\['default'\] must be a dictionary with .*'BACKEND'"),
        ({"BACKEND": MemoryBackend}, r"\['default'\] must be a dictionary with .*'BACKEND'"),
        ({"BACKEND": "no.such.Backend"}, r"'BACKEND'\] is 'no.such.Backend', which cannot be imported: No module"),
        ({"BACKEND": "resumable_stream.backends.memory.Memory"}, "cannot be imported.*Correct the dotted path"),
        ({"BACKEND": "MemoryBackend"}, "cannot be imported"),
        ({"BACKEND": "pathlib.Path"}, "not a subclass of BaseBackend"),
        ({"BACKEND": "os.getcwd"}, "not a subclass of BaseBackend"),
        ({"BACKEND": MEMORY, "OPTIONS": ["path"]}, r"'OPTIONS'\] must be a dictionary"),
        ({"BACKEND": MEMORY, "OPTIONS": {"path": "x"}}, "'default'.*unknown path"),
    ],
)
def test_a_wrong_configuration_is_named_with_its_fix(config: Any, message: str) -> None:
    with configured(default=config), pytest.raises(InvalidBackendError, match=message) as caught:
        backends["default"]
    assert isinstance(caught.value, ImproperlyConfigured)


def test_an_alias_that_is_not_configured_is_an_error() -> None:
    with configured(default={"BACKEND": MEMORY}), pytest.raises(InvalidBackendError, match=r"no 'other'.*'default'"):
        backends["other"]


async def test_all_backends_are_closed_even_if_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    handler = BackendHandler()
    closed: list[str] = []
    with configured(a={"BACKEND": MEMORY}, b={"BACKEND": MEMORY}, c={"BACKEND": MEMORY}):
        for alias in handler:
            handler[alias].close = _closing(handler[alias], closed)  # type: ignore[method-assign]
        await handler.close_all()
    assert closed == ["c", "a"]
    assert "Backend could not be closed. backend=b" in caplog.text


def _closing(backend: Any, closed: list[str]) -> Any:
    async def close() -> None:
        if backend.alias == "b":
            raise OSError("a fault")
        closed.append(backend.alias)

    return close


# The test runner may have threads; that the child does next to nothing makes its fork safe all the same.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_makes_backends_of_its_own() -> None:
    with configured(default={"BACKEND": MEMORY}):
        parents = backends["default"]
        child = os.fork()
        if child == 0:
            os._exit(0 if backends["default"] is not parents else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert backends["default"] is parents
