from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from resumable_stream.backends import followers as module
from resumable_stream.backends.followers import Committed, Followers, RecordPage, StreamGrowth, call_soon
from resumable_stream.exceptions import StreamNotFoundError
from resumable_stream.records import FollowBatch, SequencedRecord


class Log:
    """A stream, and a count of the readings of it."""

    def __init__(self) -> None:
        self.followers = Followers()
        self.records: list[SequencedRecord] = []
        self.stream_id = 1
        self.readings = 0

    def commit(self, count: int = 1, *, deliver: bool = True, characters: int = 1) -> None:
        start = len(self.records)
        added = tuple(SequencedRecord(seq_num, 0, str(seq_num)) for seq_num in range(start, start + count))
        self.records += added
        if deliver:
            self.followers.deliver([Committed("a", self.stream_id, added, characters)])

    def announce(self) -> None:
        self.followers.announce([StreamGrowth("a", self.stream_id, len(self.records)), StreamGrowth("unknown", 7, 1)])

    async def read(self, stream: str, position: int, stream_id: int | None) -> RecordPage:
        self.readings += 1
        if stream_id not in (None, self.stream_id):
            raise StreamNotFoundError(stream)
        found = tuple(self.records[position : position + 1000])
        tail = len(self.records)
        await asyncio.sleep(0)
        return RecordPage(self.stream_id, found, tail)

    def follow(self, start: int = 0) -> Any:
        return self.followers.follow("a", start, self.read)


@pytest.fixture
def log() -> Log:
    log = Log()
    log.commit()
    return log


async def settled() -> None:
    """Let what was scheduled happen."""
    for _ in range(3):
        await asyncio.sleep(0)


def positions(batch: FollowBatch) -> list[int]:
    return [record.seq_num for record in batch.records]


async def test_a_follower_that_keeps_up_reads_once(log: Log) -> None:
    follow = log.follow()
    assert positions(await anext(follow)) == [0]
    for number in range(1, 10):
        log.commit()
        batch = await anext(follow)
        assert (positions(batch), batch.caught_up) == ([number], True)
    assert log.readings == 1
    await follow.aclose()


async def test_what_gathered_meanwhile_comes_as_one_batch(log: Log) -> None:
    follow = log.follow()
    await anext(follow)
    log.commit(2)
    log.commit(3)
    await settled()
    assert positions(await anext(follow)) == [1, 2, 3, 4, 5]
    assert log.readings == 1
    await follow.aclose()


async def test_what_is_committed_during_a_reading_is_neither_lost_nor_repeated(log: Log) -> None:
    follow = log.follow()
    first = asyncio.ensure_future(anext(follow))
    await asyncio.sleep(0)
    log.commit()
    assert positions(await first) == [0]
    assert positions(await anext(follow)) == [1]
    log.commit(deliver=False)
    log.announce()
    second = asyncio.ensure_future(anext(follow))
    await settled()
    log.commit()
    found = positions(await second)
    while found[-1] < 3:
        found += positions(await anext(follow))
    assert found == [2, 3]
    await follow.aclose()


@pytest.mark.parametrize(
    ("commits", "characters"), [(module.MAILBOX_RECORDS + 1, 1), (3, module.MAILBOX_CHARACTERS // 2)]
)
async def test_a_follower_that_lags_too_far_goes_back_to_reading(log: Log, commits: int, characters: int) -> None:
    follow = log.follow()
    await anext(follow)
    for _ in range(commits):
        log.commit(characters=characters)
    await settled()
    (mailbox,) = log.followers._mailboxes["a"]
    assert len(mailbox._batches) < commits

    found: list[int] = []
    while not found or found[-1] < commits:
        found += positions(await anext(follow))
    assert found == list(range(1, commits + 1))
    assert log.readings > 1
    log.commit()
    assert positions(await anext(follow)) == [commits + 1]
    await follow.aclose()


async def test_one_large_append_always_fits(log: Log) -> None:
    follow = log.follow()
    await anext(follow)
    log.commit(1000, characters=10 * module.MAILBOX_CHARACTERS)
    assert len(positions(await anext(follow))) == 1000
    assert log.readings == 1
    await follow.aclose()


async def test_what_comes_from_elsewhere_in_between_is_read(log: Log) -> None:
    follow = log.follow()
    await anext(follow)
    log.commit(deliver=False)
    log.commit()
    assert positions(await anext(follow)) == [1, 2]
    assert log.readings == 2
    await follow.aclose()


async def test_an_announcement_of_what_is_known_causes_no_reading(log: Log) -> None:
    follow = log.follow()
    await anext(follow)
    log.commit()
    log.announce()
    assert positions(await anext(follow)) == [1]
    waiting = asyncio.ensure_future(anext(follow))
    log.announce()
    await settled()
    assert log.readings == 1
    log.commit()
    assert positions(await waiting) == [2]
    await follow.aclose()


async def test_a_demand_to_look_repeats_no_signal(log: Log) -> None:
    follow = log.follow()
    assert (await anext(follow)).caught_up
    waiting = asyncio.ensure_future(anext(follow))
    await settled()
    log.followers.look()
    log.followers.look(["a", "unknown"])
    await settled()
    assert log.readings == 2
    assert not waiting.done()
    log.commit()
    assert positions(await waiting) == [1]
    await follow.aclose()


@pytest.mark.parametrize("how", ["deliver", "announce", "look"])
async def test_a_successor_of_the_same_name_ends_the_follow(log: Log, how: str) -> None:
    follow = log.follow()
    await anext(follow)
    log.stream_id, log.records = 2, []
    log.commit(3, deliver=how == "deliver")
    if how != "deliver":
        getattr(log.followers, how)(*([[StreamGrowth("a", 2, 3)]] if how == "announce" else []))
    with pytest.raises(StreamNotFoundError):
        await anext(follow)


async def test_an_ended_follow_is_forgotten(log: Log) -> None:
    follows = [log.follow() for _ in range(3)]
    assert not log.followers
    for follow in follows:
        await anext(follow)
    assert "a" in log.followers
    assert log.followers.followed() == {"a": {1}}
    for follow in follows:
        await follow.aclose()
    assert not log.followers
    log.commit()


async def test_a_loop_that_was_closed_is_not_missed(log: Log) -> None:
    def follow_and_vanish() -> None:
        loop = asyncio.new_event_loop()
        log.follow()
        kept.append(follow := log.follow())
        loop.run_until_complete(anext(follow))
        loop.close()

    kept: list[Any] = []
    thread = threading.Thread(target=follow_and_vanish)
    thread.start()
    thread.join()
    log.commit()
    log.announce()
    log.followers.look()
    assert log.followers


async def test_other_errors_of_scheduling_are_not_hidden() -> None:
    class Loop:
        def call_soon_threadsafe(self, callback: object, *args: object) -> None:
            raise RuntimeError("something else")

        def is_closed(self) -> bool:
            return False

    with pytest.raises(RuntimeError, match="something else"):
        call_soon(Loop(), print)  # type: ignore[arg-type]
