"""Chats that several ask for at once, read and folded once for all of them; and few large ones at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakValueDictionary

from ..utils.threads import context_of_request

T = TypeVar("T")

LARGE_BYTES = 256 * 1024
"""A chat from this size on needs one of few places: its records, messages and encoded text are in memory at once."""
LARGE_READS = 2
"""How many large chats a process reads, folds and encodes at a time: as many as there are threads for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What was made of a stream."""

    value: T
    """Shared by all who asked: not to be changed."""
    tail: int
    """Everything below this position was looked at."""


class _Work(Generic[T]):
    """What is being made for those who wait for it."""

    def __init__(self, made: Coroutine[Any, Any, Outcome[T]]) -> None:
        self.waiting = 0
        self.is_given_up = False
        self.task = asyncio.get_running_loop().create_task(made, name="shared work", context=context_of_request())

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Count as one who waits; the last one who leaves early ends the work."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if not self.waiting and not self.task.done():
                self.is_given_up = True
                self.task.cancel()

    async def outcome(self) -> Outcome[T]:
        # One who is cancelled leaves the others what they wait for.
        return await asyncio.shield(self.task)


class SharedWork:
    """Lets those who ask for the same thing at the same time wait for one answer, of which nothing is kept."""

    def __init__(self) -> None:
        self._open: dict[Hashable, _Work[Any]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def share(
        self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Outcome[T]]], tail: Callable[[], Awaitable[int]]
    ) -> T:
        """Return the value of what ``make`` makes, or of what it is making for others under the same ``key``.

        It is never older than the question. Who finds it begun asks for the stream's ``tail``; if the work has not come
        that far, the next one has begun after the question. What it raises reaches all who wait for it.
        """
        found = self._find(key)
        if found is not None:
            with found.joined():
                needed = await tail()
                outcome: Outcome[T] = await found.outcome()
            if outcome.tail >= needed:
                return outcome.value
        work = self._find(key) or self._begin(key, make)
        with work.joined():
            outcome = await work.outcome()
        return outcome.value

    def _find(self, key: Hashable) -> _Work[Any] | None:
        found = self._open.get(key)
        return found if found is not None and not found.is_given_up else None

    def _begin(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Outcome[T]]]) -> _Work[T]:
        work = self._open[key] = _Work(make())

        def forget(_: object) -> None:
            if self._open.get(key) is work:
                del self._open[key]

        work.task.add_done_callback(forget)
        return work


class LargeRead:
    """Waits for a place once a chat turns out to be large; holds it to the end of the block."""

    def __init__(self, turn: asyncio.Lock, places: asyncio.Semaphore) -> None:
        self.size = 0
        """Bytes that have been read."""
        self._turn = turn
        self._places = places
        self._held = AsyncExitStack()
        self._is_large = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.let_go()

    async def add(self, size: int) -> None:
        """Count bytes that have been read."""
        self.size += size
        if self.size > LARGE_BYTES and not self._is_large:
            self._is_large = True
            await self._held.enter_async_context(self._turn)
            await self._held.enter_async_context(self._places)

    async def let_go(self) -> None:
        """Give the place back: nothing is held any more of what has been read."""
        self.size, self._is_large = 0, False
        await self._held.aclose()


class Loads:
    """What one event loop knows of clients that load chats."""

    def __init__(self) -> None:
        self.shared = SharedWork()
        self._places = asyncio.Semaphore(LARGE_READS)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By stream: whoever asks for many parts of one large chat keeps nobody else from theirs."""

    def large(self, stream: str) -> LargeRead:
        """Return what counts the bytes of a chat, from reading it to what is made of it."""
        turn = self._turns.setdefault(stream, asyncio.Lock())
        return LargeRead(turn, self._places)
