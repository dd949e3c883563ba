"""The logs of servers in tests, and what stands there: read by a process that is not the server.

It is judged by the layout's own public rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.conf import SQLITE_BACKEND
from resumable_stream.records import SequencedRecord
from resumable_stream.testing import read_all

from ..s2_lite import S2Lite
from ..support.patience import PATIENCE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log, as a server process is told of it; several servers may share one."""

    open: Callable[[], BaseBackend]
    """Make a backend for this process."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``RESUMABLE_STREAM``."""
    environment: Mapping[str, str] = field(default_factory=dict)

    async def records_of(self, chat: str, prefix: str = "chat/") -> list[SequencedRecord]:
        """Read every record of the one stream whose name ends with the chat's id."""
        async with self._stream_of(chat, prefix) as (backend, stream):
            return await read_all(backend, stream)

    async def wait_for_silence(self, chat: str, *, seconds: float) -> None:
        """Wait until nothing has come to a chat for so long, on the log's own clock and beyond doubt."""
        async with self._stream_of(chat, "chat/") as (backend, stream), asyncio.timeout(PATIENCE_SECONDS):
            least_ms = seconds * 1000 + backend.server_time_resolution
            tail = await backend.tail(stream)
            while tail.server_time - tail.timestamp <= least_ms:
                await asyncio.sleep(0.1)
                tail = await backend.tail(stream)

    @asynccontextmanager
    async def _stream_of(self, chat: str, prefix: str) -> AsyncIterator[tuple[BaseBackend, str]]:
        backend = self.open()
        try:
            [stream] = [name async for name in _names(backend, prefix) if name.endswith(chat)]
            yield backend, stream
        finally:
            await backend.close()


async def _names(backend: BaseBackend, prefix: str) -> AsyncIterator[str]:
    last, has_more = "", True
    while has_more:
        page = await backend.list_streams(prefix, start_after=last)
        for info in page.streams:
            yield info.name
            last = info.name
        has_more = page.has_more


def sqlite_log(directory: Path) -> Log:
    """Return the embedded log in a file of ``directory``."""
    options = {"path": str(directory / "streams.sqlite3")}
    return Log(
        # For an inspection only: the servers have what users have.
        open=lambda: SQLiteBackend("inspection", {**options, "timeout_seconds": PATIENCE_SECONDS}),
        settings={"BACKENDS": {"default": {"BACKEND": SQLITE_BACKEND, "OPTIONS": options}}},
    )


def s2_log(server: S2Lite) -> Log:
    """Return the log on an s2-lite server, which S2's own variables choose, as they do for users."""
    return Log(open=lambda: S2Backend("inspection", server.options()), environment=server.environment)


def fences_of(records: list[SequencedRecord]) -> list[str]:
    """List the kinds of the fences in their order: ``claim``, or a terminal's end reason."""
    return [_kind(record.body) for record in records if record.is_fence]


def _kind(token: str) -> str:
    if not token.startswith(("end-", "error-")):
        return "claim"
    return token.split("-")[1]


def strays_of(records: list[SequencedRecord]) -> list[SequencedRecord]:
    """List the records that stand after a terminal and before the next claim, where nothing belongs."""
    strays, is_owned = [], False
    for record in records:
        if record.is_fence:
            is_owned = _kind(record.body) == "claim"
        elif not is_owned:
            strays.append(record)
    return strays
