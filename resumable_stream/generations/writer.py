"""The writer of one generation: batches of chunks on their way to the log, under one token.

At most one append is under way; what arrives meanwhile goes into the next. The first chunk after a pause goes at once,
further appends keep the distance that the process's load asks for. What is not yet acknowledged is bounded: past the
bound the producer waits. While nothing comes, heartbeats show that the owner lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import GenerationLostError, InvalidRecordError, ResumableStreamError, SeqNumMismatchError
from ..formats.jsontext import is_text_deeper_than
from ..protocol.claim import Claim
from ..protocol.effects import append_once
from ..protocol.layout import (
    BEATS_PER_LEASE,
    HEARTBEAT,
    MAX_APPEND_BYTES,
    Chunk,
    EndFacts,
    beat_seconds,
    chunk_records,
    terminal_records,
    with_back,
)
from ..protocol.perform import perform
from ..readers.preview import Preview
from ..records import MAX_BATCH_RECORDS, Record, utf8_length
from ..utils.wake_up import WakeUp
from .pacing import LEAST_SECONDS, Pacer

BACK_HEADER_BYTES = 64
"""Room for the header on the last record of an append."""
MESSAGE_LEVELS = 16
"""Levels that a message has around what a chunk brought: more than any client's, which have about six."""
COMPANY_SECONDS = 0.05
"""How long a chunk whose append is due may wait for the next one, where appends keep more than the least distance."""


class Writer:
    """Appends what is :meth:`put` until it is closed. :meth:`run` does the work and must be awaited once."""

    def __init__(self, backend: BaseBackend, stream: str, claim: Claim, pacer: Pacer) -> None:
        self.position = claim.end
        """The ``seq_num`` that the next record will get."""
        self.preview: Preview | None = None
        """Shown every chunk as it is queued, if there is one."""
        self._queued_to = claim.end
        self._backend = backend
        self._stream = stream
        self._start = claim.start
        self._token = claim.token.text
        self._beat_seconds = beat_seconds(claim.token) or settings.lease_seconds / BEATS_PER_LEASE
        self._pacer = pacer
        self._loop = asyncio.get_running_loop()
        # Lists, which take a tenth of a deque's memory while they are short, as they nearly always are.
        self._queue: list[tuple[Record, int]] = []
        self._unacknowledged = 0
        self._under_way: list[tuple[Record, int]] = []
        self._doubtful: tuple[list[Record], bool] | None = None
        """The append under way when :meth:`run` was cancelled, and whether it was the last one."""
        self._is_abandoned = False
        # Read once for each generation: several times for each chunk would be felt.
        self._limit = settings.max_pending_bytes
        self._max_chunk_bytes = settings.max_chunk_bytes
        self._max_depth = settings.max_json_depth - MESSAGE_LEVELS
        self._max_records = min(MAX_BATCH_RECORDS, settings.batch_size)
        self._patience_seconds = settings.append_timeout_seconds
        self._end: tuple[Sequence[str], EndFacts] | None = None
        self._work = WakeUp()
        self._room: asyncio.Future[None] | None = None
        self._last_append = 0.0
        self._due = 0.0
        """When the append that is being waited for will be far enough away from the last."""
        self._is_beat_due = False
        self._beat: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """Whether the producer should wait before it puts more."""
        return self._unacknowledged >= self._limit

    def put(self, chunk: str) -> int:
        """Queue a chunk; return its size in bytes.

        Raises:
            InvalidRecordError: It is larger than ``MAX_CHUNK_BYTES``, nested so deeply that its client could not send
                it back, or no Unicode text.
        """
        try:
            size = utf8_length(chunk)
        except UnicodeEncodeError:
            raise InvalidRecordError("A chunk holds a lone surrogate; its format should have escaped it.") from None
        if size > self._max_chunk_bytes:
            raise InvalidRecordError(
                f"A chunk of {size} bytes is over the limit of {self._max_chunk_bytes}. Yield smaller chunks, or "
                "raise RESUMABLE_STREAM['MAX_CHUNK_BYTES']."
            )
        if is_text_deeper_than(chunk, self._max_depth):
            raise InvalidRecordError(
                f"A chunk is nested more than {self._max_depth} levels deep, so that its client could not send it back "
                "in a message. Yield flatter values, or raise RESUMABLE_STREAM['MAX_JSON_DEPTH']."
            )
        self.put_records(chunk_records(chunk))
        if self.preview is not None:
            self.preview.add(Chunk(self._queued_to, chunk))
        return size

    def put_records(self, records: Sequence[Record]) -> None:
        """Queue records as they are; each at most as long as one append."""
        for record in records:
            size = record.metered_bytes
            self._queue.append((record, size))
            self._unacknowledged += size
        self._queued_to += len(records)
        if self._work.is_awaited and self._due <= self._loop.time():
            self._work.send()

    async def wait_for_room(self) -> None:
        """Wait until enough is acknowledged; returns at once if the writer is not full."""
        if self._due:
            self._loop.call_at(self._due, self._overdue)  # No other chunk will come before that.
        while self.is_full and self._end is None and not self._is_abandoned:
            self._room = self._room or self._loop.create_future()
            await asyncio.shield(self._room)

    def close(self, chunks: Sequence[str], facts: EndFacts) -> None:
        """End the generation once everything queued is on the log; nothing can be put after this."""
        self._end = (chunks, facts)
        if self.preview is not None:
            self.preview.close()
        self._work.send()
        self._make_room()

    def abandon(self) -> None:
        """Give up: the stream is known to be lost. :meth:`run` raises :exc:`GenerationLostError`."""
        self._is_abandoned = True
        self._work.send()
        self._make_room()

    async def run(self) -> None:
        """Append until the terminal record is on the log.

        Raises:
            GenerationLostError: Somebody else owns the stream now, or has ended the generation.
            SeqNumMismatchError: Somebody wrote into the stream without asking for its token; :attr:`position` is
                right again and nothing was taken from the queue, so that :meth:`run` may be called once more.
            BackendUnavailableError: The log was out of reach for ``APPEND_TIMEOUT_SECONDS``.
            AppendOutcomeUnknownError: So it was, and the last append may be on it.

        When it is cancelled nothing is lost: called once more, it finds out about the append under way and goes on.
        """
        self._last_append = self._loop.time()
        self._watch_silence()
        try:
            await self._run()
        finally:
            if self._beat is not None:
                self._beat.cancel()

    async def _run(self) -> None:
        if self._doubtful is not None and await self._resume():
            return
        while True:
            await self._wait_for_work()
            if self._is_abandoned:
                self._end_preview()
                raise GenerationLostError("")
            records = self._take()
            if self._end is not None and not self._queue:
                await self._finish(records, *self._end)
                return
            if not records:
                records = [HEARTBEAT]
                self._queued_to += 1
            await self._append(self._marked(records))

    async def _resume(self) -> bool:
        """Append what a cancelled run may have appended already; return whether that was the end."""
        assert self._doubtful is not None
        records, is_last = self._doubtful
        self._doubtful = None
        await self._append(records, is_last=is_last, uncertain=True)
        return is_last

    async def _wait_for_work(self) -> None:
        """Wait until there is something to append and the last append is far enough away."""
        while not (self._queue or self._is_beat_due or self._end is not None or self._is_abandoned):
            await self._work.wait()
        distance = self._pacer.distance_seconds()
        due = self._last_append + distance
        if due <= self._loop.time():
            return
        self._due = due
        # Then with the next chunk, if one comes soon: in step with their source, appends carry as much in larger
        # distances, and the last chunk of each has not waited at all.
        company = 0.0 if self.is_full else min(distance - LEAST_SECONDS, COMPANY_SECONDS)
        timer = self._loop.call_at(due + company, self._overdue)
        try:
            while self._due > self._loop.time() and self._end is None and not self._is_abandoned:
                await self._work.wait()
        finally:
            timer.cancel()
            self._due = 0.0

    def _overdue(self) -> None:
        self._due = 0.0
        self._work.send()

    def _watch_silence(self) -> None:
        """Have a heartbeat written when nothing was for a quarter of a lease."""
        due = self._last_append + self._beat_seconds
        if due <= self._loop.time():
            self._is_beat_due = True
            self._work.send()
            due = self._loop.time() + self._beat_seconds
        # One timer that is set again when it has run out, rather than one for every append.
        self._beat = self._loop.call_at(due, self._watch_silence)

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _take(self) -> list[Record]:
        """Take from the queue what fits into one append."""
        records: list[Record] = []
        room = MAX_APPEND_BYTES - BACK_HEADER_BYTES
        for record, size in self._queue[: self._max_records]:
            if size > room:
                break
            records.append(record)
            room -= size
        self._under_way += self._queue[: len(records)]
        del self._queue[: len(records)]
        return records

    def _marked(self, records: Sequence[Record]) -> list[Record]:
        return with_back(records, self.position + len(records) - 1 - self._start)

    async def _append(self, records: list[Record], *, is_last: bool = False, uncertain: bool = False) -> None:
        self._last_append = self._loop.time()
        self._is_beat_due = False
        operation = append_once(records, token=self._token, at=self.position, uncertain=uncertain)
        try:
            ack = await perform(operation, self._backend, self._stream, patience_seconds=self._patience_seconds)
        except asyncio.CancelledError:
            self._doubtful = records, is_last
            raise
        except ResumableStreamError as error:
            self._end_preview()
            if isinstance(error, SeqNumMismatchError):
                self.position = error.expected
                self._queue[:0] = self._under_way
                self._under_way.clear()
            raise
        self.position = ack.end
        self._unacknowledged -= sum(size for _, size in self._under_way)
        self._under_way.clear()
        if not self.is_full:
            self._make_room()

    def _end_preview(self) -> None:
        """Take back what was shown and will not be on the log."""
        if self.preview is not None:
            self.preview.close(at=self.position)

    async def _finish(self, records: list[Record], chunks: Sequence[str], facts: EndFacts) -> None:
        """Append what is left and the end, in one append if it fits."""
        terminal = terminal_records(chunks, facts, back=self.position + len(records) - self._start)
        together = [*records, *terminal]
        size = sum(record.metered_bytes for record in together)
        if records and (len(together) > MAX_BATCH_RECORDS or size > MAX_APPEND_BYTES):
            await self._append(self._marked(records))
            together = terminal
        await self._append(together, is_last=True)
