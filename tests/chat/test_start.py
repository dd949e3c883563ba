"""The engine starts generations: one at a time, once for each key, within the limits."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    GenerationActiveError,
    LimitExceededError,
    ShuttingDownError,
)
from resumable_stream.runtime import runtime
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, lost_after, lost_before, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.readers import bodies, gather
from ..support.virtual_time import in_virtual_time, settle
from .engines import Listener, make_engine

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


@in_virtual_time
async def test_a_start_runs_in_the_background_whoever_listens(log: FaultyLog, listener: Listener) -> None:
    engine = make_engine(listener)
    started = await engine.start("s", of("Hello", " world"), chat_id="c1", actor="ada", context="mine")
    await settle()

    assert started.is_new
    assert log.chunks("s") == ['"Hello"', '" world"']
    assert log.ends("s") == ["finished"]
    (end,) = listener.ends
    assert (end.reason, end.text, end.stream_name, end.context) == (EndReason.FINISHED, "", "s", "mine")
    assert end.generation_id == started.generation_id
    assert end.message == {"id": started.generation_id, "role": "assistant", "content": "Hello world"}
    assert end.begin is not None
    assert (end.begin.chat_id, end.begin.actor) == ("c1", "ada")


@in_virtual_time
async def test_a_start_needs_one_append_and_reads_nothing(log: FaultyLog) -> None:
    await make_engine().start("s", Producer())

    assert (log.calls["append"], log.calls["read"], log.calls["tail"]) == (1, 0, 0)


@in_virtual_time
async def test_the_user_messages_are_stored_with_the_generation(log: FaultyLog) -> None:
    engine = make_engine()
    question = {"id": "m1", "role": "user", "content": "x" * 2_000_000}
    await engine.start("s", of("Answer"), user_messages=[question])
    await settle()

    messages = await engine.messages("s")
    assert messages[0] == question
    assert messages[1]["content"] == "Answer"


@in_virtual_time
async def test_of_two_starts_one_wins_and_the_others_source_is_never_called(log: FaultyLog) -> None:
    engine = make_engine()
    first, second = Producer("1"), Producer("2")
    results = await asyncio.gather(engine.start("s", first), engine.start("s", second), return_exceptions=True)

    refused = [result for result in results if isinstance(result, GenerationActiveError)]
    granted = [result for result in results if not isinstance(result, BaseException)]
    assert len(refused) == len(granted) == 1
    assert refused[0].generation_id == granted[0].generation_id
    await settle()
    assert first.calls + second.calls == 1


@in_virtual_time
async def test_a_start_whose_caller_goes_away_runs_all_the_same(log: FaultyLog) -> None:
    arrived, gate = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    producer = of("Hello")
    starting = asyncio.create_task(make_engine().start("s", producer))
    await arrived.wait()
    starting.cancel()
    await asyncio.wait({starting})
    assert starting.cancelled()
    gate.set()
    await settle()

    assert producer.calls == 1
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_context_variables_of_the_start_hold_in_the_generation_and_its_hooks(log: FaultyLog) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def source() -> Any:
        seen.append(request.get())
        yield "x"

    async def on_end(end: End) -> None:
        seen.append(request.get())

    request.set("one")
    await ChatEngine(format="text", on_end=on_end).start("s", source)
    await settle()

    assert seen == ["one", "one"]


@in_virtual_time
async def test_the_same_key_attaches_while_it_runs_and_after(log: FaultyLog) -> None:
    engine = make_engine()
    producer = Producer("1")
    first = await engine.start("s", producer, idempotency_key="k")
    second = await engine.start("s", producer, idempotency_key="k")
    producer.finish()
    await settle()
    third = await engine.start("s", producer, idempotency_key="k")

    assert [it.is_new for it in (first, second, third)] == [True, False, False]
    assert {it.generation_id for it in (first, second, third)} == {first.generation_id}
    assert producer.calls == 1
    assert bodies(await gather(engine.reader("s", third))) == ['"1"']


@in_virtual_time
async def test_two_starts_at_once_with_the_same_key_are_one(log: FaultyLog) -> None:
    engine = make_engine()
    await engine.start("s", of("older"))
    await settle()
    producer = Producer("1")
    both = await asyncio.gather(*(engine.start("s", producer, idempotency_key="k") for _ in range(2)))

    assert sorted(it.is_new for it in both) == [False, True]
    assert producer.calls <= 1
    assert len({it.generation_id for it in both}) == 1


@in_virtual_time
async def test_the_key_itself_does_not_reach_the_log(log: FaultyLog) -> None:
    await make_engine().start("s", Producer(), idempotency_key="my secret key \ud800")

    assert "secret" not in repr(log.records("s"))


@pytest.mark.parametrize("fault", [lost_after, lost_before, unavailable])
@in_virtual_time
async def test_a_claim_whose_reply_is_lost_is_found_out(log: FaultyLog, fault: Any) -> None:
    log.then("append", fault)
    producer = of("Hello")
    await make_engine().start("s", producer)
    await settle()

    assert producer.calls == 1
    assert log.chunks("s") == ['"Hello"']
    assert log.ends("s") == ["finished"]


@pytest.mark.parametrize(
    ("fault", "error"), [(unavailable, BackendUnavailableError), (lost_before, AppendOutcomeUnknownError)]
)
@in_virtual_time
async def test_a_start_that_cannot_reach_the_log_starts_nothing(
    log: FaultyLog, fault: Any, error: type[Exception]
) -> None:
    log.always("append", fault)
    producer = Producer()
    with pytest.raises(error):
        await make_engine().start("s", producer, owner="ada")

    assert producer.calls == 0
    assert len(runtime().registry) == 0
    log.always("append", None)
    assert (await make_engine().start("s", producer, owner="ada")).is_new


@in_virtual_time
async def test_limits_count_per_owner_and_include_those_being_started(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=2)
    engine = make_engine()
    producers = [Producer() for _ in range(3)]
    starts = [engine.start(f"s{index}", it, owner="ada") for index, it in enumerate(producers)]
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(result) for result in results].count(LimitExceededError) == 1
    assert log.calls["append"] == 2

    assert (await engine.start("t", Producer(), owner="bob")).is_new
    for index in range(3):
        assert (await engine.start(f"free{index}", Producer())).is_new
    await engine.end("s0")
    assert (await engine.start("s3", Producer(), owner="ada")).is_new


@in_virtual_time
async def test_a_refused_start_counts_no_longer(settings: Any) -> None:
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=1)
    engine = make_engine()
    await engine.start("s", Producer(), owner="bob")
    with pytest.raises(GenerationActiveError):
        await engine.start("s", Producer(), owner="ada")

    assert (await engine.start("t", Producer(), owner="ada")).is_new


@in_virtual_time
async def test_a_process_that_drains_starts_nothing(log: FaultyLog) -> None:
    await runtime().registry.drain(0)

    with pytest.raises(ShuttingDownError):
        await make_engine().start("s", Producer())
    assert log.appended == []
