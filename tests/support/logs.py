"""A log in memory whose every call can be made to fail, to wait, or to lose its reply."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from pytest_django import Settings

from resumable_stream.backends import backends
from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.exceptions import AppendOutcomeUnknownError, BackendUnavailableError
from resumable_stream.protocol.layout import Chunk, Decoder, Ended, Entry
from resumable_stream.records import AppendAck, FollowBatch, ReadBatch, Record, SequencedRecord, StreamTail

SECRET = "s3cr3t-t0ken-of-the-log"
"""Stands in what the log's errors say, and must not reach anybody."""

Call = Callable[[], Awaitable[Any]]
Fault = Callable[[Call], Awaitable[Any]]


async def unavailable(_: Call) -> Any:
    """The log refuses for now."""
    raise BackendUnavailableError(f"connection refused, {SECRET}")


async def lost_before(_: Call) -> Any:
    """The request was lost, and nobody knows."""
    raise AppendOutcomeUnknownError(f"reset, {SECRET}")


async def lost_after(call: Call) -> Any:
    """The reply was lost."""
    await call()
    raise AppendOutcomeUnknownError(f"reset, {SECRET}")


async def never_answered(_: Call) -> Any:
    """Nothing comes back."""
    await asyncio.Event().wait()


def held(gate: asyncio.Event, arrived: asyncio.Event | None = None) -> Fault:
    """The call waits for ``gate``, and tells that it has arrived there."""

    async def fault(call: Call) -> Any:
        if arrived is not None:
            arrived.set()
        await gate.wait()
        return await call()

    return fault


def raising(error: Exception) -> Fault:
    """The call raises ``error``, and has no effect."""

    async def fault(_: Call) -> Any:
        raise error

    return fault


class FaultyLog(MemoryBackend):
    """See the module. Faults are named for the next calls of a method, or for all of them."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self.calls: Counter[str] = Counter()
        self.appended: list[Sequence[Record]] = []
        """What was asked to be appended, call by call."""
        self.following = 0
        """How many follows are open."""
        self._next: dict[str, deque[Fault]] = {"append": deque(), "read": deque(), "tail": deque(), "follow": deque()}
        self._always: dict[str, Fault] = {}

    def then(self, method: str, *faults: Fault) -> None:
        """Let the next calls of ``method`` meet ``faults``, one each."""
        self._next[method] += faults

    def always(self, method: str, fault: Fault | None) -> None:
        """Let every call of ``method`` meet ``fault``, or none any more."""
        if fault is None:
            self._always.pop(method, None)
        else:
            self._always[method] = fault

    async def append(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        fencing_token: str | None = None,
        match_seq_num: int | None = None,
    ) -> AppendAck:
        self.appended.append(records)
        found: AppendAck = await self._meet(
            "append",
            lambda: super(FaultyLog, self).append(
                stream, records, fencing_token=fencing_token, match_seq_num=match_seq_num
            ),
        )
        return found

    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        found: ReadBatch = await self._meet("read", lambda: super(FaultyLog, self).read(stream, start, limit))
        return found

    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        found: StreamTail = await self._meet("tail", lambda: super(FaultyLog, self).tail(stream, last=last))
        return found

    async def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        async def nothing() -> None:
            return None

        await self._meet("follow", nothing)
        self.following += 1
        try:
            async for batch in super().follow(stream, start):
                yield batch
        finally:
            self.following -= 1

    async def _meet(self, method: str, call: Call) -> Any:
        self.calls[method] += 1
        if self._next[method]:
            return await self._next[method].popleft()(call)
        if method in self._always:
            return await self._always[method](call)
        return await call()

    # -- what tests look at ---------------------------------------------------------------------------------------

    def records(self, stream: str) -> list[SequencedRecord]:
        """Return all records of a stream, without asking."""
        found = self._streams.get(stream)
        return list(found.records) if found is not None else []

    def entries(self, stream: str) -> list[Entry]:
        """Return what a stream's records mean."""
        records = self.records(stream)
        return Decoder(records[0].seq_num).feed(records) if records else []

    def chunks(self, stream: str) -> list[str]:
        """Return all chunks of a stream."""
        return [entry.body for entry in self.entries(stream) if isinstance(entry, Chunk)]

    def ends(self, stream: str) -> list[str]:
        """Return how the generations of a stream ended."""
        return [entry.facts.reason.value for entry in self.entries(stream) if isinstance(entry, Ended)]

    def token(self, stream: str) -> str:
        """Return the stream's fencing token."""
        return self._streams[stream].fencing_token


def use_faulty_log(settings: Settings, **values: Any) -> FaultyLog:
    """Make a faulty log the project's log, with ``values`` in the app's settings; return it."""
    path = f"{FaultyLog.__module__}.{FaultyLog.__qualname__}"
    settings.RESUMABLE_STREAM = {
        "HANDLE_SIGNALS": False,
        "BACKENDS": {"default": {"BACKEND": path, "OPTIONS": {}}},
        **values,
    }
    found = backends["default"]
    assert isinstance(found, FaultyLog)
    return found
