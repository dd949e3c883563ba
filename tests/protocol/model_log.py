"""A model of one stream of the log, and a way to run the protocol's operations on it.

:class:`Log` keeps the contract of ``resumable_stream.backends.base`` in a few lines. It is immutable and hashable, so a
test can hold any number of its states and go on from each. :class:`Stream` is one such state after the other, for tests
that tell a story: it keeps what operations ask for, can lose replies, and lets others act in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from resumable_stream.exceptions import (
    AppendConditionError,
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    ResumableStreamError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from resumable_stream.protocol.effects import Append, Effect, Operation, Read, Tail
from resumable_stream.records import (
    FENCE_HEADERS,
    MAX_BATCH_BYTES,
    TRIM_HEADERS,
    AppendAck,
    ReadBatch,
    Record,
    SequencedRecord,
    StreamTail,
    trim_position,
    validate_batch,
)

T = TypeVar("T")

Answer = AppendAck | ReadBatch | StreamTail
LONG_AGO_MS = 10**9
"""Longer than any lease in these tests."""


class Log(NamedTuple):
    """One stream at one moment."""

    records: tuple[Record, ...] = ()
    """All that were ever appended, with those that no reader gets any more: positions are indexes."""
    token: str = ""
    first: int = 0
    """The first position that is still kept."""
    exists: bool = False

    @property
    def tail(self) -> int:
        return len(self.records)

    def append(
        self, records: Sequence[Record], fencing_token: str | None = None, match_seq_num: int | None = None
    ) -> Log:
        """Return the stream after an append; raise what the log would."""
        validate_batch(records)
        # Conditions are looked at before anything in the batch, the token first.
        if fencing_token is not None and fencing_token != self.token:
            raise FencingTokenMismatchError(self.token)
        if match_seq_num is not None and match_seq_num != self.tail:
            raise SeqNumMismatchError(self.tail)
        token, first = self.token, self.first
        for seq_num, record in enumerate(records, self.tail):
            if record.headers == FENCE_HEADERS:
                token = record.body
            elif record.headers == TRIM_HEADERS:
                first = max(first, min(trim_position(record.body), seq_num + 1))
        return Log((*self.records, *records), token, first, True)

    def expire(self, first: int | None = None) -> Log:
        """Return the stream after retention has taken what stands before ``first``, or everything."""
        return self._replace(first=self.tail if first is None else first)

    def read(self, start: int, limit: int) -> ReadBatch:
        self._require_existence()
        if start < 0 or limit < 1:
            raise ValueError("A read begins at 0 or later and asks for at least one record.")
        if start > self.tail:
            raise ReadUnwrittenError(self.tail)
        if start < self.first:
            raise RecordsTrimmedError(self.first)
        size, found = 0, []
        for record in self._sequenced(start, min(start + limit, self.tail)):
            size += Record(record.body, record.headers).metered_bytes
            if found and size > MAX_BATCH_BYTES:
                break
            found.append(record)
        return ReadBatch(records=tuple(found), tail=self.tail)

    def last(self, count: int, *, silent_ms: int = 0) -> StreamTail:
        self._require_existence()
        records = self._sequenced(max(self.first, self.tail - count), self.tail)
        return StreamTail(seq_num=self.tail, timestamp=0, server_time=silent_ms, records=records)

    def _require_existence(self) -> None:
        if not self.exists:
            raise StreamNotFoundError("model")

    def _sequenced(self, start: int, end: int) -> tuple[SequencedRecord, ...]:
        return tuple(SequencedRecord(at, 0, *self.records[at]) for at in range(start, end))


def perform(log: Log, effect: Effect, *, silent_ms: int = 0) -> tuple[Log, Answer]:
    """Return the stream after ``effect``, and what the log answers; raise what it would raise."""
    match effect:
        case Append(records, fencing_token, match_seq_num):
            after = log.append(records, fencing_token, match_seq_num)
            return after, AppendAck(start=log.tail, end=after.tail, tail=after.tail)
        case Read(start, limit):
            return log, log.read(start, limit)
        case Tail(last):
            return log, log.last(last, silent_ms=silent_ms)
    raise TypeError(f"{effect!r} is no effect.")


class Stream:
    """A stream that changes: one model log after the other.

    What is planned holds for the next :meth:`run` alone; a plan that nothing came of fails the test.
    """

    def __init__(self, log: Log | None = None) -> None:
        self.log = log or Log()
        self.silent_ms = 0
        """What the log's clock says about the age of the last record."""
        self.effects: list[Effect] = []
        """What the operation that ended last has asked for."""
        self._lost: dict[int, bool] = {}
        self._planned: dict[int, Callable[[], object]] = {}
        self._before_appends: Callable[[], object] | None = None

    def lose_reply(self, append: int, *, applied: bool) -> None:
        """Leave the outcome of append number ``append`` (from 0) unknown."""
        self._lost[append] = applied

    def before(self, effect: int, action: Callable[[], object]) -> None:
        """Let somebody act before effect number ``effect`` (from 0)."""
        self._planned[effect] = action

    def before_appends(self, action: Callable[[], object]) -> None:
        """Let somebody act before every append."""
        self._before_appends = action

    def append(self, *records: Record) -> None:
        """Append as somebody who asks for nothing."""
        self.log = self.log.append(records)

    def arrives_late(self, effect: Effect) -> bool:
        """Let a request that was under way arrive now; tell whether the log took it."""
        assert isinstance(effect, Append)
        try:
            self.log = self.log.append(*effect)
        except AppendConditionError:
            return False
        return True

    @property
    def appends(self) -> list[Append]:
        return [effect for effect in self.effects if isinstance(effect, Append)]

    def run(self, operation: Operation[T]) -> T:
        """Carry ``operation`` out and return what it returns; others may run theirs meanwhile."""
        run = _Run(self, self._lost, self._planned, self._before_appends)
        self._lost, self._planned, self._before_appends = {}, {}, None
        try:
            result = run.carry_out(operation)
        finally:
            self.effects = run.effects
        run.require_that_all_happened()
        return result


class _Run:
    """One operation on its way."""

    def __init__(
        self,
        stream: Stream,
        lost: dict[int, bool],
        planned: dict[int, Callable[[], object]],
        before_appends: Callable[[], object] | None,
    ) -> None:
        self.effects: list[Effect] = []
        self._stream = stream
        self._lost = lost
        self._planned = planned
        self._before_appends = before_appends
        self._appends = 0

    def carry_out(self, operation: Operation[T]) -> T:
        try:
            effect = next(operation)
            while True:
                assert len(self.effects) < 1000, "This operation would go on for ever."
                try:
                    answer = self._answer(effect)
                except ResumableStreamError as error:
                    effect = operation.throw(error)
                else:
                    effect = operation.send(answer)
        except StopIteration as stopped:
            result: T = stopped.value
            return result

    def require_that_all_happened(self) -> None:
        assert not self._lost, "The append whose reply was to be lost was never asked for."
        assert not self._planned, "The effect that somebody was to come before was never asked for."

    def _answer(self, effect: Effect) -> Answer:
        if action := self._planned.pop(len(self.effects), None):
            action()
        self.effects.append(effect)
        if not isinstance(effect, Append):
            return self._perform(effect)
        if self._before_appends is not None:
            self._before_appends()
        applied = self._lost.pop(self._appends, None)
        self._appends += 1
        if applied is None:
            return self._perform(effect)
        if applied:
            self._stream.arrives_late(effect)
        raise AppendOutcomeUnknownError("The reply was lost.")

    def _perform(self, effect: Effect) -> Answer:
        self._stream.log, answer = perform(self._stream.log, effect, silent_ms=self._stream.silent_ms)
        return answer
