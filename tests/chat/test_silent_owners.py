"""Generations whose owner process has died, and who ends them."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.generations.first_records import key_hash
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Cause, Token
from resumable_stream.protocol.perform import perform
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, unavailable
from ..support.producers import Producer, of
from ..support.readers import bodies, ends, gather
from ..support.virtual_time import in_virtual_time, settle
from .engines import Listener, abandon, make_engine

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


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
    log: FaultyLog, listener: Listener, silent_for: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
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
    assert "reason=interrupted cause=lease-expired" in caplog.text


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
