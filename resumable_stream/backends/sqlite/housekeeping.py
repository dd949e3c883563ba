"""Giving space back, in slices small enough that no append has to wait long.

Trimmed and deleted records are out of every read's sight at once, but their rows stay for a moment: a follower in
another process that is a few milliseconds behind still gets them, as it would from S2.
"""

from __future__ import annotations

import time
from bisect import bisect_left

from ..state import now_ms
from .file import LogConnection
from .transaction import DISCARD

GRACE_MS = 2000
"""How long discarded rows stay readable for followers."""
SWEPT_RECORDS = 1000
EXAMINED_STREAMS = 200
"""Bounds of one slice."""

PAUSE_SECONDS = 60.0

NEXT_GARBAGE = "SELECT stream_id, max(before) FROM garbage WHERE since <= ? GROUP BY stream_id LIMIT 1"
LAST_SWEPT = "SELECT seq_num FROM records WHERE stream_id = ? AND seq_num < ? ORDER BY seq_num LIMIT 1 OFFSET ?"
SWEEP = "DELETE FROM records WHERE stream_id = ? AND seq_num < ?"
EXPIRABLE = "SELECT id, first, tail FROM streams WHERE id > ? AND first < tail ORDER BY id LIMIT ?"
COUNT = "UPDATE log SET commits = commits + 1"
"""Every commit writes this row: see :mod:`.lineage`."""
TIMESTAMP = "SELECT timestamp FROM records WHERE stream_id = ? AND seq_num >= ? ORDER BY seq_num LIMIT 1"


NEVER = float("inf")


class Housekeeper:
    """Decides what is to be done when. Times are those of ``time.monotonic``."""

    def __init__(self, retention_seconds: float | None) -> None:
        self._retention_seconds = retention_seconds
        self._sweep_at = 0.0  # What an ended process has left is looked for at once.
        self._expire_at = NEVER if retention_seconds is None else 0.0
        self._examined_id = 0

    def due_in(self) -> float | None:
        """Return the seconds until there is something to do; ``None`` for never."""
        due = min(self._sweep_at, self._expire_at)
        return None if due == NEVER else max(0.0, due - time.monotonic())

    def garbage_made(self) -> None:
        """Take note that records were discarded."""
        self._sweep_at = min(self._sweep_at, time.monotonic() + GRACE_MS / 1000)

    def postpone(self) -> None:
        """Leave the file alone for a while: it has just failed."""
        later = time.monotonic() + PAUSE_SECONDS
        self._sweep_at = max(self._sweep_at, later)
        self._expire_at = max(self._expire_at, later)

    def step(self, connection: LogConnection) -> None:
        """Do one slice of what is due. Used inside ``BEGIN IMMEDIATE``."""
        now = time.monotonic()
        connection.execute(COUNT)
        if self._retention_seconds is not None and self._expire_at <= now:
            self._expire(connection, self._retention_seconds, now)
        elif self._sweep_at <= now:
            sweep(connection)
            (since,) = connection.execute("SELECT min(since) FROM garbage").fetchone()
            self._sweep_at = NEVER if since is None else now + (since + GRACE_MS - now_ms()) / 1000

    def _expire(self, connection: LogConnection, retention_seconds: float, now: float) -> None:
        examined_id = expire(connection, now_ms() - int(retention_seconds * 1000), self._examined_id)
        self._examined_id = examined_id or 0
        if examined_id is None:
            self._expire_at = now + min(max(retention_seconds / 20, 1), 600)
        self.garbage_made()


def sweep(connection: LogConnection) -> None:
    """Delete some discarded records. Used inside ``BEGIN IMMEDIATE``."""
    garbage = connection.execute(NEXT_GARBAGE, (now_ms() - GRACE_MS,)).fetchone()
    if garbage is None:
        return
    stream_id, before = garbage
    beyond_slice = connection.execute(LAST_SWEPT, (stream_id, before, SWEPT_RECORDS)).fetchone()
    connection.execute(SWEEP, (stream_id, beyond_slice[0] if beyond_slice else before))
    if beyond_slice is None:
        connection.execute("DELETE FROM garbage WHERE stream_id = ? AND before <= ?", garbage)


def expire(connection: LogConnection, cutoff: int, after_id: int) -> int | None:
    """Trim what arrived before ``cutoff`` from some streams, the next ones after ``after_id``.

    Used inside ``BEGIN IMMEDIATE``. Returns where to go on; ``None`` at the end. Tails and tokens stay.
    """
    streams = connection.execute(EXPIRABLE, (after_id, EXAMINED_STREAMS)).fetchall()
    for stream_id, first, tail in streams:
        kept = _first_since(connection, stream_id, first, tail, cutoff)
        if kept > first:
            connection.execute("UPDATE streams SET first = ? WHERE id = ?", (kept, stream_id))
            connection.execute(DISCARD, (stream_id, kept, now_ms()))
    return streams[-1][0] if len(streams) == EXAMINED_STREAMS else None


def _first_since(connection: LogConnection, stream_id: int, first: int, tail: int, cutoff: int) -> int:
    def timestamp(seq_num: int) -> int:
        row = connection.execute(TIMESTAMP, (stream_id, seq_num)).fetchone()
        return int(row[0]) if row else 0

    return first + bisect_left(range(first, tail), cutoff, key=timestamp)
