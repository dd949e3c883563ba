"""A stop ends a generation, whichever process runs it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.protocol.layout import Token
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, lost_after, unavailable
from ..support.producers import Producer
from ..support.virtual_time import in_virtual_time, settle
from .engines import Listener, abandon, make_engine

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


@in_virtual_time
async def test_a_stop_ends_the_producer_and_keeps_what_it_said(log: FaultyLog, listener: Listener) -> None:
    engine = make_engine(listener)
    producer = Producer("1")
    started = await engine.start("s", producer)
    await settle()
    assert await engine.end("s", started.generation_id) == started.generation_id
    await settle()

    assert producer.is_closed
    assert log.chunks("s") == ['"1"']
    assert log.ends("s") == ["stopped"]
    assert listener.reasons == ["stopped"]
    assert listener.ends[0].message is not None
    assert await engine.end("s") is None


@in_virtual_time
async def test_a_stop_from_elsewhere_ends_it_too(log: FaultyLog, listener: Listener) -> None:
    engine = make_engine(listener)
    await abandon(log)
    assert await engine.end("s") == "d" * 20
    await settle()

    assert log.ends("s") == ["stopped"]
    (end,) = listener.ends
    assert end.context is None
    assert end.begin is not None
    assert (end.begin.actor, end.begin.message_id) == ("ada", "m-d")
    assert end.message == {"id": "m-d", "role": "assistant", "content": "half"}


@in_virtual_time
async def test_a_stop_from_elsewhere_reaches_the_producer_within_a_second(log: FaultyLog, listener: Listener) -> None:
    producer = Producer("1")
    await make_engine(listener).start("s", producer)
    await settle()
    await log.append("s", [Record.fence(Token.terminal("x" * 20, EndReason.STOPPED).text)])
    await asyncio.sleep(1)

    assert producer.is_closed
    assert len(runtime().registry) == 0
    assert listener.ends == []


@in_virtual_time
async def test_another_programs_end_reaches_the_producer_within_a_second(log: FaultyLog) -> None:
    producer = Producer("1")
    await make_engine().start("s", producer)
    await settle()
    await log.append("s", [Record.fence("end-1a2b3c")])
    await asyncio.sleep(1)

    assert producer.is_closed
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_a_robbed_owner_writes_nothing_more(log: FaultyLog) -> None:
    producer = Producer("1")
    await make_engine().start("s", producer)
    await settle()
    await log.append("s", [Record.fence(Token.owner("y" * 20, 10).text)])
    before = len(log.records("s"))
    producer.give("2")
    await asyncio.sleep(20)

    assert producer.is_closed
    assert len(log.records("s")) == before


@in_virtual_time
async def test_a_stop_names_the_generation_it_means(log: FaultyLog) -> None:
    engine = make_engine()
    started = await engine.start("s", Producer())
    with pytest.raises(GenerationActiveError) as here:
        await engine.end("s", "z" * 20)
    await abandon(log, stream="t")
    with pytest.raises(GenerationActiveError) as elsewhere:
        await engine.end("t", "z" * 20)

    assert here.value.generation_id == started.generation_id
    assert elsewhere.value.generation_id == "d" * 20
    assert log.ends("s") == log.ends("t") == []


@in_virtual_time
async def test_a_stop_reaches_the_next_generation_although_the_last_one_here_has_not_heard_of_its_end(
    log: FaultyLog,
) -> None:
    engine, producer, answered = make_engine(), Producer("x"), asyncio.Event()
    last = await engine.start("s", producer)
    await settle()

    async def answered_late(call: Any) -> Any:
        answer = await call()
        await answered.wait()
        return answer

    log.then("append", answered_late)
    producer.finish()
    await settle()
    assert log.ends("s") == ["finished"]
    assert [generation.id for generation in runtime().registry] == [last.generation_id]
    await abandon(log, name="n")

    assert await engine.end("s", "n" * 20) == "n" * 20
    assert log.ends("s") == ["finished", "stopped"]
    answered.set()
    await settle()
    assert len(runtime().registry) == 0


@in_virtual_time
async def test_a_stop_while_the_log_is_away_takes_effect_when_it_is_back(log: FaultyLog) -> None:
    engine = make_engine()
    producer = Producer("1")
    started = await engine.start("s", producer)
    await settle()
    log.always("append", unavailable)
    assert await engine.end("s") == started.generation_id
    assert producer.is_closed
    assert log.ends("s") == []
    log.always("append", None)
    await asyncio.sleep(5)

    assert log.ends("s") == ["stopped"]


@pytest.mark.parametrize("is_local", [True, False], ids=["here", "elsewhere"])
@in_virtual_time
async def test_a_stop_whose_reply_is_lost_ends_it_once(log: FaultyLog, listener: Listener, is_local: bool) -> None:
    engine = make_engine(listener)
    if is_local:
        await engine.start("s", Producer("1"))
    else:
        await abandon(log)
    await settle()
    log.then("append", lost_after)
    assert await engine.end("s") is not None
    await settle()

    assert log.ends("s") == ["stopped"]
    assert listener.reasons == ["stopped"]


@in_virtual_time
async def test_a_stop_whose_caller_goes_away_still_tells_the_app(log: FaultyLog, listener: Listener) -> None:
    await abandon(log)
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    stopping = asyncio.create_task(make_engine(listener).end("s"))
    await arrived.wait()
    stopping.cancel()
    await asyncio.wait({stopping})
    gate.set()
    await settle()

    assert log.ends("s") == ["stopped"]
    assert listener.reasons == ["stopped"]
