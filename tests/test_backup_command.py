"""``manage.py resumable_stream backup`` and ``restore``, and what clients find afterwards."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from resumable_stream.backends import backends
from resumable_stream.chat.api import ResumableChat
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Chunk, Ended, Token
from resumable_stream.protocol.perform import perform

SQLITE = "resumable_stream.backends.sqlite.SQLiteBackend"
MEMORY = "resumable_stream.backends.memory.MemoryBackend"
S2 = "resumable_stream.backends.s2.S2Backend"
MANUAL = Path(__file__).parents[1] / "docs" / "embedded-log.md"
STREAM = "chat/a/1"


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "log.sqlite3"
    configured = {
        "BACKENDS": {
            "default": {"BACKEND": SQLITE, "OPTIONS": {"path": str(path)}},
            "memory": {"BACKEND": MEMORY},
            "s2": {"BACKEND": S2, "OPTIONS": {"basin": "my-basin", "access_token": "t"}},
        },
        "HANDLE_SIGNALS": False,
        "LEASE_SECONDS": 3600,
    }
    with override_settings(RESUMABLE_STREAM=configured):
        yield path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    call_command("resumable_stream", *map(str, arguments))
    return capsys.readouterr().out


def in_a_loop(action: Callable[[ResumableChat], Any]) -> Any:
    async def run() -> Any:
        try:
            return await action(ResumableChat(format="text"))
        finally:
            await backends["default"].close()

    return asyncio.run(run())


def answer(*words: str) -> int:
    """Answer in the chat; return the cursor of a client that has all of it."""

    async def source() -> AsyncIterator[str]:
        for word in words:
            yield word

    async def run(chat: ResumableChat) -> int:
        reader = chat.reader(STREAM, await chat.start(STREAM, source, chat_id="c"))
        async for _ in reader.frames():
            pass
        return reader.cursor

    cursor: int = in_a_loop(run)
    return cursor


def follow(cursor: int | None) -> list[str] | None:
    """Read as a client does; ``None`` where there is nothing for it."""

    async def run(chat: ResumableChat) -> list[str] | None:
        reader = await chat.locate(STREAM, cursor)
        if reader is None:
            return None
        entries = [frame.entry async for frames in reader.frames() for frame in frames]
        return [
            entry.body if isinstance(entry, Chunk) else entry.facts.reason.value
            for entry in entries
            if isinstance(entry, (Chunk, Ended))
        ]

    found: list[str] | None = in_a_loop(run)
    return found


def test_commands_tell_what_they_have_stored(capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path) -> None:
    answer("one", "two")
    copy = tmp_path / "copy"

    told = run(capsys, "backup", copy)
    answer("three")
    told_by_restore = run(capsys, "restore", copy)

    assert re.fullmatch(rf"{copy}: 1 streams, \d+ records, \d+ bytes, newest record .* UTC\n", told)
    assert told_by_restore.startswith(told.replace(str(copy), str(log)))
    assert "rewound 1 streams" in told_by_restore
    assert ".before-restore-" in told_by_restore


def test_client_whose_answer_is_gone_gets_the_next_one_from_its_beginning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer("one")
    run(capsys, "backup", tmp_path / "copy")
    cursor = answer("lost", "words")
    run(capsys, "restore", tmp_path / "copy")

    assert follow(cursor) is None
    assert follow(cursor - 1) is None
    assert len(in_a_loop(lambda chat: chat.messages(STREAM))) == 1
    answer("two", "three")

    assert follow(cursor) == ['"two"', '"three"', "finished"]
    assert len(in_a_loop(lambda chat: chat.messages(STREAM))) == 2


def test_cursor_beyond_the_end_of_a_log_on_a_new_machine_is_told_that_there_is_nothing(
    capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    answer("one")
    run(capsys, "backup", tmp_path / "copy")
    cursor = answer("lost", "words")
    log.unlink()
    run(capsys, "restore", tmp_path / "copy")

    assert follow(cursor) is None


def test_answer_that_was_running_during_the_backup_can_be_ended(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def leave_running(_: ResumableChat) -> None:
        begin = Begin(generation_id="g" * 20, format="text", message_id="m")
        opening = Opening(token=Token.owner(begin.generation_id, 10), records=[begin.record()])
        await perform(claim(opening), backends["default"], STREAM)

    in_a_loop(leave_running)
    run(capsys, "backup", tmp_path / "copy")
    run(capsys, "stop", STREAM)
    cursor = answer("lost")
    run(capsys, "restore", tmp_path / "copy")

    assert "running" in run(capsys, "show", STREAM)
    run(capsys, "stop", STREAM)
    assert follow(cursor) == ["stopped"]
    answer("next")
    assert follow(None) is None
    assert "finished" in run(capsys, "show", STREAM)


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize("alias", ["memory", "s2"])
def test_other_logs_are_refused(command: str, alias: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="for the embedded log") as caught:
        call_command("resumable_stream", "--backend", alias, command, str(tmp_path / "copy"))
    assert caught.value.returncode == 1


def test_refusals_are_errors_of_the_command(tmp_path: Path) -> None:
    answer("one")
    call_command("resumable_stream", "backup", str(tmp_path / "copy"))

    with pytest.raises(CommandError, match="exists"):
        call_command("resumable_stream", "backup", str(tmp_path / "copy"))
    call_command("resumable_stream", "backup", "--force", str(tmp_path / "copy"))
    with pytest.raises(CommandError, match="no file"):
        call_command("resumable_stream", "restore", str(tmp_path / "nothing"))


def test_commands_of_the_manual_work(tmp_path: Path) -> None:
    answer("one")
    commands = re.findall(r"\$ python manage.py (.*)", MANUAL.read_text())
    assert [command.split()[1] for command in commands] == ["backup", "restore"]

    for command in commands:
        call_command(*shlex.split(command.replace("/var/backups", str(tmp_path))))

    assert len(in_a_loop(lambda chat: chat.messages(STREAM))) == 1
