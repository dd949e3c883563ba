from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from pydantic import BaseModel

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.protocol.layout import Cause
from resumable_stream.records import Record
from resumable_stream.runtime import runtime

from ..support.logs import Call, Fault, FaultyLog, held, never_answered, raising, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, run_in_virtual_time, settle

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


class Outcome:
    """What ``on_end`` was told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.heard = asyncio.Event()

    async def on_end(self, end: End) -> None:
        self.reasons.append(end.reason.value)
        self.heard.set()


async def generate(source: Any, *, chunks: str = "text") -> Outcome:
    """Run a generation to its end."""
    outcome = Outcome()
    await ChatEngine(format=chunks, on_end=outcome.on_end).start("s", source)
    await outcome.heard.wait()
    return outcome


# -- what a producer may be ----------------------------------------------------------------------------------------


async def async_generator() -> AsyncIterator[str]:
    yield "1"
    yield "2"


async def coroutine_of_an_async_iterable() -> AsyncIterator[str]:
    return async_generator()


async def coroutine_of_a_list() -> list[str]:
    return ["1", "2"]


def generator() -> Iterator[str]:
    yield "1"
    yield "2"


class AsyncIterable:
    def __aiter__(self) -> AsyncIterator[str]:
        return async_generator()


@pytest.mark.parametrize(
    "make",
    [
        lambda: async_generator,
        lambda: async_generator(),
        lambda: coroutine_of_an_async_iterable,
        lambda: coroutine_of_an_async_iterable(),
        lambda: coroutine_of_a_list,
        lambda: generator,
        lambda: generator(),
        lambda: ["1", "2"],
        lambda: lambda: ("1", "2"),
        lambda: iter(["1", "2"]),
        AsyncIterable,
    ],
    ids=[
        "async generator function",
        "async generator",
        "coroutine function of an async iterable",
        "coroutine of an async iterable",
        "coroutine function of a list",
        "generator function",
        "generator",
        "list",
        "function of a tuple",
        "iterator",
        "async iterable",
    ],
)
@in_virtual_time
async def test_a_producer_may_be_anything_that_can_be_iterated(log: FaultyLog, make: Any) -> None:
    outcome = await generate(make())

    assert log.chunks("s") == ['"1"', '"2"']
    assert outcome.reasons == ["finished"]


@pytest.mark.parametrize("source", [lambda: None, lambda: "text", lambda: {"a": 1}, lambda: 5, b"bytes"])
@in_virtual_time
async def test_what_cannot_be_iterated_fails_and_says_what_to_return(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, source: Any
) -> None:
    outcome = await generate(source)

    assert outcome.reasons == ["failed"]
    assert "Make it an async generator" in caplog.text


@dataclass
class DataChunk:
    type: str
    data: Any


class ModelChunk(BaseModel):
    type: str
    data: Any


@in_virtual_time
async def test_items_may_be_of_every_kind(log: FaultyLog) -> None:
    items = [
        "text",
        {"type": "data-a", "data": 1},
        DataChunk("data-b", 2),
        ModelChunk(type="data-c", data=3),
        b'data: {"type":"data-d","data":4}\n\n',
        None,
    ]
    await generate(of(*items), chunks="aisdk")

    kinds = ("start", "text-start", "text-delta", "data-a", "data-b", "data-c", "data-d", "text-end", "finish")
    assert [chunk.split('"type":"')[1].split('"')[0] for chunk in log.chunks("s")] == list(kinds)


# -- how it ends ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_producer_that_yields_nothing_has_finished(log: FaultyLog) -> None:
    assert (await generate(of())).reasons == ["finished"]


@in_virtual_time
async def test_a_producer_that_raises_has_failed_and_is_logged_once(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer("1")
    producer.fail(RuntimeError("boom"))
    outcome = await generate(producer)

    assert outcome.reasons == ["failed"]
    assert log.chunks("s") == ['"1"']
    (failure,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert failure.exc_info is not None
    assert "boom" in caplog.text


@in_virtual_time
async def test_answer_whose_model_hangs_fails_when_it_has_taken_too_long(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10, MAX_GENERATION_SECONDS=60)
    producer = Producer("1")
    ends: list[End] = []

    async def on_end(end: End) -> None:
        ends.append(end)

    await ChatEngine(format="text", on_end=on_end).start("s", producer)
    await asyncio.sleep(59)
    assert log.ends("s") == []
    await asyncio.sleep(2)

    assert log.ends("s") == ["failed"]
    assert [(end.cause, end.text) for end in ends] == [
        (Cause.LIMIT_EXCEEDED, "The answer took too long and was ended.")
    ]
    assert producer.is_closed
    assert "MAX_GENERATION_SECONDS" in caplog.text


def test_answer_whose_producer_blocks_its_thread_fails_when_it_has_taken_too_long(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_GENERATION_SECONDS=1)
    may_return = threading.Event()
    ended = threading.Event()

    def hang() -> Iterator[str]:
        yield "1"
        may_return.wait()

    async def on_end(end: End) -> None:
        ended.set()
        may_return.set()

    async def run() -> None:
        await ChatEngine(format="text", on_end=on_end).start("s", hang)
        while runtime().registry._tasks:
            await asyncio.wait(runtime().registry._tasks)

    asyncio.run(run())

    assert ended.is_set()
    assert log.ends("s") == ["failed"]


@in_virtual_time
async def test_answer_whose_model_loops_fails_when_it_has_grown_too_long(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_GENERATION_BYTES=1024)
    closed: list[bool] = []

    async def loop() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 98
        finally:
            closed.append(True)

    outcome = await generate(loop)

    assert outcome.reasons == log.ends("s") == ["failed"]
    assert sum(len(chunk) for chunk in log.chunks("s")) == 1100
    assert closed == [True]


@in_virtual_time
async def test_an_answer_without_limits_goes_on(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_GENERATION_SECONDS=None, MAX_GENERATION_BYTES=None)
    producer = Producer("1")
    await ChatEngine(format="text").start("s", producer)
    await asyncio.sleep(4000)
    producer.finish()
    await settle()

    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_a_producer_whose_own_task_was_cancelled_has_failed(log: FaultyLog) -> None:
    """A model client that cancels its own request raises what a stop would raise."""
    producer = Producer("1")
    producer.fail(asyncio.CancelledError())
    outcome = await generate(producer)

    assert outcome.reasons == ["failed"]
    assert log.chunks("s") == ['"1"']


@in_virtual_time
async def test_a_producer_that_ignores_its_cancellation_holds_up_nobody(log: FaultyLog) -> None:
    let_go = asyncio.Event()

    async def stubborn() -> AsyncIterator[str]:
        try:
            yield "1"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await let_go.wait()
            yield "never seen"

    outcome = Outcome()
    engine = ChatEngine(format="text", on_end=outcome.on_end)
    await engine.start("s", stubborn)
    await settle()
    assert await engine.end("s") is not None
    await settle()

    assert log.ends("s") == ["stopped"]
    assert outcome.reasons == ["stopped"]
    assert (await engine.start("s", of("2"))).is_new
    let_go.set()
    await settle()
    assert log.chunks("s") == ['"1"', '"2"']


@pytest.mark.parametrize("how", ["stopped here", "stopped elsewhere"])
@in_virtual_time
async def test_a_producer_may_take_its_time_to_clean_up(log: FaultyLog, how: str) -> None:
    cleaned: list[str] = []

    async def tidy() -> AsyncIterator[str]:
        try:
            yield "1"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            cleaned.append("up")

    engine = ChatEngine(format="text")
    await engine.start("s", tidy)
    await settle()
    if how == "stopped here":
        await engine.end("s")
    else:
        await log.append("s", [Record.fence("end-x")])
    await asyncio.sleep(10)

    assert cleaned == ["up"]


@in_virtual_time
async def test_a_producer_that_fails_after_a_stop_changes_nothing(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def spiteful() -> AsyncIterator[str]:
        try:
            yield "1"
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("late")

    engine = ChatEngine(format="text")
    await engine.start("s", spiteful)
    await settle()
    await engine.end("s")
    await settle()

    assert log.ends("s") == ["stopped"]
    assert "failed after its end" in caplog.text


@in_virtual_time
async def test_a_second_end_is_not_heard(log: FaultyLog) -> None:
    await ChatEngine(format="text").start("s", Producer())
    (generation,) = runtime().registry
    await settle()
    generation.stop()
    generation.interrupt()
    await settle()

    assert log.ends("s") == ["stopped"]


async def test_a_sync_producer_is_closed_when_it_is_stopped(log: FaultyLog) -> None:
    is_closed = threading.Event()
    go_on = threading.Event()

    def endless() -> Iterator[str]:
        try:
            yield "1"
            go_on.wait()
            yield "2"
            yield "3"
        finally:
            is_closed.set()

    engine = ChatEngine(format="text")
    started = await engine.start("s", endless)
    async with aclosing(engine.reader("s", started).frames()) as frames:
        while '"1"' not in log.chunks("s"):
            await anext(frames)
    await engine.end("s")
    assert log.ends("s") == ["stopped"]
    go_on.set()
    await asyncio.wait(runtime().registry._tasks)

    assert is_closed.is_set()
    assert log.chunks("s") == ['"1"']


@in_virtual_time
async def test_who_cannot_reach_the_log_leaves_its_generation_to_be_taken_over(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10, APPEND_TIMEOUT_SECONDS=5)
    outcome = Outcome()
    engine = ChatEngine(format="text", on_end=outcome.on_end)
    producer = Producer("1")
    await engine.start("s", producer)
    await settle()
    log.always("append", unavailable)
    producer.give("2")
    await asyncio.sleep(9)
    log.always("append", None)

    assert producer.is_closed
    assert len(runtime().registry) == 0
    assert outcome.reasons == []
    with pytest.raises(GenerationActiveError):
        await engine.start("s", of("3"))
    await asyncio.sleep(5)
    assert (await engine.start("s", of("3"))).is_new
    await settle()
    assert log.ends("s") == ["interrupted", "finished"]


@in_virtual_time
async def test_backend_that_raises_an_unknown_error_ends_the_writer_and_cancels_the_producer(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ChatEngine(format="text")
    producer = Producer("1")
    await engine.start("s", producer)
    await settle()
    log.then("append", raising(RuntimeError("a fault of the backend")))
    producer.give("2")
    await asyncio.sleep(1)

    assert producer.is_closed
    assert len(runtime().registry) == 0
    assert [record.message.split(" stream=")[0] for record in caplog.records if record.exc_info] == ["writer failed"]
    await asyncio.sleep(12)
    assert (await engine.start("s", of("3"))).is_new
    await settle()
    assert log.ends("s") == ["interrupted", "finished"]


@in_virtual_time
async def test_a_log_that_never_answers_lets_the_producer_go_once_the_stream_is_lost(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    producer = Producer("1")
    await engine.start("s", producer)
    await settle()
    log.then("append", never_answered)
    producer.give("2")
    await asyncio.sleep(14)
    assert (await engine.start("s", Producer("3"))).is_new
    await asyncio.sleep(1)

    assert producer.is_closed
    assert log.chunks("s") == ['"1"', '"3"']


async def stays_away(call: Call) -> None:
    """The append takes effect, and its reply never comes."""
    await call()
    await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [None, never_answered, stays_away], ids=["idle", "append lost", "reply lost"])
def test_a_generation_whose_event_loop_ends_ends_as_interrupted(
    log: FaultyLog, fault: Fault | None, caplog: pytest.LogCaptureFixture
) -> None:
    """As with ``asyncio.run`` that returns, or a server that ends without a signal."""
    caplog.set_level("INFO")
    ends: list[End] = []
    producer = Producer("1")

    async def on_end(end: End) -> None:
        ends.append(end)

    async def main() -> None:
        await ChatEngine(format="text", on_end=on_end).start("s", producer)
        await settle()
        if fault is not None:
            log.then("append", fault)
            producer.give("2")
            await settle()

    run_in_virtual_time(main)

    assert log.chunks("s") == ['"1"', '"2"'][: 1 if fault is None else 2]
    assert log.ends("s") == ["interrupted"]
    assert producer.is_closed
    assert [(end.reason.value, end.cause) for end in ends] == [("interrupted", Cause.SHUTDOWN)]
    assert "reason=interrupted cause=shutdown" in caplog.text


@pytest.mark.parametrize("fault", [never_answered, stays_away])
def test_an_end_that_is_on_its_way_when_the_event_loop_ends_is_written_once(log: FaultyLog, fault: Fault) -> None:
    async def main() -> None:
        producer = Producer("1")
        await ChatEngine(format="text").start("s", producer)
        await settle()
        log.then("append", fault)
        producer.finish()
        await settle()

    run_in_virtual_time(main)

    assert log.ends("s") == ["finished"]


@pytest.mark.parametrize("fault", [never_answered, stays_away], ids=["claim lost", "reply lost"])
def test_a_generation_that_is_being_claimed_when_its_event_loop_ends_ends_as_interrupted(
    log: FaultyLog, fault: Fault
) -> None:
    producer = Producer("1")
    log.then("append", fault)

    async def main() -> None:
        starting = asyncio.create_task(ChatEngine(format="text").start("s", producer))
        await settle()
        assert not starting.done()

    run_in_virtual_time(main)

    assert log.ends("s") == ["interrupted"]
    assert producer.calls == 0


@pytest.mark.parametrize("part", ["the log", "on_end"])
def test_an_event_loop_that_ends_waits_for_nothing_that_hangs(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    async def hang(_: End) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await ChatEngine(format="text", on_end=hang).start("s", Producer("1"))
        await settle()
        if part == "the log":
            log.always("append", never_answered)

    run_in_virtual_time(main)

    assert log.ends("s") == ([] if part == "the log" else ["interrupted"])
    told = {"the log": "log did not take the end in time", "on_end": "on_end was cut short"}[part]
    assert told in caplog.text


@in_virtual_time
async def test_a_producer_is_not_asked_for_more_than_the_log_can_take(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_PENDING_BYTES=10_000)
    asked = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield "x" * 1000

    engine = ChatEngine(format="text")
    log.then("append", lambda call: call())
    gate = asyncio.Event()
    log.then("append", held(gate))
    await engine.start("s", endless)
    await asyncio.sleep(5)
    before = asked
    assert before <= 11
    gate.set()
    await asyncio.sleep(0.01)
    assert before < asked <= before + 22
    await engine.end("s")


# -- where it runs -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_sync_code_of_one_generation_shares_a_thread_and_the_context_of_its_start(log: FaultyLog) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    threads: dict[str, set[int]] = {}
    seen: list[str] = []

    def source(name: str) -> Iterator[str]:
        for _ in range(3):
            seen.append(variable.get())
            threads.setdefault(name, set()).add(threading.get_ident())
            yield name

    variable.set("the request's")
    engine = ChatEngine(format="text")
    for name in ("a", "b"):
        await engine.start(name, lambda name=name: source(name))
    await asyncio.wait(runtime().registry._tasks)

    assert [len(idents) for idents in threads.values()] == [1, 1]
    assert threading.get_ident() not in threads["a"] | threads["b"]
    assert set(seen) == {"the request's"}


@in_virtual_time
async def test_a_producers_database_connections_are_closed_in_its_thread(log: FaultyLog) -> None:
    threads: list[int] = []

    def source() -> Iterator[str]:
        # Each thread has a connection of its own, which is there as soon as it is asked for anything.
        connection.close = lambda: threads.append(threading.get_ident())  # type: ignore[method-assign]
        connection.connection = object()
        threads.append(threading.get_ident())
        yield connection.vendor

    await ChatEngine(format="text").start("s", source)
    await asyncio.wait(runtime().registry._tasks)

    for thread in threading.enumerate():
        if thread.name.startswith("resumable_stream"):
            await asyncio.to_thread(thread.join)

    assert log.chunks("s") == ['"sqlite"']
    assert len(threads) >= 2
    assert len(set(threads)) == 1
