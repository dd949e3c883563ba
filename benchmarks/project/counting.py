"""Logs that count what is read from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx

from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.s2.http_transport import OriginTransport, Reply
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.records import FollowBatch, ReadBatch, SequencedRecord, StreamTail


class Counting(BaseBackend):
    """Counts the records that reads, tails and follows of the class beside it have returned."""

    records_read = 0
    requests = 0
    """Sent to the log, where it is behind a network."""

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


class CountingSQLiteBackend(Counting, SQLiteBackend):
    """The embedded log."""


class CountingS2Backend(Counting, S2Backend):
    """S2."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, {**options, "transport": lambda: CountingTransport(self)})


class CountingTransport(OriginTransport):
    """Counts the requests."""

    def __init__(self, backend: CountingS2Backend) -> None:
        config = backend.config
        super().__init__(
            config.basin_endpoint,
            tls=httpx.create_ssl_context(),
            connect_timeout=config.connect_timeout,
            max_connections=config.max_connections,
        )
        self._backend = backend

    async def exchange(self, request: bytes) -> Reply:
        self._backend.requests += 1
        return await super().exchange(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._backend.requests += 1
        return await super().handle_async_request(request)
