from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from contextvars import ContextVar
from typing import Any

import pytest

from resumable_stream.exceptions import BackendUnavailableError, ShuttingDownError, StreamNotFoundError
from resumable_stream.protocol.layout import Chunk
from resumable_stream.readers.frames import Frame
from resumable_stream.readers.hub import FIRST_READER_SECONDS, RETRY_SECONDS, Hub, Ring, SharedFollow
from resumable_stream.readers.reader import Reader
from resumable_stream.records import Record

from ..support.logs import FaultyLog, raising, unavailable, use_faulty_log
from ..support.tasks import running_tasks
from ..support.virtual_time import in_virtual_time, settle


def chunks(*numbers: int, size: int = 1) -> list[Any]:
    return [Chunk(number, "x" * size) for number in numbers]


def cursors(frames: list[Frame]) -> list[int]:
    return [frame.entry.cursor for frame in frames]


# -- the ring ------------------------------------------------------------------------------------------------------


def test_a_ring_gives_what_comes_after_a_cursor() -> None:
    ring = Ring(10, limit_bytes=10_000)
    ring.extend(chunks(11, 12, 15), 16)

    assert [cursors(ring.since(cursor)) for cursor in (10, 11, 12, 14, 15, 16, 99)] == [
        [11, 12, 15],
        [12, 15],
        [15],
        [15],
        [],
        [],
        [],
    ]
    assert (ring.start, ring.end) == (10, 16)


def test_an_empty_ring_has_nothing() -> None:
    assert Ring(5, limit_bytes=1).since(5) == []


def test_a_ring_lets_the_oldest_go_and_says_from_where_it_has_everything() -> None:
    ring = Ring(0, limit_bytes=10_000)
    for cursor in range(1, 1001):
        ring.extend(chunks(cursor, size=100), cursor)

    kept = cursors(ring.since(ring.start))
    assert kept == list(range(ring.start + 1, 1001))
    assert sum(frame.size for frame in ring.since(ring.start)) <= 10_000
    assert len(kept) > 10


def test_a_ring_keeps_at_least_the_newest_however_large() -> None:
    ring = Ring(0, limit_bytes=10)
    ring.extend(chunks(1, 2, size=1_000_000), 2)

    assert cursors(ring.since(1)) == [2]
    assert ring.start == 1


def test_a_ring_forgets_what_everybody_has_taken_but_for_a_few() -> None:
    ring = Ring(0, limit_bytes=10_000_000)
    assert not ring.has_spare
    for cursor in range(1, 1001):
        ring.extend(chunks(cursor, size=100), cursor)
    assert ring.has_spare

    ring.forget(600)
    assert ring.start == 600

    ring.forget(1000)
    assert 900 < ring.start < 1000
    assert cursors(ring.since(ring.start)) == list(range(ring.start + 1, 1001))
    assert not ring.has_spare


# -- frames --------------------------------------------------------------------------------------------------------


def test_a_frame_is_encoded_once_for_each_wire() -> None:
    calls: list[str] = []

    def one(chunk: Chunk) -> bytes:
        calls.append("one")
        return b"1"

    def two(chunk: Chunk) -> bytes:
        calls.append("two")
        return b"2"

    frame = Frame(Chunk(1, "x"))

    assert [frame.encoded(one), frame.encoded(two), frame.encoded(one), frame.encoded(two)] == [b"1", b"2", b"1", b"2"]
    assert calls == ["one", "two"]


# -- the follow ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Hub:
    return Hub()


@in_virtual_time
async def test_however_many_attach_the_log_is_followed_once(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("1")])
    follows = [hub.attach(log, "s", 0) for _ in range(50)]
    await settle()

    assert log.calls["follow"] == log.following == 1
    assert len({id(follow) for follow in follows}) == 1
    for follow in follows[1:]:
        hub.detach(follow)
    await settle()
    assert (log.following, len(hub)) == (1, 1)


@in_virtual_time
async def test_the_last_to_leave_ends_the_follow_and_nothing_is_left(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("1")])
    follow = hub.attach(log, "s", 0)
    await settle()
    gone = weakref.ref(follow)
    hub.detach(follow)
    del follow
    await asyncio.sleep(2)
    gc.collect()

    assert (log.following, len(hub)) == (0, 0)
    assert gone() is None
    assert [task for task in running_tasks() if task is not asyncio.current_task()] == []


@in_virtual_time
async def test_a_follow_carries_nothing_of_the_request_that_was_the_first(log: FaultyLog, hub: Hub) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: list[str] = []

    async def look(call: Any) -> Any:
        seen.append(request.get())
        return await call()

    async def guard(stream: str) -> bool:
        seen.append(request.get())
        return False

    request.set("the first")
    log.then("follow", look)
    hub.attach(log, "s", 0, guard=guard)
    await asyncio.sleep(15)

    assert seen == ["none", "none"]


@in_virtual_time
async def test_streams_do_not_share_their_follows(log: FaultyLog, hub: Hub) -> None:
    assert hub.attach(log, "s", 0) is not hub.attach(log, "t", 0)


@in_virtual_time
async def test_entries_are_published_as_they_come_and_listeners_hear_first(log: FaultyLog, hub: Hub) -> None:
    follow = hub.attach(log, "s", 0)
    heard: list[Any] = []
    follow.listeners.append(lambda entries: heard.append((list(entries), follow.ring.end)))
    await log.append("s", [Record("1"), Record("2")])
    follow.poke()
    assert await follow.wait()

    assert heard == [([Chunk(1, "1"), Chunk(2, "2")], 2)]
    assert cursors(follow.ring.since(0)) == [1, 2]


@in_virtual_time
async def test_a_follow_keeps_what_its_readers_have_not_taken(log: FaultyLog, hub: Hub) -> None:
    follow = hub.attach(log, "s", 0)
    slow = Reader(hub, log, "s", 0)
    follow.readers.add(slow)
    for _ in range(5):
        await log.append("s", [Record("x" * 1000)] * 20)
        await settle()
    assert follow.ring.start == 0

    slow.cursor = 60
    await log.append("s", [Record("x" * 1000)])
    await settle()
    assert follow.ring.start == 60

    follow.readers.clear()
    await asyncio.sleep(FIRST_READER_SECONDS)
    await log.append("s", [Record("x")])
    await settle()
    assert 90 < follow.ring.start < 101


@in_virtual_time
async def test_a_new_follow_keeps_everything_for_a_reader_that_is_on_its_way(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("x" * 1000)] * 100)
    follow = hub.attach(log, "s", 0)
    for _ in range(2):
        await follow.wait()
        await log.append("s", [Record("x")])
    assert follow.ring.start == 0

    await asyncio.sleep(FIRST_READER_SECONDS)
    await log.append("s", [Record("x")])
    await settle()
    assert follow.ring.start > 90


@in_virtual_time
async def test_a_stream_that_does_not_exist_yet_is_waited_for(log: FaultyLog, hub: Hub) -> None:
    follow = hub.attach(log, "s", 0)
    await asyncio.sleep(30)
    assert follow.error is None
    await log.append("s", [Record("1")])

    assert await follow.wait()
    assert cursors(follow.ring.since(0)) == [1]


@in_virtual_time
async def test_stream_that_does_not_come_is_asked_for_less_and_less_often_until_readers_are_sent_away(
    log: FaultyLog, hub: Hub
) -> None:
    asked: list[float] = []
    now = asyncio.get_running_loop().time

    async def count(call: Any) -> Any:
        asked.append(now())
        return await call()

    for method in ("read", "tail", "follow"):
        log.always(method, count)
    follow = hub.attach(log, "s", 0)
    began = now()
    hub.attach(log, "s", 0)

    await asyncio.sleep(600)
    assert follow.error is None
    assert len([time for time in asked if time < began + 30]) < 30
    assert len([time for time in asked if time >= began + 540]) <= 2
    await asyncio.sleep(400)

    assert isinstance(follow.error, StreamNotFoundError)
    assert len(asked) < 80


@in_virtual_time
async def test_a_poke_ends_the_wait_for_a_stream(log: FaultyLog, hub: Hub) -> None:
    follow = hub.attach(log, "s", 0)
    await asyncio.sleep(30)
    await log.append("s", [Record("1")])
    clock = asyncio.get_running_loop().time
    poked_at = clock()
    follow.poke()
    await follow.wait()

    assert clock() == poked_at


@in_virtual_time
async def test_a_stream_that_was_deleted_ends_its_follow(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("1")])
    follow = hub.attach(log, "s", 0)
    await settle()
    await log.delete_stream("s")
    await settle()

    assert isinstance(follow.error, StreamNotFoundError)
    assert hub.find(log, "s") is None


@in_virtual_time
async def test_a_follow_that_fails_goes_on_where_it_was(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("1")])
    log.then("follow", unavailable, unavailable)
    follow = hub.attach(log, "s", 0)
    await asyncio.sleep(5)

    assert follow.error is None
    assert log.calls["follow"] == 3
    assert cursors(follow.ring.since(0)) == [1]


@in_virtual_time
async def test_a_log_that_stays_away_is_told_to_the_readers_after_a_minute(log: FaultyLog, hub: Hub) -> None:
    log.always("follow", unavailable)
    follow = hub.attach(log, "s", 0)
    await asyncio.sleep(RETRY_SECONDS - 5)
    assert follow.error is None
    await asyncio.sleep(10)

    assert isinstance(follow.error, BackendUnavailableError)


@in_virtual_time
async def test_a_backend_that_breaks_leaves_nobody_waiting(
    log: FaultyLog, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    log.then("follow", raising(ZeroDivisionError()))
    follow = hub.attach(log, "s", 0)
    await follow.wait()

    assert isinstance(follow.error, BackendUnavailableError)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@in_virtual_time
async def test_after_an_error_the_next_to_attach_gets_a_new_follow(log: FaultyLog, hub: Hub) -> None:
    await log.append("s", [Record("1")])
    log.then("follow", raising(StreamNotFoundError("s")))
    broken = hub.attach(log, "s", 1)
    await broken.wait()
    fresh = hub.attach(log, "s", 0)
    hub.detach(broken)
    await settle()

    assert fresh is not broken
    assert hub.find(log, "s") is fresh
    assert cursors(fresh.ring.since(0)) == [1]


@in_virtual_time
async def test_waiting_readers_are_shown_a_sign_of_life(settings: Any, hub: Hub) -> None:
    log = use_faulty_log(settings, KEEPALIVE_SECONDS=15)
    follow = hub.attach(log, "s", 0)
    clock = asyncio.get_running_loop().time
    began = clock()

    assert await follow.wait() is False
    assert 15 <= clock() - began <= 16


@in_virtual_time
async def test_a_closed_hub_ends_its_readers_and_takes_no_more(log: FaultyLog, hub: Hub) -> None:
    follow = hub.attach(log, "s", 0)
    waiting = asyncio.ensure_future(follow.wait())
    await settle()
    hub.close()
    await waiting

    assert isinstance(follow.error, ShuttingDownError)
    with pytest.raises(ShuttingDownError):
        hub.attach(log, "s", 0)


# -- looking after a silent owner ----------------------------------------------------------------------------------


class Guard:
    """Counts how often it is asked; tells what it is told."""

    def __init__(self, *, is_running: bool = True) -> None:
        self.calls = 0
        self.is_running = is_running

    async def __call__(self, stream: str) -> bool:
        self.calls += 1
        return self.is_running


@in_virtual_time
async def test_an_owner_is_looked_after_once_it_has_been_silent_for_longer_than_it_may(settings: Any, hub: Hub) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10)
    guard = Guard()
    hub.attach(log, "s", 0, guard=guard)
    for _ in range(4):
        await log.append("s", [Record("", (("rs", "beat"),))])
        await asyncio.sleep(12)
    assert guard.calls == 0
    await asyncio.sleep(4)

    assert guard.calls > 0


@in_virtual_time
async def test_a_stream_where_nothing_runs_is_left_alone_until_something_comes(settings: Any, hub: Hub) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10)
    guard = Guard(is_running=False)
    hub.attach(log, "s", 0, guard=guard)
    await asyncio.sleep(60)
    assert guard.calls == 1
    await log.append("s", [Record("1")])
    await asyncio.sleep(60)

    assert guard.calls == 2


@in_virtual_time
async def test_a_generation_that_begins_while_the_last_is_looked_after_is_looked_after_too(
    settings: Any, hub: Hub
) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10)
    calls = 0

    async def slow_guard(stream: str) -> bool:
        nonlocal calls
        calls += 1
        await asyncio.sleep(5)
        return False

    hub.attach(log, "s", 0, guard=slow_guard)
    await asyncio.sleep(15)
    assert calls == 1
    await log.append("s", [Record("1")])
    await asyncio.sleep(20)

    assert calls == 2


@pytest.mark.parametrize("error", [BackendUnavailableError("away"), ZeroDivisionError()], ids=["log", "bug"])
@in_virtual_time
async def test_a_look_that_fails_is_repeated(
    settings: Any, hub: Hub, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10)
    calls = 0

    async def guard(stream: str) -> bool:
        nonlocal calls
        calls += 1
        raise error

    hub.attach(log, "s", 0, guard=guard)
    await asyncio.sleep(15)

    assert calls > 1
    assert "looked after" in caplog.text


@in_virtual_time
async def test_nothing_is_asked_without_a_guard(settings: Any, hub: Hub) -> None:
    log = use_faulty_log(settings, LEASE_SECONDS=10)
    follow = hub.attach(log, "s", 0)
    await asyncio.sleep(60)

    assert isinstance(follow, SharedFollow)
    assert follow.error is None
