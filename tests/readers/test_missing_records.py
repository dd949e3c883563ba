"""A record that somebody has deleted from the embedded log: everybody who reads is told, and nobody asks for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.urls import include, path

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.exceptions import RecordsMissingError
from resumable_stream.readers.history import read_generations
from resumable_stream.testing import Probe, eventually
from resumable_stream.views import ResumableChatView

from ..support.producers import of
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.readers.test_missing_records")

STREAM = "missing"


class Chat(ResumableChatView):
    name = "missing-text"
    format = "text"
    ends: ClassVar[list[Any]] = []

    def get_owner(self, request: Any) -> str:
        return "owner"

    def get_stream_name(self, request: Any, chat_id: str) -> str:
        return STREAM

    def generate(self, turn: Turn) -> Any:
        return of("a", "b", "c", "d")()

    async def on_end(self, turn: Turn, end: Any) -> None:
        self.ends.append(end)


class TanStackChat(Chat):
    name = "missing-tanstack"
    format = "tanstack"


urlpatterns = [path("text", include(Chat.urls())), path("tanstack", include(TanStackChat.urls()))]


@pytest.fixture
async def file(tmp_path: Path, settings: Any) -> AsyncIterator[Path]:
    file = tmp_path / "log.sqlite3"
    sqlite = {"BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend", "OPTIONS": {"path": file}}
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": sqlite}}
    Chat.ends.clear()
    yield file
    await backends["default"].close()


async def answered(file: Path, prefix: str) -> int:
    """Have a question answered, and return the tail."""
    message = {"id": "u1", "role": "user", "content": "Hi", "parts": [{"type": "text", "content": "Hi"}]}
    await Visitor().post(prefix, {"id": "c1", "messages": [message]})
    await eventually(partial(ended, 1))
    return (await backends["default"].tail(STREAM)).seq_num


async def ended(count: int) -> bool | None:
    return True if len(Chat.ends) >= count else None


def delete(file: Path, *seq_nums: int) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for seq_num in seq_nums:
            connection.execute("DELETE FROM records WHERE seq_num = ?", (seq_num,))
        connection.commit()


@pytest.mark.parametrize("prefix", ["/text", "/tanstack"])
async def test_messages_of_a_chat_with_a_hole_are_a_clear_error(file: Path, prefix: str) -> None:
    tail = await answered(file, prefix)
    delete(file, tail - 4)

    exchange = await Visitor().get(f"{prefix}/c1/messages")

    assert exchange.status == 410
    assert exchange.text == "A part of this chat is missing from the server's log, so it cannot be shown."


@pytest.mark.parametrize("query", ["from=0&wait=0", "from=0&wait=1"])
async def test_long_poll_gives_what_is_before_a_hole_and_then_the_error(file: Path, query: str) -> None:
    tail = await answered(file, "/text")
    delete(file, tail - 4)

    before = await Visitor().get(f"/text/c1/stream?{query}")
    after = await Visitor().get(f"/text/c1/stream?from={tail - 4}&wait=0")

    assert before.json["events"]
    assert after.status == 410
    assert "missing from the server's log" in after.text


async def test_event_stream_is_torn_at_a_hole_rather_than_ended(file: Path) -> None:
    tail = await answered(file, "/text")
    delete(file, tail - 4)

    exchange = await Visitor().get("/text/c1/stream?from=0")

    assert not exchange.is_complete
    assert not any(event.type == "end" for event in exchange.events)


async def test_session_snapshot_over_a_hole_is_a_clear_error(file: Path) -> None:
    tail = await answered(file, "/tanstack")
    delete(file, tail - 4)

    assert (await Visitor().get("/tanstack/c1/stream?live=1")).status == 410
    assert (await Visitor().get("/tanstack?threadId=c1")).status == 410


async def test_hole_is_named_to_whoever_reads_and_follows(file: Path) -> None:
    tail = await answered(file, "/text")
    delete(file, tail - 4, tail - 3)
    log = backends["default"]

    before = await log.read(STREAM, 0)
    with pytest.raises(RecordsMissingError) as read:
        await log.read(STREAM, tail - 4)
    with pytest.raises(RecordsMissingError):
        await read_generations(log, STREAM)
    async with Probe(log, STREAM) as probe:
        with pytest.raises(RecordsMissingError):
            await probe.until(tail)

    assert [record.seq_num for record in before.records] == list(range(tail - 4))
    assert (read.value.seq_num, read.value.first_seq_num) == (tail - 4, tail - 2)
    assert f"from seq_num {tail - 4} to {tail - 3} are missing" in str(read.value)


async def test_hole_at_the_end_is_not_the_end(file: Path) -> None:
    tail = await answered(file, "/text")
    delete(file, tail - 1)

    with pytest.raises(RecordsMissingError):
        await backends["default"].read(STREAM, tail - 1)


async def test_chat_with_a_hole_can_be_gone_on_with(file: Path) -> None:
    tail = await answered(file, "/text")
    delete(file, tail - 4)

    assert (await Visitor().post("/text", {"id": "c1", "message": "Again"})).status == 200
    await eventually(partial(ended, 2))
