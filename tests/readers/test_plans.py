"""What a reader of a session gets first, and from where it goes on; the views' tests have the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.protocol.layout import Chunk
from resumable_stream.readers.frames import Frame
from resumable_stream.readers.plans import ReadPlan, ReadPlanner, last_word
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.utils.off_loop import SMALL_BYTES

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle

QUESTION = {"id": "u1", "role": "user", "parts": [{"type": "text", "content": "Hi"}]}


@pytest.fixture
def engine(log: FaultyLog) -> ChatEngine:
    return ChatEngine(format="tanstack")


def passages(engine: ChatEngine) -> ReadPlanner:
    return ReadPlanner(engine.backend, "s", engine.format, runtime().loads)


def body_of(frame: Frame) -> str:
    assert isinstance(frame.entry, Chunk)
    return frame.entry.body


def snapshot_of(passage: ReadPlan) -> list[dict[str, Any]]:
    found = json.loads(body_of(passage.prelude[0]))
    assert found["type"] == "MESSAGES_SNAPSHOT"
    messages: list[dict[str, Any]] = found["messages"]
    return messages


@in_virtual_time
async def test_the_snapshot_covers_what_is_over_and_the_reading_goes_on_there(
    log: FaultyLog, engine: ChatEngine
) -> None:
    await engine.start("s", of("Hello"), user_messages=[QUESTION])
    await settle()
    tail = len(log.records("s"))
    over = await passages(engine).plan_session(None)
    await engine.start("s", Producer("And"), user_messages=[{**QUESTION, "id": "u2"}])
    await settle()
    running = await passages(engine).plan_session(None)

    assert [message["role"] for message in snapshot_of(over)] == ["user", "assistant"]
    # What runs is not folded but for what the user has said: its chunks follow.
    assert [message["id"] for message in snapshot_of(running)[2:]] == ["u2"]
    for passage in (over, running):
        assert (passage.cursor, passage.prelude[0].entry.cursor, passage.is_live) == (tail, tail, True)


@in_virtual_time
async def test_a_running_first_turn_has_a_snapshot_too(log: FaultyLog, engine: ChatEngine) -> None:
    """Who subscribes anew would otherwise hold what it had of the answer twice."""
    await engine.start("s", Producer("Hello"))
    await settle()
    passage = await passages(engine).plan_session(None)

    assert (passage.cursor, snapshot_of(passage)) == (0, [])


@in_virtual_time
async def test_only_who_has_a_cursor_is_told_that_a_chat_is_gone(log: FaultyLog, engine: ChatEngine) -> None:
    assert await passages(engine).plan_session(None) == ReadPlan(cursor=0, is_live=True)
    assert snapshot_of(await passages(engine).plan_session(7)) == []


@in_virtual_time
async def test_a_format_without_snapshots_gives_what_runs(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    await engine.start("s", of("Hello"))
    await settle()

    passage = await passages(engine).plan_session(None)

    assert passage == ReadPlan(cursor=len(log.records("s")), is_live=True)


@in_virtual_time
async def test_a_history_that_is_folded_in_a_thread_is_the_same(log: FaultyLog, engine: ChatEngine) -> None:
    await engine.start("s", of("x" * SMALL_BYTES, "y"))
    await settle()
    passage = await passages(engine).plan_session(None)

    assert snapshot_of(passage)[-1]["parts"][0]["content"] == "x" * SMALL_BYTES + "y"


@in_virtual_time
async def test_a_run_that_was_left_without_a_last_word_gets_one(log: FaultyLog, engine: ChatEngine) -> None:
    foreign = ['{"type":"RUN_STARTED","runId":"n"}', '{"type":"TEXT_MESSAGE_START","messageId":"m","role":"assistant"}']
    await log.append("s", [Record.fence("session-x"), *map(Record, foreign), Record.fence("end-x")])
    ((generation,), _, _) = await engine.history("s")

    word = json.loads(last_word(engine.format, generation, foreign[-1:]))

    assert word["type"] == "RUN_FINISHED"
