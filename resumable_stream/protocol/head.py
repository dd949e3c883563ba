"""The newest generation of a stream: where it starts, what it is, whether its owner still writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..exceptions import ReadUnwrittenError, RecordsTrimmedError, StreamNotFoundError
from ..layout import Begin, EndFacts, Token, back_of
from ..records import MAX_BATCH_RECORDS, ReadBatch, SequencedRecord, StreamTail
from .effects import Operation, Read, Tail, read_range

FOREIGN_LEASE_SECONDS = 5
"""After this silence the npm package takes a stream over in ``shared`` mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest generation of a stream, as found on the log."""

    tail: int
    """The ``seq_num`` the next record will get."""
    silent_ms: int
    """How long ago, on the log's clock, the last record arrived."""
    start: int
    """``seq_num`` of the generation's claim; the tail if the stream holds no generation."""
    token: Token
    """The stream's token as far as the records show it."""
    begin: Begin | None = None
    """What the generation stated about itself; ``None`` if another program wrote it or retention took it."""
    end: EndFacts | None = None
    """``None`` while it runs."""
    content_end: int = 0
    """For one that ended: the cursor of a reader that has all its chunks."""

    @property
    def is_running(self) -> bool:
        """Whether somebody owns the stream."""
        return not self.token.is_free


def find_head() -> Operation[Head | None]:
    """Find the newest generation with two reads, whatever the history; ``None`` for a stream that does not exist."""
    try:
        tail: StreamTail = yield Tail(2)
    except StreamNotFoundError:
        return None
    empty = Head(
        tail=tail.seq_num,
        silent_ms=max(0, tail.server_time - tail.timestamp),
        start=tail.seq_num,
        token=Token(""),
        content_end=tail.seq_num,
    )
    if not tail.records:
        return empty
    ended = _ended_by(tail.records)
    back = back_of(tail.records[-2] if ended.end is not None and len(tail.records) > 1 else tail.records[-1])
    if back is not None:
        marked = tail.records[-2] if ended.end is not None else tail.records[-1]
        head = yield from _head_at_start(empty, marked.seq_num - back, ended)
        if head is not None:
            return head
    return (yield from _find_head_backwards(empty))


class _End(NamedTuple):
    """The end of a generation, as its last records show it."""

    token: Token | None = None
    end: EndFacts | None = None
    content_end: int = 0


def _ended_by(records: Sequence[SequencedRecord]) -> _End:
    """Read the end that ``records`` close with, if they do: a terminal fence, and our end facts before it."""
    last = records[-1]
    token = Token.parse(last.body) if last.is_fence else None
    if token is None or token.end is None:
        return _End()
    facts = records[-2] if len(records) > 1 else None
    if facts is not None and ("rs", "end") in facts.headers:
        return _End(token, EndFacts.parse(facts.headers), facts.seq_num)
    return _End(token, EndFacts(generation_id=token.generation_id, reason=token.end), last.seq_num)


def _head_at_start(empty: Head, start: int, ended: _End) -> Operation[Head | None]:
    """Read the claim at ``start``; ``None`` if none stands there (any more)."""
    try:
        batch: ReadBatch = yield Read(start, 2)
    except (RecordsTrimmedError, ReadUnwrittenError):
        return None
    if not batch.records or not batch.records[0].is_fence:
        return None
    fence, *rest = batch.records
    begin = Begin.parse(rest[0].headers) if rest and ("rs", "begin") in rest[0].headers else None
    return replace(
        empty,
        start=start,
        token=ended.token or Token.parse(fence.body),
        begin=begin,
        end=ended.end,
        content_end=ended.content_end or empty.tail,
    )


def _find_head_backwards(empty: Head) -> Operation[Head]:
    """Find the newest generation where the last record does not tell its start: look back for its fence.

    For generations of other programs, and what retention has left of ours. Costs what that generation is long.
    """
    ended = _End()
    first, end = 0, empty.tail
    while end > first:
        begin = max(first, end - MAX_BATCH_RECORDS)
        try:
            records = yield from read_range(begin, end)
        except RecordsTrimmedError as error:
            # The page begins again where the kept records do.
            first = max(error.first_seq_num, begin + 1)
            continue
        if end == empty.tail and records:
            ended = _ended_by(records)
        for record in reversed(records):
            if record.is_fence and Token.parse(record.body).end is None:
                head = yield from _head_at_start(empty, record.seq_num, ended)
                return head or empty
        end = begin
    return replace(empty, start=first, token=ended.token or Token(""), end=ended.end, content_end=ended.content_end)


def is_abandoned(head: Head, *, mode: str, resolution_ms: int = 0) -> bool:
    """Tell whether the owner has been silent for longer than it promised.

    An owner that is not ours promises nothing; in ``shared`` mode the npm package's own rule holds for it.
    """
    lease_seconds = head.token.lease_seconds
    if lease_seconds is None:
        if mode != "shared":
            return False
        lease_seconds = FOREIGN_LEASE_SECONDS
    return head.is_running and head.silent_ms > lease_seconds * 1000 + resolution_ms
