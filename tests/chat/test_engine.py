"""Chats on a log that fails: starts, stops, takeovers, and what the app is told of them."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    GenerationActiveError,
    LimitExceededError,
    ShuttingDownError,
)
from resumable_stream.formats.base import ChunkEncoder, GenerationFacts
from resumable_stream.formats.text import TextFormat
from resumable_stream.formats.text.format import TextEncoder
from resumable_stream.generations.first_records import key_hash
from resumable_stream.http.sse import frame_encoder
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Cause, Ended, Token
from resumable_stream.protocol.perform import perform
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, lost_after, lost_before, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.readers import bodies, ends, gather
from ..support.virtual_time import in_virtual_time, settle

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


class Listener:
    """What an app hears of its generations."""

    def __init__(self) -> None:
        self.ends: list[End] = []

    async def on_end(self, end: End) -> None:
        self.ends.append(end)

    @property
    def reasons(self) -> list[str]:
        return [end.reason.value for end in self.ends]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def make_engine(listener: Listener | None = None, **options: Any) -> ChatEngine:
    on_end = listener.on_end if listener is not None else None
    return ChatEngine(format="text", on_end=on_end, **options)


async def abandon(log: FaultyLog, name: str = "d", stream: str = "s", *, key: str = "") -> None:
    """Leave a generation on the log whose writer died after its first chunk."""
    generation_id = name * 20
    begin = Begin(
        generation_id=generation_id, format="text", message_id=f"m-{name}", chat_id="c1", actor="ada", key=key
    )
    opening = Opening(token=Token.owner(generation_id, 10), records=[begin.record(), Record('"half"')])
    granted = await perform(claim(opening), log, stream)
    assert granted is not None


# -- starting ------------------------------------------------------------------------------------------------------


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


# -- ending --------------------------------------------------------------------------------------------------------


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


# -- who died ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_start_waits_for_the_lease_and_then_takes_over(log: FaultyLog, listener: Listener) -> None:
    engine = make_engine(listener)
    await abandon(log)
    await asyncio.sleep(9)
    with pytest.raises(GenerationActiveError):
        await engine.start("s", Producer())
    await asyncio.sleep(2)
    await engine.start("s", of("Second"))
    await settle()

    assert log.chunks("s") == ['"half"', '"Second"']
    assert log.ends("s") == ["interrupted", "finished"]
    assert sorted(listener.reasons) == ["finished", "interrupted"]
    assert {end.cause for end in listener.ends} == {None, Cause.TAKEN_OVER}
    dead = next(end for end in listener.ends if end.reason is EndReason.INTERRUPTED)
    assert dead.message is not None
    assert dead.message["content"] == "half"
    assert "interrupted" in dead.text


@in_virtual_time
async def test_a_waiting_reader_leaves_an_owner_in_its_own_process_alone_while_the_log_takes_no_heartbeat(
    log: FaultyLog,
) -> None:
    engine, producer, gate = make_engine(), Producer("1"), asyncio.Event()
    reading = asyncio.create_task(gather(engine.reader("s", await engine.start("s", producer))))
    await settle()
    log.then("append", held(gate))
    await asyncio.sleep(25)
    gate.set()
    producer.give("2")
    producer.finish()

    assert bodies(await reading) == ['"1"', '"2"']
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_a_waiting_reader_ends_what_was_abandoned_once(log: FaultyLog, listener: Listener) -> None:
    await abandon(log)
    engine = make_engine(listener)
    readers = [await engine.locate("s") for _ in range(5)]
    assert all(readers)
    seen = await asyncio.gather(*(gather(reader) for reader in readers if reader is not None))
    await settle()

    assert log.ends("s") == ["interrupted"]
    assert all(bodies(entries) == ['"half"'] and ends(entries) == ["interrupted"] for entries in seen)
    assert listener.reasons == ["interrupted"]
    assert len(runtime().hub) == 0


@pytest.mark.parametrize("silent_for", [11, 9_000])
@in_virtual_time
async def test_a_reader_of_an_answer_whose_owner_died_longer_ago_than_its_lease_is_told_at_once(
    log: FaultyLog, listener: Listener, silent_for: int
) -> None:
    await abandon(log)
    await asyncio.sleep(silent_for)
    reader = await make_engine(listener).locate("s")
    assert reader is not None
    before = asyncio.get_running_loop().time()
    seen = await gather(reader)
    told_at = asyncio.get_running_loop().time()
    await settle()

    assert (bodies(seen), ends(seen)) == (['"half"'], ["interrupted"])
    assert told_at - before < 1
    assert [end.cause for end in listener.ends] == [Cause.LEASE_EXPIRED]


@in_virtual_time
async def test_a_reader_who_comes_within_the_lease_waits_for_no_more_than_the_rest_of_it(log: FaultyLog) -> None:
    await abandon(log)
    await asyncio.sleep(6)
    reader = await make_engine().locate("s")
    assert reader is not None
    before = asyncio.get_running_loop().time()
    seen = await gather(reader)

    assert ends(seen) == ["interrupted"]
    assert asyncio.get_running_loop().time() - before < 8


@in_virtual_time
async def test_a_repeated_start_that_attaches_to_an_answer_whose_owner_is_long_dead_hears_so_within_seconds(
    log: FaultyLog,
) -> None:
    engine = make_engine()
    await abandon(log, key=key_hash("k"))
    await asyncio.sleep(100)
    attached = await engine.start("s", Producer(), idempotency_key="k")
    before = asyncio.get_running_loop().time()
    seen = await gather(engine.reader("s", attached))

    assert not attached.is_new
    assert ends(seen) == ["interrupted"]
    assert asyncio.get_running_loop().time() - before < 3


@in_virtual_time
async def test_whoever_reads_a_chat_back_gets_the_end_of_an_answer_whose_owner_is_long_dead(
    log: FaultyLog, listener: Listener
) -> None:
    engine = make_engine(listener)
    await abandon(log)
    [half], _, _ = await engine.history("s")
    assert half.end is None
    await asyncio.sleep(11)
    [whole], _, _ = await engine.history("s")

    assert whole.end is EndReason.INTERRUPTED
    assert [message["content"] for message in await engine.messages("s")] == ["half"]


@in_virtual_time
async def test_a_reader_gets_what_there_is_while_an_abandoned_answer_cannot_be_ended(log: FaultyLog) -> None:
    await abandon(log)
    await asyncio.sleep(11)
    log.always("append", unavailable)
    reader = await make_engine().locate("s")
    assert reader is not None
    reading = asyncio.create_task(gather(reader))
    await asyncio.sleep(3)
    log.always("append", None)

    assert ends(await reading) == ["interrupted"]


@in_virtual_time
async def test_a_start_within_the_lease_of_a_silent_owner_is_told_when_to_come_back(log: FaultyLog) -> None:
    await abandon(log)
    with pytest.raises(GenerationActiveError, match="Wait for it to end") as at_once:
        await make_engine().start("s", Producer())
    assert at_once.value.retry_after is None
    await asyncio.sleep(4)
    with pytest.raises(GenerationActiveError, match=r"or was broken off: .* 4 s\. Try again in 6 s") as later:
        await make_engine().start("s", Producer())
    await asyncio.sleep(later.value.retry_after + 0.1)

    assert (await make_engine().start("s", of("Next"))).is_new


@in_virtual_time
async def test_on_end_is_not_cut_short_by_the_readers_it_sends_away(log: FaultyLog) -> None:
    await abandon(log)
    heard: list[str] = []

    async def on_end(end: End) -> None:
        await asyncio.sleep(5)
        heard.append(await sync_to_async(lambda: end.reason.value)())

    engine = ChatEngine(format="text", on_end=on_end)
    reader = await engine.locate("s")
    assert reader is not None
    await gather(reader)
    await asyncio.sleep(10)

    assert heard == ["interrupted"]


@in_virtual_time
async def test_an_owner_that_beats_is_left_alone(log: FaultyLog, listener: Listener) -> None:
    engine = make_engine(listener)
    producer = Producer("1")
    await engine.start("s", producer)
    reader = await engine.locate("s")
    assert reader is not None
    reading = asyncio.create_task(gather(reader))
    await asyncio.sleep(120)
    assert log.ends("s") == []
    producer.finish()

    assert ends(await reading) == ["finished"]
    assert listener.reasons == ["finished"]


@in_virtual_time
async def test_another_programs_silent_owner_is_not_ours_to_end(log: FaultyLog) -> None:
    await log.append("s", [Record.fence("node-123"), Record('"theirs"')])
    engine = make_engine()
    reader = await engine.locate("s")
    assert reader is not None
    reading = asyncio.create_task(gather(reader))
    await asyncio.sleep(120)
    assert not reading.done()
    with pytest.raises(GenerationActiveError):
        await engine.start("s", Producer())
    assert await engine.end("s") is not None

    assert ends(await reading) == ["stopped"]


@in_virtual_time
async def test_an_unknown_format_of_a_dead_writer_is_ended_all_the_same(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    begin = Begin(generation_id="d" * 20, format="somebody.elses.Format")
    await perform(claim(Opening(token=Token.owner("d" * 20, 10), records=[begin.record()])), log, "s")

    assert await make_engine().end("s") == "d" * 20
    assert "unknown format" in caplog.text


# -- what the app is told ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_on_error_words_the_failure_and_may_fail_itself(
    log: FaultyLog, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    async def on_error(context: Any, error: Exception) -> str:
        told.append((context, str(error)))
        if context == "worse":
            raise ValueError("no words")
        return "Sorry."

    engine = ChatEngine(format="text", on_error=on_error, on_end=listener.on_end)
    for context in ("bad", "worse"):
        producer = Producer("1")
        producer.fail(RuntimeError("boom"))
        await engine.start(context, producer, context=context)
    await settle()

    assert told == [("bad", "boom"), ("worse", "boom")]
    assert {end.context: end.text for end in listener.ends} == {"bad": "Sorry.", "worse": "An error occurred."}
    assert log.ends("bad") == log.ends("worse") == ["failed"]
    assert "on_error failed" in caplog.text


@in_virtual_time
async def test_an_on_end_that_raises_is_logged_and_harms_nothing(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_end(end: End) -> None:
        raise ValueError("no table")

    engine = ChatEngine(format="text", on_end=on_end)
    await engine.start("s", of("1"))
    await settle()
    await abandon(log, stream="t")
    assert await engine.end("t") is not None

    assert log.ends("s") == ["finished"]
    assert log.ends("t") == ["stopped"]
    # What was lost can be found again by these.
    assert "chat=c1 generation=dddddddddddddddddddd message=m-d reason=stopped" in caplog.text
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.exc_info] == ["on_end failed"] * 2
    assert (await engine.start("s", Producer())).is_new


@in_virtual_time
async def test_on_end_comes_although_the_log_stumbles_just_then(log: FaultyLog, listener: Listener) -> None:
    log.then("read", unavailable, unavailable)
    await make_engine(listener).start("s", of("Hello"))
    await asyncio.sleep(5)

    (end,) = listener.ends
    assert end.message is not None
    assert end.message["content"] == "Hello"


@in_virtual_time
async def test_on_end_gets_the_answer_of_its_own_generation_or_none(log: FaultyLog, listener: Listener) -> None:
    """In shared mode the next start trims what came before, possibly before the app was told of it."""
    engine = make_engine(listener, mode="shared")
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("read", held(gate, arrived))
    first = await engine.start("s", of("First"))
    await arrived.wait()
    second = await engine.start("s", of("Second"))
    await settle()
    gate.set()
    await settle()

    heard = {end.generation_id: end.message and end.message["content"] for end in listener.ends}
    assert heard == {first.generation_id: None, second.generation_id: "Second"}


# -- modes and formats ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_shared_mode_keeps_the_newest_generation_only(log: FaultyLog) -> None:
    engine = make_engine(mode="shared")
    for text in ("First", "Second"):
        await engine.start("s", of(text))
        await settle()

    assert log.chunks("s") == ['"Second"']
    reader = await engine.locate("s", 0)
    assert reader is not None
    assert bodies(await gather(reader)) == ['"Second"']


@in_virtual_time
async def test_single_use_mode_takes_one_generation_for_each_stream(log: FaultyLog) -> None:
    engine = make_engine(mode="single-use")
    await engine.start("s", of("Only"))
    await settle()

    with pytest.raises(GenerationActiveError):
        await engine.start("s", of("Another"))
    assert (await engine.start("t", of("Elsewhere"))).is_new


def test_a_mode_that_is_none_is_refused_with_the_choices() -> None:
    with pytest.raises(ImproperlyConfigured, match="'single-use', 'shared', 'session'"):
        ChatEngine(mode="sesion")  # type: ignore[arg-type]


def test_engines_of_one_format_share_its_frames() -> None:
    first, second = (frame_encoder(ChatEngine(format="text").format) for _ in range(2))

    assert first is second


class BrokenEncoder(TextEncoder):
    """Cannot finish what it began."""

    def finish(self) -> list[str]:
        raise ZeroDivisionError

    def stop(self) -> list[str]:
        raise ZeroDivisionError

    def fail(self, text: str) -> list[str]:
        raise ZeroDivisionError


class BrokenFormat(TextFormat):
    name = "broken"

    def encoder(self, facts: GenerationFacts) -> BrokenEncoder:
        return BrokenEncoder()


@in_virtual_time
async def test_a_format_that_cannot_finish_ends_its_generations_all_the_same(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ChatEngine(format=BrokenFormat())
    assert isinstance(engine.format.encoder(GenerationFacts(generation_id="", message_id="")), ChunkEncoder)
    await engine.start("finishing", of("1"))
    await engine.start("stopped", Producer("1"))
    await settle()
    await engine.end("stopped")

    assert log.ends("finishing") == ["failed"]
    assert log.ends("stopped") == ["stopped"]
    assert "format could not close" in caplog.text


@in_virtual_time
async def test_an_item_that_the_format_cannot_encode_fails_the_generation(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    await make_engine().start("s", of("1", object(), "2"))
    await settle()

    assert log.chunks("s") == ['"1"']
    assert log.ends("s") == ["failed"]
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.ERROR]


@in_virtual_time
async def test_a_stranger_who_writes_beside_us_fails_the_answer_and_takes_nothing_away(log: FaultyLog) -> None:
    producer = Producer("1")
    await make_engine().start("s", producer)
    await settle()
    await log.append("s", [Record('"intruder"')])
    producer.give("2")
    await settle()

    assert log.chunks("s") == ['"1"', '"intruder"', '"2"']
    assert log.ends("s") == ["failed"]
    assert producer.is_closed


# -- finding a place to read from ----------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_read_depends_on_what_runs_and_on_the_cursor(log: FaultyLog) -> None:
    engine = make_engine()
    assert await engine.locate("s") is None
    assert await engine.locate("s", 0) is None
    await engine.start("s", of("1", "2"))
    await settle()
    tail = (await log.tail("s")).seq_num
    last_chunk = [entry.cursor for entry in log.entries("s") if not isinstance(entry, Ended)][-1]

    assert await engine.locate("s") is None
    assert await engine.locate("s", tail) is None
    assert await engine.locate("s", tail + 1) is None
    for cursor, expected in ((0, ['"1"', '"2"']), (last_chunk, [])):
        reader = await engine.locate("s", cursor)
        assert reader is not None
        entries = await gather(reader)
        assert (bodies(entries), ends(entries)) == (expected, ["finished"])


@in_virtual_time
async def test_a_cursor_whose_records_are_gone_gets_the_newest_answer_whole(log: FaultyLog) -> None:
    engine = make_engine()
    await engine.start("s", of("Old"))
    await settle()
    await engine.start("s", of("New"))
    await settle()
    head = await engine.head("s")
    assert head is not None
    await log.append("s", [Record.trim(head.start)])
    reader = await engine.locate("s", 1)

    assert reader is not None
    entries = await gather(reader)
    assert bodies(entries) == ['"New"']
    assert await engine.locate("s", entries[-1].cursor) is None


@in_virtual_time
async def test_a_stream_of_which_nothing_is_left_has_nothing_to_read(log: FaultyLog) -> None:
    engine = make_engine()
    await engine.start("s", of("Old"))
    await settle()
    await log.append("s", [Record.trim(2**60)])

    assert await engine.locate("s", 0) is None
    assert await engine.locate("s") is None
    assert await engine.messages("s") == []
    assert (await engine.start("s", of("New"))).is_new


@in_virtual_time
async def test_finding_the_place_costs_the_same_after_any_history(log: FaultyLog) -> None:
    engine = make_engine()
    costs = []
    for count in (1, 30):
        for _ in range(count):
            await engine.start("s", of(*["x"] * 50))
            await settle()
        log.calls.clear()
        await engine.locate("s", (await log.tail("s")).seq_num - 5)
        costs.append(log.calls["read"] + log.calls["tail"])

    assert costs[0] == costs[1]
    assert costs[1] <= 4


# -- nothing left over ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_nothing_is_left_of_generations_that_are_over(log: FaultyLog) -> None:
    engine = make_engine()
    before = len(asyncio.all_tasks())
    for number in range(50):
        await engine.start(f"s{number}", of("x") if number % 2 else Producer("x"), owner=f"owner{number}")
        await asyncio.sleep(0.01)
        if not number % 2:
            await engine.end(f"s{number}")
    await asyncio.sleep(5)
    here = runtime()
    while here.registry._tasks:
        # Threads end when they end.
        await asyncio.wait(here.registry._tasks)

    assert len(here.registry) == len(here.hub) == log.following == 0
    assert here.registry._tasks == set()
    assert here.registry._starting == {}
    assert here.readers.taken == {}
    assert len(asyncio.all_tasks()) == before
