from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from resumable_stream.conf import S2_BACKEND, SQLITE_BACKEND, Settings, known_settings, user_settings
from resumable_stream.conf import settings as ours

ENVIRONMENT = ("S2_BASIN", "S2_BATCH_SIZE", "S2_LINGER_DURATION_MS")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    settings.RESUMABLE_STREAM = {}


def test_everything_has_a_default_that_is_allowed() -> None:
    for name, setting in known_settings().items():
        assert setting.problem(setting.value({})) is None, name


def test_without_the_dictionary_the_defaults_hold(settings: Any) -> None:
    del settings.RESUMABLE_STREAM

    assert ours.lease_seconds == 10
    assert ours.backends == {"default": {"BACKEND": SQLITE_BACKEND, "OPTIONS": {}}}


def test_a_value_is_read_when_it_is_used(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"LEASE_SECONDS": 3}
    assert ours.lease_seconds == 3
    settings.RESUMABLE_STREAM = {"LEASE_SECONDS": 4.5}
    assert ours.lease_seconds == 4.5


def test_s2_is_the_log_where_its_basin_is_in_the_environment(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv("S2_BASIN", "chats")
    assert ours.backends["default"]["BACKEND"] == S2_BACKEND
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": {"BACKEND": "mine"}}}
    assert ours.backends["default"]["BACKEND"] == "mine"


def test_s2s_variables_fill_in_where_the_dictionary_is_silent(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv("S2_BATCH_SIZE", "7")
    monkeypatch.setenv("S2_LINGER_DURATION_MS", "20")
    assert (ours.batch_size, ours.linger_ms) == (7, 20)
    settings.RESUMABLE_STREAM = {"BATCH_SIZE": 8}
    assert (ours.batch_size, ours.linger_ms) == (8, 20)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2_BATCH_SIZE", "")
    monkeypatch.setenv("S2_BASIN", "")

    assert ours.batch_size == 1000
    assert ours.backends["default"]["BACKEND"] == SQLITE_BACKEND


def test_a_variable_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2_BATCH_SIZE", "many")

    with pytest.raises(ImproperlyConfigured, match="S2_BATCH_SIZE must be a whole number, not 'many'"):
        _ = ours.batch_size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"LEASE_SECONDS": "10"}, "['LEASE_SECONDS'] must be int or float, not '10'."),
        ({"LEASE_SECONDS": True}, "['LEASE_SECONDS'] must be int or float, not True."),
        ({"LEASE_SECONDS": 0.5}, "['LEASE_SECONDS'] must be at least 1, not 0.5."),
        ({"BATCH_SIZE": 1.5}, "['BATCH_SIZE'] must be int, not 1.5."),
        ({"BACKENDS": []}, "['BACKENDS'] must be dict, not []."),
        ({"DELIVER": "later"}, "['DELIVER'] must be one of 'durable', 'live', not 'later'."),
        ({"HANDLE_SIGNALS": 1}, "['HANDLE_SIGNALS'] must be bool, not 1."),
        ({"CHAT_VIEW": 5}, "['CHAT_VIEW'] must be str or None, not 5."),
        ({"HISTORY_TURNS": 0}, "['HISTORY_TURNS'] must be at least 1, not 0."),
        ({"HISTORY_TURNS": None}, "['HISTORY_TURNS'] must be int, not None."),
        ({"MAX_READERS_PER_OWNER": 0}, "['MAX_READERS_PER_OWNER'] must be at least 1, not 0."),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(settings: Any, values: dict[str, Any], message: str) -> None:
    settings.RESUMABLE_STREAM = values
    (name,) = values

    with pytest.raises(ImproperlyConfigured) as refused:
        getattr(ours, name.lower())
    assert str(refused.value) == f"RESUMABLE_STREAM{message}"


def test_one_wrong_value_does_not_spoil_the_others(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"LEASE_SECONDS": None, "RING_BYTES": 5}

    assert ours.ring_bytes == 5


def test_what_is_no_dictionary_is_refused(settings: Any) -> None:
    settings.RESUMABLE_STREAM = ["LEASE_SECONDS"]

    with pytest.raises(ImproperlyConfigured, match="must be a dictionary, not list"):
        user_settings()


def test_every_setting_is_an_attribute_of_the_same_name() -> None:
    assert {name.lower() for name in known_settings()} == {name for name in vars(Settings) if not name.startswith("_")}


def test_nothing_is_read_when_the_module_is_imported() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    code = "import resumable_stream.conf, resumable_stream.backends; print('imported')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "imported\n"
