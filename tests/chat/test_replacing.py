"""Starts that replace a running answer: one append ends it and claims the stream, and the app is told once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.ending import stop
from resumable_stream.protocol.layout import Begin, Token
from resumable_stream.protocol.perform import perform
from resumable_stream.records import Record
from resumable_stream.runtime import runtime

from ..support.logs import Call, Fault, FaultyLog, lost_after, use_faulty_log
from ..support.producers import Producer, of
from ..support.readers import bodies, ends, gather
from ..support.virtual_time import in_virtual_time, settle

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


def make_engine(told: list[Any]) -> ChatEngine:
    async def on_end(end: Any) -> None:
        told.append((end.reason.value, end.context))

    return ChatEngine(format="text", on_end=on_end)


async def untouched(call: Call) -> Any:
    """The call meets no fault."""
    return await call()


def anything(begin: Begin | None) -> bool:
    return True


@in_virtual_time
async def test_a_start_replaces_an_answer_of_this_process_in_one_append(log: FaultyLog) -> None:
    told: list[Any] = []
    engine, old = make_engine(told), Producer("1")
    first = await engine.start("s", old, context="first")
    reader = asyncio.create_task(gather(engine.reader("s", first)))
    await settle()

    second = await engine.start("s", of("2"), context="second", replaces=anything)
    await settle()

    assert old.is_closed
    assert log.ends("s") == ["stopped", "finished"]
    assert told == [("stopped", "first"), ("finished", "second")]
    seen = await reader
    assert (bodies(seen), ends(seen)) == (['"1"'], ["stopped"])
    assert bodies(await gather(engine.reader("s", second))) == ['"2"']
    assert len(runtime().registry) == 0


@in_virtual_time
async def test_an_answer_of_another_process_is_replaced_and_its_owner_notices_within_a_second(log: FaultyLog) -> None:
    old = Producer("1")
    owner_told: list[Any] = []
    await make_engine(owner_told).start("s", old, context="first")
    await settle()
    # What another process does: it has no such generation in its registry.
    told: list[Any] = []
    other = make_engine(told)
    registry = runtime().registry
    registry._generations.clear()

    await other.start("s", of("2"), replaces=anything)
    await asyncio.sleep(1)

    assert old.is_closed
    assert log.ends("s") == ["stopped", "finished"]
    assert told == [("stopped", None), ("finished", None)]
    assert owner_told == []


@in_virtual_time
async def test_what_may_not_be_replaced_runs_on(log: FaultyLog) -> None:
    engine, old, never = make_engine([]), Producer("1"), of("2")
    first = await engine.start("s", old, message_id="m1")
    asked: list[str] = []

    def other_answers(begin: Begin | None) -> bool:
        assert begin is not None
        asked.append(begin.message_id)
        return False

    with pytest.raises(GenerationActiveError) as refusal:
        await engine.start("s", never, replaces=other_answers)

    assert refusal.value.generation_id == first.generation_id
    assert asked == ["m1"]
    assert never.calls == 0
    assert not old.is_closed
    await engine.end("s")


@in_virtual_time
async def test_a_replacement_whose_reply_is_lost_is_found_out(log: FaultyLog) -> None:
    told: list[Any] = []
    engine, old = make_engine(told), Producer("1")
    await engine.start("s", old, context="first")
    await settle()
    # The first append is the claim of a free stream, which is refused; the second one replaces.
    log.then("append", untouched, lost_after)

    await engine.start("s", of("2"), context="second", replaces=anything)
    await settle()

    assert log.ends("s") == ["stopped", "finished"]
    assert told == [("stopped", "first"), ("finished", "second")]


@in_virtual_time
async def test_an_owner_that_writes_meanwhile_delays_its_replacement_and_loses_nothing(log: FaultyLog) -> None:
    engine = make_engine([])
    token = Token.owner("d" * 20, 10)
    begin = Begin(generation_id="d" * 20, format="text", message_id="m-d")
    granted = await perform(claim(Opening(token=token, records=[begin.record()])), log, "s")
    assert granted is not None

    def after(text: str) -> Fault:
        async def fault(call: Call) -> Any:
            await log.append("s", [Record(text)], fencing_token=token.text)
            return await call()

        return fault

    # An append of the owner meets no fault of its own: each one is planned for before it.
    log.then("append", untouched, after('"1"'), untouched, after('"2"'), untouched, after('"3"'))
    await engine.start("s", of("new"), replaces=anything)
    await settle()

    assert log.chunks("s") == ['"1"', '"2"', '"3"', '"new"']
    assert log.ends("s") == ["stopped", "finished"]
    assert await perform(stop(None, engine._stream("s").encoder_for), log, "s") is None


@in_virtual_time
async def test_a_replaced_answer_gives_its_place_in_the_limit(settings: Any) -> None:
    use_faulty_log(settings, LEASE_SECONDS=10, MAX_GENERATIONS_PER_OWNER=1)
    engine = make_engine([])
    await engine.start("s", Producer("1"), owner="ada")
    await settle()

    await engine.start("s", of("2"), owner="ada", replaces=anything)
    await settle()

    assert len(runtime().registry) == 0


@in_virtual_time
async def test_a_start_does_not_wait_for_what_the_app_does_about_the_replaced_answer(log: FaultyLog) -> None:
    is_saved = asyncio.Event()
    saved: list[str] = []

    async def on_end(end: Any) -> None:
        if end.context == "first":
            await is_saved.wait()
        saved.append(end.context)

    engine = ChatEngine(format="text", on_end=on_end)
    await engine.start("s", Producer("1"), context="first")
    await settle()

    second = await engine.start("s", of("2"), context="second", replaces=anything)
    assert bodies(await gather(engine.reader("s", second))) == ['"2"']
    await settle()
    assert saved == ["second"]
    is_saved.set()
    await settle()
    assert saved == ["second", "first"]
