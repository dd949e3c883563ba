"""Readers of one stream: each gets everything once and in order, whatever its pace and wherever it joins."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from resumable_stream.backends import backends
from resumable_stream.exceptions import (
    BackendUnavailableError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    ShuttingDownError,
    StreamNotFoundError,
)
from resumable_stream.protocol import layout
from resumable_stream.protocol.layout import Chunk, EndFacts, Entry, chunk_records, terminal_records
from resumable_stream.readers import hub as hub_module
from resumable_stream.readers.frames import Frame
from resumable_stream.readers.hub import Hub
from resumable_stream.readers.reader import Reader
from resumable_stream.records import Record
from resumable_stream.types import EndReason

from ..support.logs import FaultyLog, held, unavailable, use_faulty_log
from ..support.readers import bodies, ends, gather
from ..support.virtual_time import in_virtual_time, run_in_virtual_time, settle


def chunk(text: str) -> Record:
    return Record(text)


def terminal(reason: EndReason = EndReason.FINISHED) -> list[Record]:
    return terminal_records([], EndFacts(generation_id="g" * 20, reason=reason), back=None)


@in_virtual_time
async def test_a_finished_answer_is_read_to_its_end(log: FaultyLog) -> None:
    await log.append("s", [chunk("1"), chunk("2"), *terminal()])
    reader = Reader(Hub(), log, "s", 0)
    entries = await gather(reader)

    assert bodies(entries) == ["1", "2"]
    assert ends(entries) == ["finished"]
    assert reader.has_ended
    assert reader.cursor == 4


@in_virtual_time
async def test_a_reader_catches_up_and_goes_on_with_what_comes(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    gathering = asyncio.create_task(gather(Reader(Hub(), log, "s", 0)))
    await settle()
    await log.append("s", [chunk("2")])
    await settle()
    await log.append("s", [chunk("3"), *terminal()])

    assert bodies(await gathering) == ["1", "2", "3"]


@in_virtual_time
async def test_a_reader_ends_with_the_first_terminal_after_the_one_it_knows_of(log: FaultyLog) -> None:
    await log.append("s", [chunk("1"), *terminal(), chunk("2"), *terminal(EndReason.STOPPED), chunk("3"), *terminal()])
    entries = await gather(Reader(Hub(), log, "s", 0, end_after=3))

    assert bodies(entries) == ["1", "2"]
    assert ends(entries) == ["finished", "stopped"]


@in_virtual_time
async def test_a_live_reader_goes_on_after_the_end(log: FaultyLog) -> None:
    hub = Hub()
    reader = Reader(hub, log, "s", 0, is_live=True)
    seen: list[Entry] = []

    async def read() -> None:
        async with aclosing(reader.frames()) as batches:
            async for frames in batches:
                seen.extend(frame.entry for frame in frames)

    reading = asyncio.create_task(read())
    for text in "123":
        await asyncio.sleep(10)
        await log.append("s", [chunk(text), *terminal()])
    await asyncio.sleep(10)
    assert bodies(seen) == ["1", "2", "3"]
    assert len(ends(seen)) == 3

    reading.cancel()
    await settle()
    assert (log.following, len(hub)) == (0, 0)


@in_virtual_time
async def test_a_reader_that_is_left_early_frees_everything_at_once(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    hub = Hub()
    frames = Reader(hub, log, "s", 0).frames()
    await anext(frames)
    waiting = asyncio.ensure_future(anext(frames))
    await settle()
    assert len(hub) == 1
    waiting.cancel()
    await asyncio.wait({waiting})

    assert len(hub) == 0


@in_virtual_time
async def test_a_reader_that_is_closed_between_batches_frees_everything_at_once(log: FaultyLog) -> None:
    hub = Hub()
    await log.append("s", [chunk("0")])
    frames = Reader(hub, log, "s", 1).frames()
    first = asyncio.ensure_future(anext(frames))
    await settle()
    await log.append("s", [chunk("1")])
    await first
    assert len(hub) == 1
    await frames.aclose()

    assert len(hub) == 0


@in_virtual_time
async def test_a_hundred_readers_cost_the_log_one_follow(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    hub = Hub()
    gathering = [asyncio.create_task(gather(Reader(hub, log, "s", 0))) for _ in range(100)]
    await settle()
    reads = log.calls["read"]
    for text in "2345":
        await log.append("s", [chunk(text)])
        await settle()
    await log.append("s", terminal())
    everything = await asyncio.gather(*gathering)

    assert all(bodies(entries) == list("12345") for entries in everything)
    assert log.calls["follow"] == 1
    assert log.calls["read"] == reads
    assert len(hub) == 0


@in_virtual_time
async def test_a_keep_alive_is_an_empty_batch(settings: Any) -> None:
    log = use_faulty_log(settings, KEEPALIVE_SECONDS=15)
    await log.append("s", [chunk("1")])
    reader = Reader(Hub(), log, "s", 0)
    frames = reader.frames()
    await anext(frames)
    clock = asyncio.get_running_loop().time
    began = clock()

    assert await anext(frames) == []
    assert 14 <= clock() - began <= 17
    await frames.aclose()


@in_virtual_time
async def test_a_reader_that_is_asked_to_tells_once_when_it_has_caught_up(log: FaultyLog) -> None:
    await log.append("s", [chunk("1"), chunk("2")])
    reader = Reader(Hub(), log, "s", 0, is_live=True)
    reader.announces_tail = True
    async with aclosing(reader.frames()) as batches:
        assert [len(await anext(batches)), reader.is_caught_up] == [2, False]
        assert [len(await anext(batches)), reader.is_caught_up] == [0, True]
        began = asyncio.get_running_loop().time()
        await log.append("s", [chunk("3")])
        assert len(await anext(batches)) == 1
        assert await anext(batches) == []
        # The next is a keep-alive, which comes in its time.
        assert asyncio.get_running_loop().time() - began >= 15


@pytest.mark.parametrize("ends_meanwhile", [False, True])
@in_virtual_time
async def test_a_reader_that_lets_go_holds_nothing_and_goes_on_where_its_client_is(
    log: FaultyLog, ends_meanwhile: bool
) -> None:
    hub = Hub()
    await log.append("s", [chunk("1"), chunk("2"), chunk("3"), *(terminal() if ends_meanwhile else [])])
    reader = Reader(hub, log, "s", 0)
    async with aclosing(reader.frames()) as batches:
        assert len(await anext(batches)) >= 3
        assert reader.let_go(2)
        await settle()
        assert len(hub) == 0
        if not ends_meanwhile:
            await log.append("s", [chunk("4"), *terminal()])
        rest = [frame.entry async for frames in batches for frame in frames]

    assert bodies(rest) == (["3"] if ends_meanwhile else ["3", "4"])
    assert ends(rest) == ["finished"]


@in_virtual_time
async def test_what_the_log_does_not_have_is_not_let_go(log: FaultyLog) -> None:
    await log.append("s", [chunk("1"), *terminal()])
    reader = Reader(Hub(), log, "s", 0, prelude=[Frame(Chunk(0, "before"))])
    async with aclosing(reader.frames()) as batches:
        assert bodies([frame.entry for frame in await anext(batches)]) == ["before"]
        assert not reader.let_go(0)
        assert bodies([frame.entry for frame in await anext(batches)]) == ["1"]
        assert reader.let_go(0)
        assert bodies([frame.entry for frame in await anext(batches)]) == ["1"]


@in_virtual_time
async def test_a_reader_knows_while_the_log_is_out_of_reach(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    reader = Reader(Hub(), log, "s", 0)
    async with aclosing(reader.frames()) as batches:
        await anext(batches)
        log.always("follow", unavailable)
        assert not reader.is_cut_off
        assert await anext(batches) == []
        assert reader.is_cut_off
        log.always("follow", None)
        await log.append("s", [chunk("2")])
        await anext(batches)
        assert not reader.is_cut_off


@in_virtual_time
async def test_a_slow_reader_gets_everything_and_holds_up_nobody(settings: Any) -> None:
    log = use_faulty_log(settings, RING_BYTES=5_000)
    await log.append("s", [chunk("0")])
    hub = Hub()
    slow_frames = Reader(hub, log, "s", 0).frames()
    slow = [frame.entry for frame in await anext(slow_frames)]
    quick = asyncio.create_task(gather(Reader(hub, log, "s", 0)))
    for number in range(1, 500):
        await log.append("s", [chunk(str(number))])
    await log.append("s", terminal())
    assert bodies(await quick) == [str(number) for number in range(500)]

    async with aclosing(slow_frames):
        async for frames in slow_frames:
            slow += [frame.entry for frame in frames]
            await asyncio.sleep(1)
    assert bodies(slow) == [str(number) for number in range(500)]


@in_virtual_time
async def test_a_long_replay_begins_with_a_small_page(log: FaultyLog) -> None:
    for page in range(4):
        await log.append("s", [chunk(f"{page}-{number}") for number in range(500)])
    await log.append("s", terminal())
    frames = Reader(Hub(), log, "s", 0).frames()
    sizes = [len(batch) async for batch in frames]

    assert sizes[0] == 100
    assert sum(sizes) == 2001


@in_virtual_time
async def test_a_passing_fault_of_the_log_is_not_the_readers_business(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    log.then("read", unavailable, unavailable)
    log.then("follow", unavailable, unavailable)
    gathering = asyncio.create_task(gather(Reader(Hub(), log, "s", 0)))
    await asyncio.sleep(5)
    log.then("read", unavailable)
    await log.append("s", [chunk("2"), *terminal()])

    assert bodies(await gathering) == ["1", "2"]


@pytest.mark.parametrize("method", ["read", "follow"])
@in_virtual_time
async def test_a_log_that_stays_away_is_told_after_a_minute(log: FaultyLog, method: str) -> None:
    await log.append("s", [chunk("1")])
    log.always(method, unavailable)
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(BackendUnavailableError):
        await gather(Reader(Hub(), log, "s", 0))

    assert 60 <= clock() - began <= 65


@in_virtual_time
async def test_a_stream_that_is_not_there_is_told_at_once(log: FaultyLog) -> None:
    with pytest.raises(StreamNotFoundError):
        await gather(Reader(Hub(), log, "s", 0))


@in_virtual_time
async def test_a_cursor_beyond_the_tail_is_told(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])

    with pytest.raises(ReadUnwrittenError):
        await gather(Reader(Hub(), log, "s", 5))


@in_virtual_time
async def test_what_is_gone_is_told_and_never_passed_over(log: FaultyLog) -> None:
    await log.append("s", [chunk("1"), chunk("2"), Record.trim(2)])

    with pytest.raises(RecordsTrimmedError):
        await gather(Reader(Hub(), log, "s", 0))


@in_virtual_time
async def test_a_hub_that_closes_ends_its_readers_and_loses_them_nothing(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    hub = Hub()
    reader = Reader(hub, log, "s", 0)
    seen: list[Entry] = []

    async def read() -> None:
        async for frames in reader.frames():
            seen.extend(frame.entry for frame in frames)

    reading = asyncio.create_task(read())
    await settle()
    hub.close()
    with pytest.raises(ShuttingDownError):
        await reading

    assert bodies(seen) == ["1"]
    assert reader.cursor == 1


@in_virtual_time
async def test_an_end_that_the_follow_was_not_given_before_the_hub_closed_still_reaches_the_reader(
    log: FaultyLog,
) -> None:
    hub = Hub()
    await log.append("s", [chunk("1")])
    gathering = asyncio.create_task(gather(Reader(hub, log, "s", 0)))
    await settle()
    with mock.patch.object(hub_module.SharedFollow, "_publish"):
        await log.append("s", [chunk("2"), *terminal()])
        await settle()
    hub.close()

    entries = await gathering
    assert bodies(entries) == ["1", "2"]
    assert ends(entries) == ["finished"]


@in_virtual_time
async def test_a_reader_that_joins_within_a_split_chunk_gets_what_follows_it(log: FaultyLog) -> None:
    long = "x" * 2_000_000
    parts = chunk_records(long)
    hub = Hub()
    await log.append("s", [chunk("1")])
    early = asyncio.create_task(gather(Reader(hub, log, "s", 0)))
    await log.append("s", parts[:1])
    await settle()
    late = asyncio.create_task(gather(Reader(hub, log, "s", 1)))
    await settle()
    for part in parts[1:]:
        await log.append("s", [part])
        await settle()
    await log.append("s", [chunk("2"), *terminal()])

    assert bodies(await early) == ["1", long, "2"]
    assert bodies(await late) == [long, "2"]


@in_virtual_time
async def test_the_first_to_follow_may_stand_within_a_split_chunk(log: FaultyLog) -> None:
    """The hub's follow began after the chunk's first part, so its ring can never have that chunk."""
    long = "x" * 2_000_000
    parts = chunk_records(long)
    hub = Hub()
    await log.append("s", [chunk("1"), parts[0]])
    beyond = hub.attach(log, "s", 2)
    behind = asyncio.create_task(gather(Reader(hub, log, "s", 1)))
    await settle()
    for part in parts[1:]:
        await log.append("s", [part])
        await settle()
    await log.append("s", [chunk("2"), *terminal()])

    assert bodies(await behind) == [long, "2"]
    hub.detach(beyond)


@in_virtual_time
async def test_a_reader_within_a_split_chunk_hears_that_the_follow_has_ended_before_it_came(log: FaultyLog) -> None:
    parts = chunk_records("x" * 2_000_000)
    hub = Hub()
    await log.append("s", [chunk("1"), parts[0]])
    hub.attach(log, "s", 2)
    gate = asyncio.Event()
    log.then("read", held(gate))
    gathering = asyncio.create_task(gather(Reader(hub, log, "s", 1)))
    await settle()
    hub.close()
    gate.set()

    with pytest.raises(ShuttingDownError):
        await asyncio.wait_for(gathering, 1)


@in_virtual_time
async def test_a_read_that_is_never_answered_can_be_left(log: FaultyLog) -> None:
    await log.append("s", [chunk("1")])
    log.then("read", held(asyncio.Event()))
    hub = Hub()
    gathering = asyncio.create_task(gather(Reader(hub, log, "s", 0)))
    await settle()
    gathering.cancel()
    await asyncio.wait({gathering})

    assert len(hub) == 0


# -- the property --------------------------------------------------------------------------------------------------


@dataclass
class Visit:
    """One reader."""

    arrives: float
    pace: float
    """Seconds it takes over each batch."""
    cursor_at: int
    """Which of the chunks written by then it already has; it joins after that."""


@dataclass
class Story:
    """A writer, and the readers who come and go at their own pace."""

    sizes: list[int]
    batch: int
    gap: float
    ring_bytes: int
    spare_bytes: int
    visits: list[Visit]


STORIES = st.builds(
    Story,
    sizes=st.lists(st.sampled_from([1, 10, 300, 3000]), min_size=1, max_size=60),
    batch=st.integers(1, 7),
    gap=st.sampled_from([0.0, 0.01, 1.0]),
    ring_bytes=st.sampled_from([1, 2_000, 20_000, 10_000_000]),
    spare_bytes=st.sampled_from([0, 1_000, 16_384]),
    visits=st.lists(
        st.builds(
            Visit,
            arrives=st.floats(0, 20),
            pace=st.sampled_from([0.0, 0.001, 0.5, 7.0]),
            cursor_at=st.integers(0, 60),
        ),
        min_size=1,
        max_size=6,
    ),
)


async def _tell(story: Story) -> None:
    log = backends["default"]
    hub = Hub()
    chunks = [f"{number}:" + "x" * size for number, size in enumerate(story.sizes)]
    records = [record for text in chunks for record in chunk_records(text)]
    await log.append("s", [Record("first")])

    async def write() -> None:
        position = 0
        while position < len(records):
            # Parts of one chunk come apart: any of them may be the last thing that a reader finds.
            await log.append("s", records[position : position + story.batch])
            position += story.batch
            await asyncio.sleep(story.gap)
        await log.append("s", terminal())

    async def visit(one: Visit) -> list[Entry]:
        await asyncio.sleep(one.arrives)
        cursors = [0, 1]
        batch = await log.read("s", 0)
        cursors += [record.seq_num + 1 for record in batch.records if not record.headers]
        cursor = cursors[min(one.cursor_at, len(cursors) - 1)]
        seen: list[Entry] = []
        async with aclosing(Reader(hub, log, "s", cursor).frames()) as batches:
            async for frames in batches:
                seen += [frame.entry for frame in frames]
                await asyncio.sleep(one.pace)
        whole = ["first", *chunks]
        expected = [text for text, place in zip(whole, _cursors(whole), strict=True) if place > cursor]
        assert bodies(seen) == expected
        assert ends(seen) == ["finished"]
        places = [entry.cursor for entry in seen]
        assert places == sorted(set(places))
        return seen

    await asyncio.gather(write(), *(visit(one) for one in story.visits))
    assert len(hub) == 0


def _cursors(chunks: list[str]) -> list[int]:
    found: list[int] = []
    for text in chunks:
        found.append((found[-1] if found else 0) + len(chunk_records(text)))
    return found


@given(STORIES)
@hypothesis_settings(max_examples=200)
def test_whatever_its_pace_and_wherever_it_joins_a_reader_misses_and_repeats_nothing(story: Story) -> None:
    values = {
        "HANDLE_SIGNALS": False,
        "RING_BYTES": story.ring_bytes,
        "BACKENDS": {"default": {"BACKEND": "resumable_stream.backends.memory.MemoryBackend"}},
    }
    with (
        override_settings(RESUMABLE_STREAM=values),
        # Chunks of 300 bytes are long ones, so that many are split.
        mock.patch.object(layout, "MAX_PART_BYTES", 120),
        mock.patch.object(hub_module, "SPARE_BYTES", story.spare_bytes),
    ):
        run_in_virtual_time(lambda: _tell(story))
