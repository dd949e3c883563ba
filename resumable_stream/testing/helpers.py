"""What the contract's tests share: reading everything, following under a time limit, waiting for what may come late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Generic, Self, TypeVar, cast
from uuid import uuid4

import pytest

from ..backends.base import BaseBackend
from ..exceptions import BackendUnavailableError, RecordsTrimmedError, ResumableStreamError
from ..records import AppendAck, FollowBatch, Record, SequencedRecord

T = TypeVar("T")
E = TypeVar("E", bound=ResumableStreamError)

WAIT_SECONDS = 20.0
"""How long to wait for what has to come at some time."""
PAUSE_SECONDS = 0.02

EVERYTHING = 2**63 - 1
"""A trim position beyond all records."""


class Contract:
    """Base of the contract's parts."""

    @pytest.fixture
    def backend(self) -> BaseBackend:
        """Give the backend under test."""
        raise NotImplementedError("A subclass of BackendContract needs a fixture 'backend' that gives the backend.")

    @pytest.fixture
    def stream(self) -> str:
        """Give the name of a stream that nobody has used."""
        return f"contract/{uuid4().hex}"


def texts(*bodies: str) -> list[Record]:
    """Make plain records."""
    return [Record(body) for body in bodies]


def bodies(records: tuple[SequencedRecord, ...] | list[SequencedRecord]) -> list[str]:
    """Return the bodies of the records that are no commands."""
    return [record.body for record in records if not record.is_command]


async def read_all(backend: BaseBackend, stream: str, start: int = 0) -> list[SequencedRecord]:
    """Read from ``start`` to the tail."""
    records: list[SequencedRecord] = []
    while True:
        batch = await backend.read(stream, start + len(records))
        if not batch.records:
            return records
        records += batch.records


async def append_slowly(backend: BaseBackend, stream: str, records: list[Record], **conditions: Any) -> AppendAck:
    """Append as soon as the log takes it again, after a deletion that may take its time."""

    async def attempt() -> AppendAck | None:
        try:
            return await backend.append(stream, records, **conditions)
        except BackendUnavailableError:
            return None

    return await eventually(attempt)


async def trimmed_to(backend: BaseBackend, stream: str, below: int) -> int:
    """Wait until the record before ``below`` is out of sight; return the first kept position."""

    async def look() -> int | None:
        error = await error_of(backend.read(stream, below - 1, 1), RecordsTrimmedError)
        return error.first_seq_num if error else None

    return await eventually(look)


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """Call ``look`` until it returns something other than ``None``.

    Raises:
        TimeoutError: It did not within ``WAIT_SECONDS``.
    """
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := await look()) is None:  # noqa: ASYNC110 - the log tells nobody when it comes
            await asyncio.sleep(PAUSE_SECONDS)
    return found


async def error_of(action: Awaitable[object], kind: type[E]) -> E | None:
    """Await ``action``; return its error if it is of this kind, ``None`` if there is none."""
    try:
        await action
    except kind as error:
        return error
    return None


class Probe:
    """A follow under test: checks that nothing is missing, twice or out of order, and that it does not hang."""

    def __init__(self, backend: BaseBackend, stream: str, start: int = 0) -> None:
        self._iterator = backend.follow(stream, start)
        self.position = start
        self.records: list[SequencedRecord] = []
        """Everything so far."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the follow."""
        await self._iterator.aclose()

    async def next(self) -> FollowBatch:
        """Return the next batch."""
        async with asyncio.timeout(WAIT_SECONDS):
            batch = await anext(self._iterator)
        expected = range(self.position, self.position + len(batch.records))
        assert [record.seq_num for record in batch.records] == list(expected), "a follow must not skip or repeat"
        assert batch.records or batch.caught_up, "an empty batch says nothing"
        self.position = expected.stop
        self.records += batch.records
        return batch

    async def until(self, position: int) -> list[SequencedRecord]:
        """Follow up to ``position``; return everything so far."""
        while self.position < position:
            await self.next()
        return self.records

    async def until_caught_up(self) -> list[SequencedRecord]:
        """Follow until the log says that this was all; return everything so far."""
        while not (await self.next()).caught_up:
            pass
        return self.records


class CancelledAt(Generic[T]):
    """Awaits ``coroutine``, and cancels the task at the coroutine's suspension number ``suspension`` (from 0)."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], suspension: int) -> None:
        self._coroutine = coroutine
        self._suspension = suspension

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[], Any] = partial(self._coroutine.send, None)
        passed = 0
        while True:
            try:
                awaited = step()
            except StopIteration as stop:
                return cast(T, stop.value)
            if passed == self._suspension:
                _cancel_soon()
            passed += 1
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - what it awaits is for the coroutine to handle
                step = partial(self._coroutine.throw, error)
            else:
                step = partial(self._coroutine.send, None)


def _cancel_soon() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


async def cancel_at_each_suspension(make: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """Run what ``make`` returns again and again, each time cancelled one suspension later.

    Ends, and returns the number of runs, once a run comes to its end before it is cancelled.
    """
    runs = 0
    while True:
        task = asyncio.create_task(_awaited(CancelledAt(make(), runs)))
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait([task])
        runs += 1
        if not task.cancelled():
            task.result()
            return runs


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
