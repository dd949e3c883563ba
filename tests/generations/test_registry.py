from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.exceptions import LimitExceededError, ShuttingDownError
from resumable_stream.generations.generation import LAST_WORDS_SECONDS
from resumable_stream.runtime import Runtime, runtime

from ..support.logs import FaultyLog, held, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle


@in_virtual_time
async def test_a_generation_is_found_by_its_stream_while_it_runs(log: FaultyLog) -> None:
    producer = Producer("1")
    started = await ChatEngine(format="text").start("s", producer)
    registry = runtime().registry
    found = registry.get(log, "s")
    assert found is not None
    assert (found.id, len(registry), list(registry)) == (started.generation_id, 1, [found])
    producer.finish()
    await settle()

    assert registry.get(log, "s") is None
    assert len(registry) == 0


@in_virtual_time
async def test_a_drain_lets_generations_finish_in_the_time_they_are_given(log: FaultyLog) -> None:
    producer = Producer("1")
    await ChatEngine(format="text").start("s", producer)
    draining = asyncio.create_task(runtime().drain(10))
    await asyncio.sleep(9)
    assert not draining.done()
    producer.give("2")
    producer.finish()
    await draining

    assert log.chunks("s") == ['"1"', '"2"']
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_a_drain_ends_what_is_left_as_interrupted(log: FaultyLog) -> None:
    producers = [Producer("1") for _ in range(5)]
    engine = ChatEngine(format="text")
    for index, producer in enumerate(producers):
        await engine.start(f"s{index}", producer)
    await settle()
    await runtime().drain(10)

    assert all(log.ends(f"s{index}") == ["interrupted"] for index in range(5))
    assert all(producer.is_closed for producer in producers)


@in_virtual_time
async def test_a_drain_does_not_wait_for_ever(log: FaultyLog) -> None:
    async def stubborn() -> AsyncIterator[str]:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                yield "no"

    engine = ChatEngine(format="text")
    await engine.start("stubborn", stubborn)
    await engine.start("cut off", Producer())
    await settle()
    log.always("append", unavailable)
    clock = asyncio.get_running_loop().time
    began = clock()
    await runtime().drain(0)

    assert clock() - began == pytest.approx(LAST_WORDS_SECONDS)


@in_virtual_time
async def test_a_drain_waits_for_a_log_that_is_slow(log: FaultyLog) -> None:
    await ChatEngine(format="text").start("s", Producer())
    await settle()
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    draining = asyncio.create_task(runtime().drain(0))
    await arrived.wait()
    await asyncio.sleep(4)

    assert not draining.done()
    gate.set()
    await draining
    assert log.ends("s") == ["interrupted"]


@in_virtual_time
async def test_a_claim_on_its_way_when_the_process_ends_is_ended_like_the_others(log: FaultyLog) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    producer = Producer("1")
    starting = asyncio.create_task(ChatEngine(format="text").start("s", producer))
    await arrived.wait()
    draining = asyncio.create_task(runtime().drain(0))
    await settle()
    gate.set()
    await draining
    await starting

    assert log.ends("s") == ["interrupted"]
    assert producer.calls == 0


@in_virtual_time
async def test_a_claim_on_its_way_when_the_drain_begins_gets_the_time_of_the_others(log: FaultyLog) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    producer = Producer("1")
    starting = asyncio.create_task(ChatEngine(format="text").start("s", producer))
    await arrived.wait()
    draining = asyncio.create_task(runtime().drain(10))
    await settle()
    gate.set()
    await starting
    await settle()
    producer.finish()
    await draining

    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_what_is_carried_through_goes_on_without_its_caller() -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def work() -> None:
        await gate.wait()
        done.append("done")

    caller = asyncio.create_task(runtime().registry.carry_through(work()))
    await settle()
    caller.cancel()
    await asyncio.wait({caller})
    gc.collect()
    gate.set()
    await settle()

    assert done == ["done"]


@in_virtual_time
async def test_a_failure_of_what_is_carried_through_reaches_its_caller() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await runtime().registry.carry_through(work())


@in_virtual_time
async def test_a_failure_of_what_is_carried_through_is_logged_once_its_caller_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise ValueError("no caller")

    caller = asyncio.create_task(runtime().registry.carry_through(work()))
    await settle()
    caller.cancel()
    await asyncio.wait({caller})
    go_on.set()
    await settle()
    gc.collect()  # The loop would now complain of an exception that nobody took.
    assert "no caller" in caplog.text


@in_virtual_time
async def test_readers_are_counted_per_owner(settings: Any) -> None:
    use_faulty_log(settings, MAX_READERS_PER_OWNER=2)
    here = runtime()
    places = [here.reader_place("ada"), here.reader_place("ada"), here.reader_place("bob")]
    with pytest.raises(LimitExceededError):
        here.reader_place("ada")
    places[0].release()
    places.append(here.reader_place("ada"))

    assert [here.reader_place("") for _ in range(5)]


@in_virtual_time
async def test_without_limits_nothing_is_refused(settings: Any) -> None:
    use_faulty_log(settings, MAX_READERS_PER_OWNER=None, MAX_GENERATIONS_PER_OWNER=None)
    here = runtime()
    places = [here.reader_place("ada") for _ in range(200)]
    engine = ChatEngine(format="text")
    for number in range(20):
        await engine.start(f"s{number}", of(), owner="ada")

    assert len(places) == 200


@in_virtual_time
async def test_after_the_drain_no_reader_is_let_in(log: FaultyLog) -> None:
    here = runtime()
    await here.drain(0)

    with pytest.raises(ShuttingDownError):
        here.reader_place("ada")


def test_every_event_loop_has_a_runtime_of_its_own_and_takes_it_along() -> None:
    found: list[Runtime] = []

    async def main() -> None:
        assert runtime() is runtime()
        found.append(runtime())

    asyncio.run(main())
    asyncio.run(main())

    assert found[0] is not found[1]
