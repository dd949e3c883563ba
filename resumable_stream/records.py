"""Value types of the log, in S2's words and with S2's limits; no I/O and no Django.

Tuples rather than dataclasses where one exists per record: a replay makes a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .exceptions import InvalidRecordError

MAX_BATCH_RECORDS = 1000
MAX_BATCH_BYTES = 1024 * 1024
"""Metered bytes of one append, and of one record."""
MAX_FENCING_TOKEN_BYTES = 36
MAX_STREAM_NAME_BYTES = 512

FENCE_HEADERS = (("", "fence"),)
TRIM_HEADERS = (("", "trim"),)

Headers = tuple[tuple[str, str], ...]


class Record(NamedTuple):
    """What an append writes: a body and headers, both text without lone surrogates.

    A record whose one header has the name ``""`` is a command, which the log itself interprets: ``fence`` sets the
    stream's fencing token to the body, ``trim`` drops everything before a position. Commands take a ``seq_num`` and
    are read like other records.
    """

    body: str = ""
    headers: Headers = ()

    @classmethod
    def fence(cls, token: str) -> Record:
        """Make the command that sets the fencing token (at most 36 UTF-8 bytes; ``""`` clears it)."""
        return cls(token, FENCE_HEADERS)

    @classmethod
    def trim(cls, seq_num: int) -> Record:
        """Make the command that drops the records before ``seq_num`` (exclusive), or before itself if that is less.

        The body is the position as 8 big-endian bytes, each as the character of that number (latin-1).
        """
        return cls(seq_num.to_bytes(8, "big").decode("latin-1"), TRIM_HEADERS)

    @property
    def is_command(self) -> bool:
        """Whether the log interprets the record itself."""
        return bool(self.headers) and self.headers[0][0] == ""

    @property
    def metered_bytes(self) -> int:
        """What the record counts against the log's limits (S2's formula)."""
        return _metered_bytes(self.body, self.headers)


class SequencedRecord(NamedTuple):
    """A record as it is read: with its position and its time of arrival."""

    seq_num: int
    timestamp: int
    """Milliseconds since the Unix epoch on the log's clock; never decreasing within a stream."""
    body: str
    headers: Headers = ()

    @property
    def metered_bytes(self) -> int:
        """What the record counts against the log's limits (S2's formula)."""
        return _metered_bytes(self.body, self.headers)

    @property
    def is_fence(self) -> bool:
        """Whether the record sets the fencing token to its body."""
        return self.headers == FENCE_HEADERS

    @property
    def is_command(self) -> bool:
        """Whether the record is a command (fence or trim) rather than content."""
        return bool(self.headers) and self.headers[0][0] == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendAck:
    """Receipt of an append: it is durable at these positions."""

    start: int
    """``seq_num`` of the first record of the append."""
    end: int
    """``seq_num`` after the last record of the append."""
    tail: int
    """The stream's tail when the append was applied; at least ``end``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBatch:
    """Answer of one bounded read."""

    records: tuple[SequencedRecord, ...]
    """In increasing ``seq_num``, without gaps; empty only when the read began at the tail."""
    tail: int | None = None
    """The stream's tail, where the log told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowBatch:
    """What a follow yields: records, a sign that the reader has caught up, or both."""

    records: tuple[SequencedRecord, ...] = ()
    """In increasing ``seq_num``, continuing the previous batch without a gap; empty in a bare caught-up signal."""
    caught_up: bool = False
    """Whether every record below the tail observed by the log has now been yielded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTail:
    """Where a stream ends, and how long ago it was written to."""

    seq_num: int
    """The ``seq_num`` the next record will get; 0 for a stream that was never written to."""
    timestamp: int
    """Arrival of the last record in milliseconds since the Unix epoch; 0 if there never was one."""
    server_time: int
    """The log's own clock, in milliseconds since the Unix epoch, when it answered.

    May be late by up to ``server_time_resolution`` of the backend.
    """
    records: tuple[SequencedRecord, ...] = ()
    """The last records that were asked for, as far as they are still kept, in increasing ``seq_num``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One row of a listing."""

    name: str
    created_at: int
    """Milliseconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamList:
    """One page of a listing."""

    streams: tuple[StreamInfo, ...]
    """Ordered by the UTF-8 bytes of their names."""
    has_more: bool
    """Whether another page follows; it begins after the last name of this one."""


def _metered_bytes(body: str, headers: Headers) -> int:
    size = 8 + utf8_length(body)
    for name, value in headers:
        size += 2 + utf8_length(name + value)
    return size


def utf8_length(text: str) -> int:
    """Count the UTF-8 bytes of ``text``."""
    return len(text) if text.isascii() else len(text.encode())


@lru_cache(maxsize=1024)  # Most calls are about a stream that was asked for a moment ago.
def validate_stream_name(name: str) -> None:
    """Raise :exc:`InvalidRecordError` unless ``name`` is 1..512 UTF-8 bytes without NUL, and not ``.`` or ``..``."""
    try:
        length = utf8_length(name)
    except UnicodeEncodeError:
        raise InvalidRecordError(f"The stream name {name!r} is not valid Unicode text.") from None
    if not 1 <= length <= MAX_STREAM_NAME_BYTES:
        raise InvalidRecordError(f"A stream name has 1 to {MAX_STREAM_NAME_BYTES} bytes, not {length}.")
    if "\0" in name or name in (".", ".."):
        raise InvalidRecordError(f"{name!r} cannot be a stream name.")


def validate_fencing_token(token: str) -> None:
    """Raise :exc:`InvalidRecordError` if ``token`` is longer than 36 UTF-8 bytes or not valid text."""
    try:
        length = utf8_length(token)
    except UnicodeEncodeError:
        raise InvalidRecordError("A fencing token must be valid Unicode text.") from None
    if length > MAX_FENCING_TOKEN_BYTES:
        raise InvalidRecordError(f"A fencing token has at most {MAX_FENCING_TOKEN_BYTES} bytes, not {length}.")


def validate_batch(records: Sequence[Record]) -> None:
    """Raise :exc:`InvalidRecordError` unless ``records`` can be appended at once.

    1 to 1000 records, together at most 1 MiB metered, all valid Unicode, commands well formed.
    """
    if not 1 <= len(records) <= MAX_BATCH_RECORDS:
        raise InvalidRecordError(f"An append takes 1 to {MAX_BATCH_RECORDS} records, not {len(records)}.")
    size = 0
    try:
        for record in records:
            size += record.metered_bytes
    except UnicodeEncodeError:
        raise InvalidRecordError(
            "A record holds a lone surrogate, which UTF-8 cannot encode. Escape it or replace it first."
        ) from None
    if size > MAX_BATCH_BYTES:
        raise InvalidRecordError(f"An append takes at most {MAX_BATCH_BYTES} metered bytes, not {size}.")
    _validate_commands(records)


def _validate_commands(records: Iterable[Record]) -> None:
    for record in records:
        if not record.headers or "" not in [name for name, _ in record.headers]:
            continue
        if record.headers == FENCE_HEADERS:
            validate_fencing_token(record.body)
        elif record.headers == TRIM_HEADERS:
            trim_position(record.body)
        else:
            raise InvalidRecordError(
                "A header with an empty name marks a command: it must be the only one, 'fence' or 'trim'."
            )


def trim_position(body: str) -> int:
    """Decode the position in a trim command's body."""
    try:
        raw = body.encode("latin-1")
    except UnicodeEncodeError:
        raw = b""
    if len(raw) != 8:
        raise InvalidRecordError("The body of a trim command is a position of 8 bytes.")
    return int.from_bytes(raw, "big")
