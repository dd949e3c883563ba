"""A log that counts what is read from it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.records import FollowBatch, ReadBatch, SequencedRecord, StreamTail


class CountingBackend(SQLiteBackend):
    """Counts the records that reads, tails and follows have returned."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self.records_read = 0

    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        batch = await super().read(stream, start, limit)
        self._count(batch.records)
        return batch

    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        tail = await super().tail(stream, last=last)
        self._count(tail.records)
        return tail

    async def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        async for batch in super().follow(stream, start):
            self._count(batch.records)
            yield batch

    def _count(self, records: Sequence[SequencedRecord]) -> None:
        self.records_read += len(records)
