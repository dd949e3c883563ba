"""What the log knows of a stream, and what an append does to it; the rules that S2 has, without any storage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..exceptions import (
    AppendConditionError,
    FencingTokenMismatchError,
    InvalidRecordError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    SeqNumMismatchError,
)
from ..records import (
    FENCE_HEADERS,
    MAX_BATCH_RECORDS,
    TRIM_HEADERS,
    Record,
    trim_position,
    utf8_length,
    validate_batch,
    validate_fencing_token,
    validate_stream_name,
)


@dataclass(slots=True, kw_only=True)
class StreamState:
    """Position, kept range and token of one stream."""

    tail: int = 0
    """The ``seq_num`` the next record will get."""
    first: int = 0
    """The first ``seq_num`` that is kept; equals the tail if none is."""
    timestamp: int = 0
    """Arrival of the last record, in milliseconds since the Unix epoch."""
    fencing_token: str = ""

    def refusal(self, fencing_token: str | None, match_seq_num: int | None) -> AppendConditionError | None:
        """Return the error of an append with these conditions, or ``None`` if they hold."""
        if fencing_token is not None and fencing_token != self.fencing_token:
            return FencingTokenMismatchError(self.fencing_token)
        if match_seq_num is not None and match_seq_num != self.tail:
            return SeqNumMismatchError(self.tail)
        return None

    def extend(self, records: Sequence[Record], now: int) -> int:
        """Take in a whole append that arrives at ``now``, obeying its commands; return its first ``seq_num``."""
        start = self.tail
        for seq_num, record in enumerate(records, start):
            if not record.headers:
                continue
            if record.headers == FENCE_HEADERS:
                self.fencing_token = record.body
            elif record.headers == TRIM_HEADERS:
                # A trim reaches itself at most, whatever it asks for.
                self.first = max(self.first, min(trim_position(record.body), seq_num + 1))
        self.tail = start + len(records)
        self.timestamp = max(now, self.timestamp)  # A clock that was set back must not reorder the log.
        return start


def now_ms() -> int:
    """Return this machine's clock in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def require_readable(start: int, *, first: int, tail: int) -> None:
    """Raise what a read from ``start`` deserves if the stream keeps only ``first`` to ``tail``."""
    if start > tail:
        raise ReadUnwrittenError(tail)
    if start < first:
        raise RecordsTrimmedError(first)


def validate_append(stream: str, records: Sequence[Record], fencing_token: str | None) -> None:
    """Raise :exc:`InvalidRecordError` unless a log can take the append."""
    validate_stream_name(stream)
    validate_batch(records)
    if fencing_token is not None:
        validate_fencing_token(fencing_token)


def validate_position(start: int) -> None:
    """Raise :exc:`ValueError` if ``start`` cannot be a position."""
    if start < 0:
        raise ValueError(f"A position is 0 or more, not {start}.")


def validate_limit(limit: int, *, minimum: int = 1) -> None:
    """Raise :exc:`ValueError` unless ``limit`` is one that a read or a listing takes."""
    if not minimum <= limit <= MAX_BATCH_RECORDS:
        raise ValueError(f"A limit is {minimum} to {MAX_BATCH_RECORDS}, not {limit}.")


def validate_listing(prefix: str, start_after: str, limit: int) -> None:
    """Raise unless these are arguments that a listing takes."""
    validate_limit(limit)
    try:
        utf8_length(prefix), utf8_length(start_after)
    except UnicodeEncodeError:
        raise InvalidRecordError("Stream names, and so their prefixes, are valid Unicode text.") from None
