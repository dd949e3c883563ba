"""One write transaction: the conditions and effects of a group of appends, worked out in memory, stored at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ...records import Headers, Record
from ..state import StreamState, now_ms
from .file import LogConnection

EVERYTHING = 2**63 - 1
CACHED_STREAMS = 10_000

FIND_STREAM = "SELECT id, tail, first, timestamp, fencing_token FROM streams WHERE name = ?"
CREATE_STREAM = "INSERT INTO streams (name, created_at, tail, first, timestamp, fencing_token, changed) "
CREATE_STREAM += "VALUES (?, ?, 0, 0, 0, '', 0)"
UPDATE_STREAM = "UPDATE streams SET tail = ?, first = ?, timestamp = ?, fencing_token = ?, changed = ? WHERE id = ?"
DELETE_STREAM = "DELETE FROM streams WHERE id = ?"
INSERT_RECORD = "INSERT INTO records (stream_id, seq_num, timestamp, body, headers) VALUES (?, ?, ?, ?, ?)"
DISCARD = "INSERT INTO garbage (stream_id, before, since) VALUES (?, ?, ?)"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True, kw_only=True)
class StoredStream(StreamState):
    """A stream's state with its row."""

    id: int


class StreamCache:
    """The rows of recently written streams, valid as long as nobody else writes to the file."""

    def __init__(self) -> None:
        self.streams: dict[str, StoredStream] = {}
        self.commits = 0
        self._data_version: int | None = None

    def validate(self, connection: LogConnection) -> None:
        """Forget everything if another connection has committed since the last time."""
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or len(self.streams) > CACHED_STREAMS:
            self.streams.clear()
            (self.commits,) = connection.execute("SELECT commits FROM log").fetchone()
            self._data_version = data_version

    def clear(self) -> None:
        """Forget everything: the last transaction failed, or another connection is used."""
        self.streams.clear()
        self._data_version = None


class Transaction:
    """Effects that wait for :meth:`store`. Used inside ``BEGIN IMMEDIATE``."""

    def __init__(self, connection: LogConnection, cache: StreamCache) -> None:
        cache.validate(connection)
        self._connection = connection
        self._cache = cache
        self._streams = cache.streams
        self._rows: list[tuple[int, int, int, str, str | None]] = []
        self._changed: dict[int, StoredStream] = {}
        self._discarded: dict[int, int] = {}
        self._deleted = False
        self.number = cache.commits + 1
        """The number of this commit, if it changes anything."""
        self.now = now_ms()

    def find(self, name: str) -> StoredStream | None:
        """Return the stream as the transaction has left it so far."""
        found = self._streams.get(name)
        if found is None:
            row = self._connection.execute(FIND_STREAM, (name,)).fetchone()
            if row is None:
                return None
            stream_id, tail, first, timestamp, token = row
            found = StoredStream(id=stream_id, tail=tail, first=first, timestamp=timestamp, fencing_token=token)
            self._streams[name] = found
        return found

    def create(self, name: str) -> StoredStream:
        """Make a stream that does not exist."""
        stream_id = self._connection.execute(CREATE_STREAM, (name, self.now)).lastrowid
        assert stream_id is not None
        created = self._streams[name] = StoredStream(id=stream_id)
        return created

    def append(self, stream: StoredStream, records: Sequence[Record]) -> int:
        """Append records whose conditions hold; return the ``seq_num`` of the first."""
        first = stream.first
        start = stream.extend(records, self.now)
        self._changed[stream.id] = stream
        if stream.first > first:
            self._discarded[stream.id] = stream.first
        timestamp = stream.timestamp
        self._rows += (
            (stream.id, seq_num, timestamp, body, encode_headers(headers) if headers else None)
            for seq_num, (body, headers) in enumerate(records, start)
        )
        return start

    def delete(self, name: str, stream: StoredStream) -> None:
        """Drop a stream with everything in it."""
        del self._streams[name]
        self._connection.execute(DELETE_STREAM, (stream.id,))
        self._discarded[stream.id] = EVERYTHING
        self._deleted = True

    @property
    def makes_garbage(self) -> bool:
        """Whether records were trimmed or deleted, and so wait for being swept up."""
        return bool(self._discarded)

    def store(self) -> bool:
        """Write all effects into the open transaction; return whether there are any."""
        if not self._changed and not self._deleted:
            return False
        execute_many = self._connection.executemany
        execute_many(INSERT_RECORD, self._rows)
        execute_many(
            UPDATE_STREAM,
            [(s.tail, s.first, s.timestamp, s.fencing_token, self.number, s.id) for s in self._changed.values()],
        )
        if self._discarded:
            execute_many(DISCARD, [(stream_id, before, self.now) for stream_id, before in self._discarded.items()])
        if self._deleted:
            self._connection.execute("UPDATE log SET last_deletion = ?", (self.number,))
        self._connection.execute("UPDATE log SET commits = ?", (self.number,))
        return True

    def committed(self) -> None:
        """Take note that the transaction is durable."""
        self._cache.commits = self.number


def encode_headers(headers: Headers) -> str:
    """Encode headers as they stand in the file."""
    return _encode(headers)


def decode_headers(text: str | None) -> Headers:
    """Decode headers as they stand in the file."""
    return tuple((name, value) for name, value in json.loads(text)) if text else ()
