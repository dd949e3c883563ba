from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.exceptions import StreamNotFoundError
from resumable_stream.protocol.layout import EndFacts, Token, terminal_records
from resumable_stream.readers.history import read_brought_messages, read_generations
from resumable_stream.records import Record
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, unavailable
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle


@in_virtual_time
async def test_a_stream_is_read_back_as_generations(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    question = {"id": "m1", "role": "user", "content": "Hi"}
    first = await engine.start("s", of("1", "2"), user_messages=[question], message_id="a1")
    await settle()
    await engine.start("s", of("3"), run_id="run-2")
    await settle()
    generations, cursor, _ = await read_generations(log, "s")

    assert [one.run_id for one in generations] == [None, "run-2"]
    assert [(one.generation_id, one.message_id) for one in generations[:1]] == [(first.generation_id, "a1")]
    assert [list(one.user_messages) for one in generations] == [[question], []]
    assert [list(one.chunks) for one in generations] == [['"1"', '"2"'], ['"3"']]
    assert [one.end for one in generations] == [EndReason.FINISHED] * 2
    assert cursor == len(log.records("s"))


@in_virtual_time
async def test_the_cursor_stands_before_what_is_still_running(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    await engine.start("s", of("1"))
    await settle()
    tail = len(log.records("s"))
    await engine.start("s", Producer("2"))
    await settle()
    generations, cursor, _ = await read_generations(log, "s")

    assert [one.end for one in generations] == [EndReason.FINISHED, None]
    assert cursor == tail


@in_virtual_time
async def test_reading_one_generation_costs_no_more_than_it(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    first = await engine.start("s", of("1"))
    await settle()
    for _ in range(3):
        await engine.start("s", of(*map(str, range(1500))))
        await settle()
    log.calls.clear()
    generations, cursor, _ = await read_generations(log, "s", start=first.cursor, count=1)

    assert [list(one.chunks) for one in generations] == [['"1"']]
    assert cursor < 10
    assert log.calls["read"] == 1


@in_virtual_time
async def test_what_another_program_left_without_an_end_was_interrupted(log: FaultyLog) -> None:
    await log.append("s", [Record.fence("node-1"), Record('"1"')])
    await log.append("s", [Record.fence("node-2"), Record('"2"'), Record.fence("end-x"), Record.fence("node-3")])
    generations, _, _ = await read_generations(log, "s")

    assert [one.end for one in generations] == [EndReason.INTERRUPTED, EndReason.FINISHED, None]
    assert {one.generation_id for one in generations} == {None}


@in_virtual_time
async def test_what_retention_has_taken_is_left_out(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    for text in "12":
        await engine.start("s", of(text))
        await settle()
    head = await engine.head("s")
    assert head is not None
    await log.append("s", [Record.trim(head.start)], fencing_token=head.token.text)
    generations, _, _ = await read_generations(log, "s")

    assert [list(one.chunks) for one in generations] == [['"2"']]


@in_virtual_time
async def test_what_is_trimmed_while_it_is_read_is_not_mixed_with_what_follows(log: FaultyLog) -> None:
    token = Token.owner("g" * 20, 10).text
    end = terminal_records([], EndFacts(generation_id="g" * 20, reason=EndReason.FINISHED), back=None)
    await log.append("s", [Record.fence(token), *[Record('"old"')] * 999])
    await log.append("s", [*[Record('"old"')] * 500, *end])
    await log.append("s", [Record('"somebody\'s"'), *end])

    async def trim_first(call: Any) -> Any:
        log._streams["s"].append([Record.trim(1502)])
        return await call()

    async def normal(call: Any) -> Any:
        return await call()

    log.then("read", normal, trim_first)
    generations, _, _ = await read_generations(log, "s")

    assert [list(one.chunks) for one in generations] == [['"somebody\'s"']]


@in_virtual_time
async def test_a_passing_fault_is_waited_out(log: FaultyLog) -> None:
    await ChatEngine(format="text").start("s", of("1"))
    await asyncio.sleep(1)
    log.then("read", unavailable, unavailable)
    generations, _, _ = await read_generations(log, "s")

    assert len(generations) == 1


@in_virtual_time
async def test_a_stream_that_is_not_there_is_told(log: FaultyLog) -> None:
    with pytest.raises(StreamNotFoundError):
        await read_generations(log, "s")


@in_virtual_time
async def test_what_was_brought_along_is_read_without_the_answer(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    question = {"id": "m1", "role": "user", "content": "Hi"}
    await engine.start("s", of("earlier"), user_messages=[{"id": "m0", "role": "user", "content": "Before"}])
    await settle()
    started = await engine.start("s", of(*map(str, range(1500))), user_messages=[question])
    await settle()
    log.calls.clear()

    assert await read_brought_messages(log, "s", started.cursor) == [question]
    assert log.calls["read"] == 1


@in_virtual_time
async def test_a_message_larger_than_an_append_is_brought_along_whole(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    question = {"id": "m1", "role": "user", "content": "x" * 2_500_000}
    started = await engine.start("s", Producer(), user_messages=[question])
    await settle()

    assert await read_brought_messages(log, "s", started.cursor) == [question]


@in_virtual_time
async def test_a_generation_may_bring_nothing_along(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    started = await engine.start("s", of())
    await settle()

    assert await read_brought_messages(log, "s", started.cursor) == []
