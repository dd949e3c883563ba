from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    GenerationLostError,
    InvalidRecordError,
    SeqNumMismatchError,
)
from resumable_stream.generations.pacing import Pacer
from resumable_stream.generations.writer import Writer
from resumable_stream.protocol.claim import Claim, Opening, claim
from resumable_stream.protocol.head import find_head, is_abandoned
from resumable_stream.protocol.layout import HEARTBEAT, Begin, EndFacts, Token, back_of, promised_seconds
from resumable_stream.protocol.perform import perform
from resumable_stream.records import MAX_BATCH_BYTES, Record
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, lost_after, lost_before, raising, unavailable, use_faulty_log
from ..support.virtual_time import VirtualTimeLoop, in_virtual_time, settle

ID = "g" * 20
FACTS = EndFacts(generation_id=ID, reason=EndReason.FINISHED, by="test")


class SteadyPacer(Pacer):
    """Keeps the least distance, whatever this machine is doing."""

    def distance_seconds(self) -> float:
        return 0.005


async def claimed(log: FaultyLog, *, lease: int = 9) -> Claim:
    begin = Begin(generation_id=ID, format="text").record()
    granted = await perform(claim(Opening(token=Token.owner(ID, lease), records=[begin])), log, "s")
    assert granted is not None
    log.appended.clear()
    log.calls.clear()
    return granted


async def make_writer(log: FaultyLog, **options: Any) -> Writer:
    return Writer(log, "s", await claimed(log, **options), SteadyPacer())


def bodies(log: FaultyLog) -> list[list[str]]:
    """Return the chunks of each append that was asked for."""
    return [[record.body for record in records if record.body and not record.is_command] for records in log.appended]


async def run_to_end(writer: Writer) -> None:
    writer.close([], FACTS)
    await writer.run()


@in_virtual_time
async def test_what_arrives_while_an_append_is_under_way_goes_into_the_next(log: FaultyLog) -> None:
    writer = await make_writer(log)
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    running = asyncio.create_task(writer.run())
    writer.put("1")
    await arrived.wait()
    for chunk in "2345":
        writer.put(chunk)
    await settle()
    assert bodies(log) == [["1"]]

    gate.set()
    await settle()
    writer.close([], FACTS)
    await running
    assert bodies(log) == [["1"], ["2", "3", "4", "5"], []]
    assert log.chunks("s") == list("12345")


@in_virtual_time
async def test_the_end_goes_with_the_last_chunks_in_one_append(log: FaultyLog) -> None:
    writer = await make_writer(log)
    writer.put("last")
    writer.close(["closing"], FACTS)
    await writer.run()

    assert bodies(log) == [["last", "closing"]]
    assert log.ends("s") == ["finished"]
    assert log.token("s") == Token.terminal(ID, EndReason.FINISHED).text


@in_virtual_time
async def test_the_first_chunk_after_a_pause_goes_at_once_and_further_ones_keep_their_distance(log: FaultyLog) -> None:
    writer = await make_writer(log)
    running = asyncio.create_task(writer.run())
    clock = asyncio.get_running_loop().time
    times: list[float] = []

    async def noted(call: Callable[[], Any]) -> Any:
        times.append(clock())
        return await call()

    log.always("append", noted)
    await asyncio.sleep(1)
    began = clock()
    for chunk in "123":
        writer.put(chunk)
        await asyncio.sleep(0.001)
    await settle()
    writer.close([], FACTS)
    await running

    assert times[0] == began
    assert times[1] - times[0] == pytest.approx(0.005)
    assert bodies(log)[:2] == [["1"], ["2", "3"]]


class WidePacer(Pacer):
    """Keeps appends 50 ms apart."""

    def distance_seconds(self) -> float:
        return 0.05


async def appended_at(log: FaultyLog, writer: Writer, chunks_at_ms: list[int]) -> list[tuple[int, list[str]]]:
    """Put chunks at these times, each named by its own; return at which time each append went, and with what."""
    clock = asyncio.get_running_loop().time
    began = clock() + 1
    times: list[int] = []

    async def noted(call: Callable[[], Any]) -> Any:
        times.append(round((clock() - began) * 1000))
        return await call()

    log.always("append", noted)
    running = asyncio.create_task(writer.run())
    for at in chunks_at_ms:
        await asyncio.sleep(began + at / 1000 - clock())
        writer.put(str(at))
    await asyncio.sleep(1)
    writer.close([], FACTS)
    await running
    return list(zip(times, bodies(log), strict=True))[:-1]


@in_virtual_time
async def test_a_chunk_whose_append_is_due_goes_with_the_next_one_if_that_comes_soon(log: FaultyLog) -> None:
    writer = Writer(log, "s", await claimed(log), WidePacer())

    appends = await appended_at(log, writer, [0, 20, 40, 60, 80])

    assert appends == [(0, ["0"]), (60, ["20", "40", "60"]), (155, ["80"])]


@in_virtual_time
async def test_a_chunk_that_stays_alone_goes_all_the_same(log: FaultyLog) -> None:
    writer = Writer(log, "s", await claimed(log), WidePacer())

    appends = await appended_at(log, writer, [0, 20])

    assert appends == [(0, ["0"]), (95, ["20"])]


@in_virtual_time
async def test_a_producer_that_has_to_wait_is_no_company_worth_waiting_for(log: FaultyLog, settings: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_PENDING_BYTES": 1}
    writer = Writer(log, "s", await claimed(log), WidePacer())
    producing = asyncio.create_task(produce(writer, ["1", "2", "3"]))

    appends = await appended_at(log, writer, [])

    await producing
    # A second before the chunks of the helper would begin, and the first a distance after the claim.
    assert appends == [(-950, ["1"]), (-900, ["2"]), (-850, ["3"])]


async def produce(writer: Writer, chunks: list[str]) -> None:
    for chunk in chunks:
        writer.put(chunk)
        await writer.wait_for_room()


@in_virtual_time
async def test_batches_are_bounded_by_the_setting(settings: Any) -> None:
    log = use_faulty_log(settings, BATCH_SIZE=3)
    writer = await make_writer(log)
    for number in range(8):
        writer.put(str(number))
    await run_to_end(writer)

    assert bodies(log) == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]


@in_virtual_time
async def test_a_batch_never_has_more_records_than_the_log_takes(settings: Any) -> None:
    log = use_faulty_log(settings, BATCH_SIZE=10_000)
    writer = await make_writer(log)
    for number in range(1500):
        writer.put(str(number))
    await run_to_end(writer)

    assert [len(chunks) for chunks in bodies(log)] == [1000, 500]
    assert log.chunks("s") == [str(number) for number in range(1500)]


@in_virtual_time
async def test_the_end_goes_alone_where_it_does_not_fit(settings: Any) -> None:
    log = use_faulty_log(settings)
    writer = await make_writer(log)
    for number in range(999):
        writer.put(str(number))
    writer.close(["closing"], FACTS)
    await writer.run()

    assert [len(chunks) for chunks in bodies(log)] == [999, 1]
    assert log.ends("s") == ["finished"]


@pytest.mark.parametrize("size", [800_000, 800_001, 1_572_864, 5_000_000])
@pytest.mark.parametrize("character", ["x", "ä", "\U0001f600", '"'])
@in_virtual_time
async def test_a_chunk_larger_than_a_record_comes_back_whole(log: FaultyLog, size: int, character: str) -> None:
    writer = await make_writer(log)
    chunk = character * (size // len(character.encode()))
    writer.put("before")
    writer.put(chunk)
    writer.put("after")
    await run_to_end(writer)

    assert log.chunks("s") == ["before", chunk, "after"]
    assert all(sum(record.metered_bytes for record in records) <= MAX_BATCH_BYTES for records in log.appended)


@in_virtual_time
async def test_a_chunk_over_the_limit_is_refused_with_the_setting_to_change(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_CHUNK_BYTES=2000)
    writer = await make_writer(log)
    writer.put("x" * 2000)

    with pytest.raises(InvalidRecordError, match="MAX_CHUNK_BYTES"):
        writer.put("x" * 2001)
    with pytest.raises(InvalidRecordError, match="surrogate"):
        writer.put("\ud800")


@in_virtual_time
async def test_a_chunk_that_no_body_could_carry_is_refused_with_the_setting_to_change(settings: Any) -> None:
    writer = await make_writer(use_faulty_log(settings, MAX_JSON_DEPTH=40))
    writer.put("[" * 24 + "]" * 24)
    writer.put('"' + "[" * 100 + '"')

    with pytest.raises(InvalidRecordError, match="MAX_JSON_DEPTH"):
        writer.put("[" * 25 + "]" * 25)
    with pytest.raises(InvalidRecordError, match="MAX_JSON_DEPTH"):
        writer.put("[" * 100_000 + "]" * 100_000)


@in_virtual_time
async def test_the_producer_waits_while_too_much_is_not_acknowledged(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_PENDING_BYTES=1000)
    writer = await make_writer(log)
    gate = asyncio.Event()
    log.then("append", held(gate))
    running = asyncio.create_task(writer.run())
    assert not writer.is_full
    writer.put("x" * 2000)
    assert writer.is_full
    waiting = asyncio.create_task(writer.wait_for_room())
    await settle()
    assert not waiting.done()

    gate.set()
    await waiting
    assert not writer.is_full
    writer.close([], FACTS)
    await running


@pytest.mark.parametrize("release", ["close", "abandon"])
@in_virtual_time
async def test_a_waiting_producer_is_let_go_when_the_generation_is_over(settings: Any, release: str) -> None:
    log = use_faulty_log(settings, MAX_PENDING_BYTES=1)
    writer = await make_writer(log)
    writer.put("x")
    waiting = asyncio.create_task(writer.wait_for_room())
    await settle()
    assert not waiting.done()
    if release == "close":
        writer.close([], FACTS)
    else:
        writer.abandon()

    await waiting


@in_virtual_time
async def test_a_cancelled_wait_for_room_harms_nobody_else(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_PENDING_BYTES=1)
    writer = await make_writer(log)
    writer.put("x")
    first, second = (asyncio.create_task(writer.wait_for_room()) for _ in range(2))
    await settle()
    first.cancel()
    await run_to_end(writer)

    await second


@in_virtual_time
async def test_silent_owner_beats_four_times_in_a_lease(log: FaultyLog) -> None:
    writer = await make_writer(log, lease=promised_seconds(8))
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(8.1)
    beats = [record for record in log.records("s") if ("rs", "beat") in record.headers]
    writer.put("x")
    await asyncio.sleep(1.8)
    assert len(beats) == 4
    assert all(back_of(beat) == beat.seq_num for beat in beats)
    assert len(log.records("s")) == 2 + 4 + 1

    await asyncio.sleep(0.4)
    assert ("rs", "beat") in log.records("s")[-1].headers
    writer.close([], FACTS)
    await running


@pytest.mark.parametrize(("busy_for", "is_lost"), [(7.9, False), (8.2, True)])
@in_virtual_time
async def test_owner_survives_a_busy_event_loop_for_less_than_its_lease(
    log: FaultyLog, busy_for: float, is_lost: bool
) -> None:
    writer = await make_writer(log, lease=promised_seconds(8))
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(1.9)  # At worst, a heartbeat is just due when the loop has no more time for it.
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.stand_still(busy_for)
    head = await perform(find_head(), log, "s")
    assert head is not None
    assert is_abandoned(head, mode="session") is is_lost

    # Where nobody has looked meanwhile, the owner goes on.
    await asyncio.sleep(0.2)
    head = await perform(find_head(), log, "s")
    assert head is not None
    assert not is_abandoned(head, mode="session")
    writer.close([], FACTS)
    await running
    assert log.ends("s") == ["finished"]


@in_virtual_time
async def test_no_heartbeat_is_written_while_chunks_show_that_the_owner_lives(log: FaultyLog) -> None:
    writer = await make_writer(log, lease=9)
    running = asyncio.create_task(writer.run())
    for _ in range(20):
        writer.put("x")
        await asyncio.sleep(1)
    writer.close([], FACTS)
    await running

    assert not [records for records in log.appended if records[0].headers[:1] == HEARTBEAT.headers]


@in_virtual_time
async def test_the_last_record_of_every_append_leads_to_the_claim(log: FaultyLog) -> None:
    await log.append("s", [Record("older")])
    writer = await make_writer(log)
    running = asyncio.create_task(writer.run())
    for chunk in ("1", "2", "3" * 2_000_000):
        writer.put(chunk)
        await asyncio.sleep(4)
    writer.close(["closing"], FACTS)
    await running
    records = {record.seq_num: record for record in log.records("s")}

    marked = [record for record in records.values() if back_of(record) is not None]
    assert len(marked) == 1 + len(log.appended)
    assert {record.seq_num - (back_of(record) or 0) for record in marked} == {1}
    assert records[1].is_fence


@in_virtual_time
async def test_who_has_lost_the_stream_writes_nothing_more(log: FaultyLog) -> None:
    writer = await make_writer(log)
    running = asyncio.create_task(writer.run())
    writer.put("mine")
    await settle()
    stranger = Token.terminal("h" * 20, EndReason.STOPPED)
    await log.append("s", [Record.fence(stranger.text)])
    before = log.records("s")
    writer.put("too late")

    with pytest.raises(GenerationLostError) as lost:
        await running
    assert lost.value.token == stranger.text
    await settle()
    assert log.records("s") == before


@in_virtual_time
async def test_an_abandoned_writer_ends_without_asking_the_log(log: FaultyLog) -> None:
    writer = await make_writer(log)
    running = asyncio.create_task(writer.run())
    await settle()
    writer.put("x")
    writer.abandon()

    with pytest.raises(GenerationLostError):
        await running
    assert log.appended == []


@in_virtual_time
async def test_somebody_who_writes_between_is_told_of_and_nothing_of_ours_is_lost(log: FaultyLog) -> None:
    writer = await make_writer(log)
    await log.append("s", [Record("intruder")])
    writer.put("1")
    writer.put("2")
    with pytest.raises(SeqNumMismatchError):
        await writer.run()
    writer.put("3")
    await run_to_end(writer)

    assert log.chunks("s") == ["intruder", "1", "2", "3"]
    assert log.ends("s") == ["finished"]
    marked = [record for record in log.records("s") if back_of(record) is not None]
    assert {record.seq_num - (back_of(record) or 0) for record in marked} == {0}


@pytest.mark.parametrize(
    "faults",
    [[lost_after], [lost_before], [unavailable], [lost_before, lost_after], [lost_after, unavailable, lost_after]],
    ids=["applied", "not applied", "unavailable", "not and then applied", "three in a row"],
)
@in_virtual_time
async def test_an_outcome_that_is_not_known_is_found_out(log: FaultyLog, faults: list[Any]) -> None:
    writer = await make_writer(log)
    log.then("append", *faults)
    running = asyncio.create_task(writer.run())
    writer.put("1")
    await asyncio.sleep(5)
    log.then("append", *faults)
    writer.put("2")
    await asyncio.sleep(5)
    log.then("append", *faults)
    writer.close(["closing"], FACTS)
    await running

    assert log.chunks("s") == ["1", "2", "closing"]
    assert log.ends("s") == ["finished"]


@pytest.mark.parametrize(
    ("fault", "error"), [(unavailable, BackendUnavailableError), (lost_before, AppendOutcomeUnknownError)]
)
@in_virtual_time
async def test_a_log_out_of_reach_is_given_up_in_the_end(settings: Any, fault: Any, error: type[Exception]) -> None:
    log = use_faulty_log(settings, APPEND_TIMEOUT_SECONDS=30)
    writer = await make_writer(log)
    log.always("append", fault)
    writer.put("x")
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(error):
        await writer.run()

    assert 30 <= clock() - began <= 33


@in_virtual_time
async def test_what_the_log_refuses_for_good_is_raised(log: FaultyLog) -> None:
    writer = await make_writer(log)
    log.then("append", raising(InvalidRecordError("no")))
    writer.put("x")

    with pytest.raises(InvalidRecordError):
        await writer.run()


@in_virtual_time
async def test_records_that_did_not_fit_the_claim_come_first(log: FaultyLog) -> None:
    writer = await make_writer(log)
    writer.put_records([Record("", (("rs", "user"), ("rs-json", '{"id":"u1","role":"user"}')))])
    writer.put("x")
    await run_to_end(writer)

    assert [type(entry).__name__ for entry in log.entries("s")] == ["Claimed", "Began", "UserMessage", "Chunk", "Ended"]
