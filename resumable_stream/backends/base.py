"""The contract of a log, written as guarantees.

A backend gives what S2 gives: named streams of records, appended atomically under conditions, read from any position,
followed for ever. ``resumable_stream.testing.BackendContract`` checks all of it; whoever writes a backend runs it.

Guaranteed:

- The records of a stream have consecutive ``seq_num`` from 0, in the order in which appends were applied, and never
  change. Command records (fence, trim) take a ``seq_num`` too.
- An append is applied whole or not at all, is never interleaved with another, and is durable (for the backend's
  meaning of it) when it returns.
- Conditions are checked once, before the append's own records: a fence inside it holds for what comes after the
  append. Several fences in one append: the last one holds. An append that names no token is accepted on a fenced
  stream: fencing is a cooperation of writers.
- What a reader has seen, every later reader sees, until it is trimmed.
- A refused condition tells the truth: the token or position that the stream had when the append was refused.
- Trimming changes neither the tail nor the token.

Not guaranteed: anything across streams; that trimmed records vanish at once; that two processes' clocks agree.

Every method may be called from any task of any event loop of the process. Cancelling a read, tail, follow or listing
has no effect on the log. Cancelling an append leaves its outcome unknown to the caller: it may be applied later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar

from django.core.checks import CheckMessage

from ..exceptions import InvalidBackendError
from ..records import AppendAck, FollowBatch, ReadBatch, Record, StreamList, StreamTail


class BaseBackend(ABC):
    """A log. Options arrive as keyword arguments; nothing is opened before the first call."""

    is_durable: ClassVar[bool] = True
    """Do records survive the end of the process?"""
    is_shared: ClassVar[bool] = True
    """Do other processes see the same streams?"""
    server_time_resolution: ClassVar[int] = 0
    """How late, in milliseconds, the clock in :meth:`tail` may be."""
    unstated_retention: str = ""
    """How long records are kept, in a check's words, where no option says it; empty if one does, be it ``None``."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        self.alias = alias
        """The backend's name in the ``BACKENDS`` setting."""

    @abstractmethod
    async def append(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        fencing_token: str | None = None,
        match_seq_num: int | None = None,
    ) -> AppendAck:
        """Append ``records`` (1..1000, together at most 1 MiB metered) and return their positions once durable.

        The stream is created by its first append. Both conditions are optional; ``fencing_token=""`` demands that the
        stream was never fenced or that the fence was cleared.

        Raises:
            InvalidRecordError: The records, a token or the name break the rules; nothing was sent.
            FencingTokenMismatchError: The token is another; wins if both conditions fail.
            SeqNumMismatchError: The tail is elsewhere.
            AppendOutcomeUnknownError: It may have been applied.
            BackendUnavailableError: It was not applied.
        """

    @abstractmethod
    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        """Read up to ``limit`` (1..1000) records from ``start`` (inclusive), at most 1 MiB metered, at least one.

        A read at the tail gives an empty batch at once.

        Raises:
            StreamNotFoundError: There is no such stream.
            ReadUnwrittenError: ``start`` lies beyond the tail.
            RecordsTrimmedError: ``start`` lies before the first kept record.
            BackendUnavailableError: Try again later.
        """

    @abstractmethod
    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        """Tell where the stream ends, and its ``last`` (0..1000) records as far as they are kept.

        Raises:
            StreamNotFoundError: There is no such stream.
            BackendUnavailableError: Try again later.
        """

    @abstractmethod
    def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        """Yield the records from ``start`` (inclusive) for ever: first those that exist, then new ones as they come.

        A batch with ``caught_up`` comes whenever everything below the tail has been yielded; the first one at once on
        a stream that has nothing from ``start``. Passing faults of the log are retried inside. The iterator holds no
        resource before its first ``__anext__`` and none after ``aclose()`` or an error.

        Raises:
            StreamNotFoundError: There is no such stream, or it was deleted meanwhile.
            ReadUnwrittenError: ``start`` lies beyond the tail.
            RecordsTrimmedError: Records not yet yielded are gone; a gap is never passed over in silence.
            BackendUnavailableError: The log could not be reached for longer than a retry inside makes sense.
        """

    @abstractmethod
    async def list_streams(self, prefix: str = "", *, start_after: str = "", limit: int = 1000) -> StreamList:
        """List streams whose name begins with ``prefix`` and sorts after ``start_after`` (exclusive).

        Ordered by the UTF-8 bytes of the names; ``limit`` 1..1000.
        """

    @abstractmethod
    async def delete_stream(self, stream: str) -> None:
        """Drop the stream with everything in it; its name may be used again, from ``seq_num`` 0 and without a token.

        Raises:
            StreamNotFoundError: There is no such stream.
        """

    async def prepare(self, *, retention_seconds: int | None = None) -> str:
        """Make or correct what must exist before the first stream does, and say in a line what was done.

        ``retention_seconds`` is how long records are to be kept; ``None`` leaves that as it is.

        Raises:
            InvalidBackendError: The backend cannot be prepared so; the message names the setting and the fix.
        """
        if retention_seconds is not None:
            raise InvalidBackendError(f"Backend {self.alias!r}: set the retention in its OPTIONS.")
        return "There is nothing to prepare."

    async def close(self) -> None:  # noqa: B027 - a backend that holds nothing has nothing to do
        """Give back what the backend holds (files, threads, connections). It opens again when used again."""

    def check(self) -> list[CheckMessage]:
        """Return system check messages about the options; called by ``manage.py check``."""
        return []
