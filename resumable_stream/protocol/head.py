"""The newest generation of a stream: where it starts, what it is, whether its owner still writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..exceptions import (
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    StreamNotFoundError,
)
from ..records import MAX_BATCH_RECORDS, ReadBatch, Record, SequencedRecord, StreamTail
from .effects import Append, Operation, Read, Tail, read_range
from .layout import Begin, EndFacts, Token, back_of, new_generation_id

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
    """``seq_num`` of the generation's claim; where retention took that, of the first record that is left; the tail if
    nothing is."""
    token: Token
    """The stream's token."""
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
        while True:
            head = yield from _head_of((yield Tail(2)))
            if head is not None:
                return head
    except StreamNotFoundError:
        return None


def _head_of(tail: StreamTail) -> Operation[Head | None]:
    """Find the newest generation below ``tail``; ``None`` if the stream has moved on, and what would tell is gone."""
    head = Head(
        tail=tail.seq_num,
        silent_ms=max(0, tail.server_time - tail.timestamp),
        start=tail.seq_num,
        token=Token(""),
        content_end=tail.seq_num,
    )
    if tail.seq_num == 0:
        return head
    end = _end_at(tail.records)
    marked = tail.records if end is None else tail.records[:-1]
    start = _start_by(marked[-1]) if marked else None
    if start is not None:
        found = yield from _head_at(start, head, end)
        if found is not None:
            return found
    return (yield from _Search(head, tried=start).run())


class _End(NamedTuple):
    """The end of a generation, as its last records show it."""

    token: Token
    facts: EndFacts
    content_end: int


def _end_at(records: Sequence[SequencedRecord]) -> _End | None:
    """Read the end that ``records`` close with, if they do: a terminal fence, and our end facts before it."""
    token = Token.parse(records[-1].body) if records and records[-1].is_fence else None
    if token is None or token.end is None:
        return None
    if len(records) > 1 and ("rs", "end") in records[-2].headers:
        return _End(token, EndFacts.parse(records[-2].headers), records[-2].seq_num)
    return _End(token, EndFacts(generation_id=token.generation_id, reason=token.end), records[-1].seq_num)


def _start_by(record: SequencedRecord) -> int | None:
    """Read where the generation of ``record`` starts, if it says so."""
    back = back_of(record)
    return record.seq_num - back if back is not None and back <= record.seq_num else None


def _head_at(start: int, head: Head, end: _End | None) -> Operation[Head | None]:
    """Complete ``head`` with the claim at ``start``; ``None`` if none stands there (any more)."""
    try:
        batch: ReadBatch = yield Read(start, 2)
    except (RecordsTrimmedError, ReadUnwrittenError):
        return None
    fence, *rest = batch.records
    token = Token.parse(fence.body)
    if not fence.is_fence or token.end is not None:
        return None
    begin = Begin.parse(rest[0].headers) if rest and ("rs", "begin") in rest[0].headers else None
    return _ended(replace(head, start=start, token=token, begin=begin), end)


def _ended(head: Head, end: _End | None) -> Head:
    if end is None:
        return head
    return replace(head, token=end.token, end=end.facts, content_end=end.content_end)


class _Search:
    """Looks for the newest generation from the tail back, page by page, where the last records do not tell its start.

    They do not if another program wrote them, if the end was written without knowing where the start is, or if
    retention took the start. The cost grows with that generation, never with what came before it.
    """

    def __init__(self, head: Head, *, tried: int | None) -> None:
        self._head = head
        self._tried = tried
        """Where no claim stands although a record says so."""
        self._end: _End | None = None
        self._first = 0
        """Where the generation starts at the earliest."""

    def run(self) -> Operation[Head | None]:
        end = self._head.tail
        while end > self._first:
            begin = max(self._first, end - MAX_BATCH_RECORDS)
            try:
                page = yield from read_range(begin, end)
            except RecordsTrimmedError as error:
                # The page begins again where the kept records do.
                self._first = max(error.first_seq_num, begin + 1)
                continue
            found = yield from self._search(page)
            if found is not None:
                return found
            end = begin
        head = replace(self._head, start=min(self._first, self._head.tail))
        if self._end is not None:
            return _ended(head, self._end)
        # Retention takes fences like any other record, but the token stays.
        token = yield from _read_token()
        now: StreamTail = yield Tail(0)
        if now.seq_num != self._head.tail:
            return None
        facts = EndFacts(generation_id=token.generation_id, reason=token.end) if token.end is not None else None
        return replace(head, token=token, end=facts)

    def _search(self, page: Sequence[SequencedRecord]) -> Operation[Head | None]:
        for index in reversed(range(len(page))):
            record = page[index]
            if record.is_fence and Token.parse(record.body).end is not None:
                if self._end is not None:
                    # The end of the generation before: of the newest, all that is left has been seen.
                    self._first = record.seq_num + 1
                    return None
                self._end = yield from self._end_with(record, page[:index])
                continue
            start = record.seq_num if record.is_fence else _start_by(record)
            if start is not None and start != self._tried:
                self._tried = start
                found = yield from _head_at(start, self._head, self._end)
                if found is not None:
                    return found
        return None

    def _end_with(self, terminal: SequencedRecord, before: Sequence[SequencedRecord]) -> Operation[_End | None]:
        facts = before[-1:]
        if not facts and terminal.seq_num > self._first:
            try:
                facts = yield from read_range(terminal.seq_num - 1, terminal.seq_num)
            except RecordsTrimmedError:
                facts = ()
        return _end_at([*facts, terminal])


def _read_token() -> Operation[Token]:
    """Ask for a stream's token with an append that the log must refuse."""
    while True:
        try:
            yield Append([Record.fence("")], new_generation_id())
        except FencingTokenMismatchError as error:
            return Token.parse(error.actual)
        except AppendOutcomeUnknownError:
            continue


def seconds_to_abandonment(head: Head, *, resolution_ms: int = 0) -> int | None:
    """Return after how many seconds, at least 1, a running owner that stays silent may be taken over.

    ``None`` if nothing was promised: the owner is another program.
    """
    if head.token.lease_seconds is None:
        return None
    return max(1, -(-(head.token.lease_seconds * 1000 + resolution_ms - head.silent_ms) // 1000))


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
