"""What an operation asks of the log, and the two building blocks of all operations."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeVar

from ..exceptions import (
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    GenerationLostError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from ..records import MAX_BATCH_RECORDS, AppendAck, ReadBatch, Record, SequencedRecord

T = TypeVar("T")


class Append(NamedTuple):
    """Append records under conditions; answered with an :class:`AppendAck`."""

    records: Sequence[Record]
    fencing_token: str | None
    match_seq_num: int | None = None


class Read(NamedTuple):
    """Read a range; answered with a :class:`ReadBatch`."""

    start: int
    limit: int = MAX_BATCH_RECORDS


class Tail(NamedTuple):
    """Ask for the tail and the last records; answered with a :class:`StreamTail`."""

    last: int


Effect = Append | Read | Tail
Operation = Generator[Effect, Any, T]


def append_once(records: Sequence[Record], *, token: str, at: int, uncertain: bool = False) -> Operation[AppendAck]:
    """Append as the owner, exactly once.

    ``uncertain``: the same append was asked for before, and nobody waited for its outcome.

    Raises:
        GenerationLostError: Another token holds the stream, and these records are not on it (any more).
        SeqNumMismatchError: Somebody appended to our stream without asking for the token.
        AppendOutcomeUnknownError: These records may have been on the log; what stood there was trimmed.
    """
    end = at + len(records)
    while True:
        try:
            ack: AppendAck = yield Append(records, token, at)
            return ack
        except AppendOutcomeUnknownError:
            uncertain = True
        except FencingTokenMismatchError as error:
            if uncertain and (yield from _is_there(records, at)):
                return AppendAck(start=at, end=end, tail=end)
            raise GenerationLostError(error.actual) from error
        except SeqNumMismatchError as error:
            if uncertain and (yield from landed(records, at)):
                return AppendAck(start=at, end=end, tail=error.expected)
            raise


def _is_there(records: Sequence[Record], at: int) -> Operation[bool]:
    try:
        return (yield from landed(records, at))
    except AppendOutcomeUnknownError:
        return False


def landed(records: Sequence[Record], at: int) -> Operation[bool]:
    """Tell whether the log holds exactly ``records`` at ``at``.

    Raises:
        AppendOutcomeUnknownError: What it held there was trimmed.
    """
    found: list[SequencedRecord] = []
    while len(found) < len(records):
        try:
            batch: ReadBatch = yield Read(at + len(found), len(records) - len(found))
        except RecordsTrimmedError as error:
            raise AppendOutcomeUnknownError("What the append would have written was trimmed since.") from error
        except (ReadUnwrittenError, StreamNotFoundError):
            return False
        if not batch.records:
            return False
        found += batch.records
    return all(is_.body == ours.body and is_.headers == ours.headers for is_, ours in zip(found, records, strict=True))


def read_range(start: int, end: int) -> Operation[list[SequencedRecord]]:
    """Read the records from ``start`` (inclusive) to ``end`` (exclusive), or to the tail if that comes first."""
    records: list[SequencedRecord] = []
    while start + len(records) < end:
        batch: ReadBatch = yield Read(start + len(records), min(MAX_BATCH_RECORDS, end - start - len(records)))
        if not batch.records:
            break
        records += batch.records
    return records
