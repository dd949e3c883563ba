"""``manage.py resumable_stream`` on the embedded log, run as people run it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from resumable_stream.backends import backends
from resumable_stream.chat.api import ResumableChat
from resumable_stream.management.commands.resumable_stream import _time
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Cause, EndFacts, Token, terminal_records
from resumable_stream.protocol.perform import perform
from resumable_stream.types import EndReason

SQLITE = "resumable_stream.backends.sqlite.SQLiteBackend"


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log.sqlite3"
    configured = {
        "BACKENDS": {"default": {"BACKEND": SQLITE, "OPTIONS": {"path": str(path)}}},
        "HANDLE_SIGNALS": False,
        # A machine that stands still for a while must not make a heartbeat, or the writer look dead.
        "LEASE_SECONDS": 3600,
    }
    with override_settings(RESUMABLE_STREAM=configured):
        yield path


def answer(stream: str, *words: str) -> None:
    async def source() -> Any:
        for word in words:
            yield word

    async def run() -> None:
        chat = ResumableChat(format="aisdk")
        started = await chat.start(stream, source, chat_id="c")
        async for _ in chat.reader(stream, started).frames():
            pass
        await backends["default"].close()

    asyncio.run(run())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("resumable_stream", *arguments)
    return capsys.readouterr().out


def test_setup_tries_every_operation_and_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "setup").splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["ok"] * 7
    assert run(capsys, "list") == ""


def test_setup_refuses_a_retention_that_the_backend_takes_from_its_options() -> None:
    with pytest.raises(CommandError, match="OPTIONS"):
        call_command("resumable_stream", "setup", "--retention-days", "3")


def test_list_shows_the_streams_below_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    answer("chat/a/1", "x")
    answer("chat/b/1", "x")
    assert [line.split()[-1] for line in run(capsys, "list", "chat/a").splitlines()] == ["chat/a/1"]
    listed = [json.loads(line)["name"] for line in run(capsys, "list", "--json").splitlines()]
    assert listed == ["chat/a/1", "chat/b/1"]


def test_show_tells_how_the_newest_generation_ended(capsys: pytest.CaptureFixture[str]) -> None:
    answer("chat/a/1", "one")
    answer("chat/a/1", "two", "three")
    facts = json.loads(run(capsys, "show", "chat/a/1", "--json"))
    assert facts["state"] == "finished"
    assert facts["chat_id"] == "c"
    assert facts["records"] == {"claim": 1, "begin": 1, "chunk": 6, "end": 1, "fence": 1}
    assert "finished" in run(capsys, "show", "chat/a/1")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (EndReason.INTERRUPTED, {"cause": Cause.LEASE_EXPIRED, "text": "Please try again."}),
        (EndReason.FAILED, {"cause": Cause.LIMIT_EXCEEDED, "text": "It took too long."}),
        (EndReason.FINISHED, {"finish_reason": "length"}),
    ],
)
def test_show_tells_why_the_newest_generation_ended(
    capsys: pytest.CaptureFixture[str], reason: EndReason, told: dict[str, Any]
) -> None:
    async def write() -> None:
        facts = EndFacts(generation_id="g" * 20, reason=reason, **told)
        begin = Begin(generation_id="g" * 20, format="aisdk", message_id="m")
        await backends["default"].append("chat/a/1", [begin.record(), *terminal_records([], facts, back=None)])
        await backends["default"].close()

    asyncio.run(write())
    facts = json.loads(run(capsys, "show", "chat/a/1", "--json"))
    expected = {"error" if name == "text" else name: str(value) for name, value in told.items()}

    assert {name: facts[name] for name in ("cause", "error", "finish_reason") if name in facts} == expected


def test_stop_ends_the_generation_of_a_writer_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    async def leave_running() -> None:
        begin = Begin(generation_id="g" * 20, format="aisdk", message_id="m")
        opening = Opening(token=Token.owner(begin.generation_id, 10), records=[begin.record()])
        await perform(claim(opening), backends["default"], "chat/a/1")
        await backends["default"].close()

    asyncio.run(leave_running())
    assert json.loads(run(capsys, "show", "chat/a/1", "--json"))["state"] == "running"
    assert run(capsys, "stop", "chat/a/1").startswith("stopped ")
    assert json.loads(run(capsys, "show", "chat/a/1", "--json"))["state"] == "stopped"
    with pytest.raises(CommandError) as caught:
        call_command("resumable_stream", "stop", "chat/a/1")
    assert caught.value.returncode == 3


def test_what_a_terminal_would_act_upon_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    forged = "chat/a/\x1b]0;forged\x07\n2026-01-01 00:00:00.000  chat/root\u202e\x9b31m"
    answer(forged, "\x1b[2J\u2066gone\x85")

    for command in (["list"], ["show", forged], ["list", "--json"], ["show", forged, "--json"]):
        shown = run(capsys, *command)
        assert all(line.isprintable() for line in shown.split("\n"))
        assert len(run(capsys, "list").splitlines()) == 1


@pytest.mark.parametrize("milliseconds", [2**63, -(2**63), 253402300800000])
def test_a_time_that_no_calendar_has_is_shown_as_it_is(milliseconds: int) -> None:
    assert str(milliseconds) in _time(milliseconds)


def test_delete_asks_first_and_drops_the_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("chat/a/1", "x")
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(CommandError, match="Not deleted"):
        call_command("resumable_stream", "delete", "chat/a/1")
    run(capsys, "delete", "chat/a/1", "--yes")
    assert run(capsys, "list") == ""


@pytest.mark.parametrize("command", [["show"], ["tail"], ["delete", "--yes"]], ids=lambda command: command[0])
def test_an_unknown_stream_has_an_exit_code_of_its_own(command: list[str]) -> None:
    with pytest.raises(CommandError, match="does not exist") as caught:
        call_command("resumable_stream", *command, "nope")
    assert caught.value.returncode == 4


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(CommandError, match="'other'"):
        call_command("resumable_stream", "--backend", "other", "list")


def test_tail_prints_what_is_there_and_what_comes_until_it_is_interrupted(log: Path) -> None:
    answer("chat/a/1", "one")
    options = {"BACKENDS": {"default": {"BACKEND": SQLITE, "OPTIONS": {"path": str(log)}}}}
    settings = f"from tests.settings import *\nRESUMABLE_STREAM = {options!r}\n"
    (log.parent / "tail_settings.py").write_text(settings)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tail_settings",
        "PYTHONPATH": os.pathsep.join([str(log.parent), str(Path(__file__).parent.parent)]),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "django", "resumable_stream", "tail", "chat/a/1", "--from", "0", "--json"]
    # A shell has what it starts in the background ignore the signal, and so whatever that starts.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, heard)
    with process:
        assert process.stdout is not None
        kinds = [json.loads(process.stdout.readline())["kind"] for _ in range(8)]
        assert kinds == ["claim", "begin", "chunk", "chunk", "chunk", "chunk", "chunk", "end"]
        process.stdout.readline()
        answer("chat/a/1", "two")
        assert json.loads(process.stdout.readline())["kind"] == "claim"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
