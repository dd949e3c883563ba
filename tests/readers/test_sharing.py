"""Work that is shared by those who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resumable_stream.exceptions import BackendUnavailableError
from resumable_stream.readers import sharing
from resumable_stream.readers.sharing import Loads, Outcome, SharedWork

from ..support.virtual_time import in_virtual_time, settle


class Stream:
    """A stream whose reading takes as long as the test wants."""

    def __init__(self) -> None:
        self.tail = 1
        self.made = 0
        self.cancelled = 0
        self.questions = 0
        """How often its tail was asked for."""
        self.gate = asyncio.Event()
        self.work = SharedWork()

    async def make(self) -> Outcome[Any]:
        self.made += 1
        found = Outcome(value=[self.tail], tail=self.tail)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return found

    async def ask(self) -> int:
        self.questions += 1
        return self.tail

    def share(self, make: Callable[[], Any] | None = None, key: str = "s") -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.work.share(key, make or self.make, self.ask))


@in_virtual_time
async def test_those_who_ask_at_the_same_time_get_the_same_object() -> None:
    stream = Stream()
    waiters = [stream.share() for _ in range(6)]
    other = stream.share(key="other")
    await settle()
    stream.gate.set()
    first, *others = await asyncio.gather(*waiters)

    assert all(value is first for value in others)
    assert (await other) is not first
    assert (stream.made, len(stream.work)) == (2, 0)


@in_virtual_time
async def test_a_single_question_costs_no_look_at_the_tail() -> None:
    stream = Stream()
    stream.gate.set()

    assert await stream.share() == [1]
    assert await stream.share() == [1]
    assert (stream.made, stream.questions) == (2, 0)


@in_virtual_time
async def test_who_asks_after_the_stream_has_grown_gets_what_it_has_now() -> None:
    stream = Stream()
    early = stream.share()
    await settle()
    stream.tail = 2
    late = [stream.share() for _ in range(5)]
    await settle()
    stream.gate.set()

    assert await early == [1]
    first, *others = await asyncio.gather(*late)
    assert first == [2]
    assert all(value is first for value in others)
    assert stream.made == 2


@in_virtual_time
async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    stream = Stream()
    first, second, third = stream.share(), stream.share(), stream.share()
    await settle()
    first.cancel()
    await settle()
    second.cancel()
    await settle()
    stream.gate.set()

    assert await third == [1]
    assert (stream.made, stream.cancelled) == (1, 0)


@in_virtual_time
async def test_the_last_one_who_leaves_ends_the_work() -> None:
    stream = Stream()
    waiters = [stream.share(), stream.share()]
    await settle()
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    again = stream.share()
    await settle()
    assert stream.cancelled == 1
    stream.gate.set()

    assert await again == [1]
    assert (stream.made, len(stream.work)) == (2, 0)


@in_virtual_time
async def test_a_failure_reaches_all_who_wait_and_nobody_after_them() -> None:
    stream = Stream()

    async def fail() -> Outcome[Any]:
        await stream.gate.wait()
        raise BackendUnavailableError("gone")

    waiters = [stream.share(fail) for _ in range(3)]
    await settle()
    stream.gate.set()
    found = await asyncio.gather(*waiters, return_exceptions=True)

    assert [type(error) for error in found] == [BackendUnavailableError] * 3
    assert await stream.share() == [1]


@in_virtual_time
async def test_few_large_chats_are_read_at_a_time_and_small_ones_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LARGE_BYTES", 100)
    places, gate, open_now = Loads(), asyncio.Event(), set()

    async def read(name: int, *sizes: int) -> None:
        async with places.large(f"chat {name}") as reading:
            for size in sizes:
                await reading.add(size)
            open_now.add(name)
            await gate.wait()

    def begin(name: int, *sizes: int) -> Awaitable[None]:
        return asyncio.ensure_future(read(name, *sizes))

    large = [begin(number, 60, 60, 60) for number in range(sharing.LARGE_READS + 1)]
    small = begin(10, 60)
    await settle()
    waiting = large[-1]
    assert open_now == {*range(sharing.LARGE_READS), 10}
    gate.set()
    await asyncio.gather(waiting, *large, small)
    assert open_now == {*range(sharing.LARGE_READS + 1), 10}


@in_virtual_time
async def test_a_place_is_given_back_before_the_end_where_nothing_is_held_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "LARGE_BYTES", 100)
    places = Loads()
    async with asyncio.timeout(1):
        for _ in range(sharing.LARGE_READS + 1):
            reading = places.large("chat")
            await reading.add(200)
            await reading.let_go()


@in_virtual_time
async def test_one_large_chat_takes_one_place_however_many_ask_for_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LARGE_BYTES", 100)
    places, gate, done = Loads(), asyncio.Event(), []

    async def read(stream: str) -> None:
        async with places.large(stream) as reading:
            await reading.add(200)
            done.append(stream)
            await gate.wait()

    readers = [asyncio.ensure_future(read("mine")) for _ in range(5)]
    await settle()
    readers.append(asyncio.ensure_future(read("theirs")))
    await settle()
    assert done == ["mine", "theirs"]
    readers[1].cancel()
    gate.set()
    await asyncio.gather(*readers, return_exceptions=True)
    assert done == ["mine", "theirs", "mine", "mine", "mine"]
