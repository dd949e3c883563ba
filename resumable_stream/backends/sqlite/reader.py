"""Reading: what a read, a tail, a listing and a follower's page select, and the threads that do it.

Each reading happens within one transaction, so that what it says of a stream fits the records that it returns.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ...exceptions import RecordsMissingError, RecordsTrimmedError, StreamNotFoundError
from ...records import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    ReadBatch,
    SequencedRecord,
    StreamInfo,
    StreamList,
    StreamTail,
)
from ..followers import RecordPage
from ..state import now_ms, require_readable
from .file import LogConnection, LogFile
from .transaction import decode_headers

T = TypeVar("T")

THREADS = 4

FIND_STREAM = "SELECT id, first, tail, timestamp FROM streams WHERE name = ?"
READ = "SELECT seq_num, timestamp, body, headers FROM records WHERE stream_id = ? AND seq_num >= ? "
READ += "ORDER BY seq_num LIMIT ?"
LIST = "SELECT name, created_at FROM streams WHERE name >= ? AND name > ? ORDER BY name LIMIT ?"


class Readers:
    """A few threads with a connection each; made when needed, may be stopped and used again at any time."""

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        """Begin anew: a forked child has none of its parent's threads."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._idle: deque[LogConnection] = deque()

    async def run(self, query: Callable[[LogConnection], T]) -> T:
        """Run ``query`` in a thread.

        Raises:
            InvalidBackendError, BackendUnavailableError: The file cannot be read.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(THREADS, f"log-reader-{self._file.path.name}")
            future = loop.run_in_executor(self._executor, partial(self._run, query))
        return await future

    def stop(self) -> None:
        """End the readings that run, close the file, end the threads."""
        with self._lock:
            executor, self._executor = self._executor, None
        self._shut_down(executor)

    def abandon(self) -> None:
        """Have the threads end without waiting for them; for finalizers, which may run anywhere."""
        self._executor = None  # Its threads notice that it is gone.
        self._close_idle()

    def pause(self) -> None:
        """Stop, and let nobody begin until :meth:`resume`."""
        self._lock.acquire()
        executor, self._executor = self._executor, None
        self._shut_down(executor)

    def resume(self) -> None:
        """Allow what :meth:`pause` forbade."""
        self._lock.release()

    def _shut_down(self, executor: ThreadPoolExecutor | None) -> None:
        if executor is not None:
            executor.shutdown()
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _run(self, query: Callable[[LogConnection], T]) -> T:
        connection = None
        try:
            connection = self._take()
            with _snapshot(connection):
                return query(connection)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            raise self._file.explain(error) from error
        finally:
            if connection is not None:
                self._give_back(connection)

    def _give_back(self, connection: LogConnection) -> None:
        if self._executor is None:  # Stopped meanwhile.
            connection.close()
        else:
            self._idle.append(connection)

    def _take(self) -> LogConnection:
        try:
            while True:
                connection = self._idle.pop()
                if connection.is_current(self._file.path):
                    return connection
                connection.close()
        except IndexError:
            return self._file.connect()


@contextmanager
def _snapshot(connection: LogConnection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()


def read(stream: str, start: int, limit: int, connection: LogConnection) -> ReadBatch:
    """Select what ``BaseBackend.read`` returns."""
    stream_id, first, tail, _ = _find(connection, stream)
    require_readable(start, first=first, tail=tail)
    return ReadBatch(records=_select(connection, stream_id, start, limit, tail), tail=tail)


def read_page(stream: str, start: int, expected_id: int | None, connection: LogConnection) -> RecordPage:
    """Select the next records for a follower.

    One that goes on (it names the stream's id) still gets records that were discarded a moment ago.
    """
    stream_id, first, tail, _ = _find(connection, stream)
    if expected_id not in (None, stream_id):
        raise StreamNotFoundError(stream)
    require_readable(start, first=first if expected_id is None else 0, tail=tail)
    try:
        records = _select(connection, stream_id, start, MAX_BATCH_RECORDS, tail)
    except RecordsMissingError:
        if start < first:
            raise RecordsTrimmedError(first) from None
        raise
    return RecordPage(stream_id, records, tail)


def tail(stream: str, last: int, connection: LogConnection) -> StreamTail:
    """Select what ``BaseBackend.tail`` returns."""
    stream_id, first, end, timestamp = _find(connection, stream)
    start = max(first, end - last)
    rows = connection.execute(READ, (stream_id, start, end - start)) if start < end else ()
    return StreamTail(
        seq_num=end, timestamp=timestamp, server_time=max(now_ms(), timestamp), records=tuple(map(_record, rows))
    )


def list_streams(prefix: str, start_after: str, limit: int, connection: LogConnection) -> StreamList:
    """Select what ``BaseBackend.list_streams`` returns; SQLite compares texts by their UTF-8 bytes."""
    rows = connection.execute(LIST, (prefix, start_after, limit + 1)).fetchall()
    found = [StreamInfo(name=name, created_at=created_at) for name, created_at in rows if name.startswith(prefix)]
    return StreamList(streams=tuple(found[:limit]), has_more=len(found) > limit)


def _find(connection: LogConnection, stream: str) -> tuple[int, int, int, int]:
    row: tuple[int, int, int, int] | None = connection.execute(FIND_STREAM, (stream,)).fetchone()
    if row is None:
        raise StreamNotFoundError(stream)
    return row


def _select(
    connection: LogConnection, stream_id: int, start: int, limit: int, tail: int
) -> tuple[SequencedRecord, ...]:
    """Return what fits into one read, without a gap.

    Raises:
        RecordsMissingError: The record at ``start`` is missing. Retention takes rows only from the beginning; people
            delete others by hand, and that must not go unnoticed.
    """
    rows = connection.execute(READ, (stream_id, start, limit))
    records = tuple(_fitting(map(_record, rows)))
    if not records and start < tail:
        raise RecordsMissingError(start, tail)
    if records and records[0].seq_num > start:
        raise RecordsMissingError(start, records[0].seq_num)
    if records and records[-1].seq_num - start != len(records) - 1:
        # What stands before the hole is read first.
        return tuple(record for at, record in enumerate(records) if record.seq_num == start + at)
    return records


def _fitting(records: Iterable[SequencedRecord]) -> Iterator[SequencedRecord]:
    left = MAX_BATCH_BYTES
    for record in records:
        size = record.metered_bytes
        if size > left and left < MAX_BATCH_BYTES:
            return
        left -= size
        yield record


def _record(row: tuple[int, int, str, str | None]) -> SequencedRecord:
    seq_num, timestamp, body, headers = row
    return SequencedRecord(seq_num, timestamp, body, decode_headers(headers) if headers else ())
