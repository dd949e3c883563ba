"""Ending a generation from outside its writer: a stop, or the end of an owner that has fallen silent."""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..exceptions import (
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    GenerationActiveError,
    RecordsTrimmedError,
    SeqNumMismatchError,
)
from ..formats.base import ChunkEncoder
from ..records import MAX_BATCH_RECORDS, AppendAck, Record
from ..types import EndReason
from ..utils.log_once import survive
from .effects import Append, Operation, landed, read_range
from .head import Head, find_head
from .layout import Begin, Cause, Chunk, Decoder, Ended, EndFacts, new_generation_id, terminal_records

logger = logging.getLogger(__name__)

EncoderFactory = Callable[[Begin | None], ChunkEncoder]
"""Makes the encoder that closes a generation, from what that generation stated about itself."""

STOP_ATTEMPTS = 10
"""How often a stop tries to end a generation exactly at its tail before it ends it wherever it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A generation that this process has ended for its writer."""

    start: int
    """``seq_num`` of its claim."""
    tail: int
    """The position after its terminal fence."""
    begin: Begin | None
    facts: EndFacts


def stop(generation_id: str | None, encoder_for: EncoderFactory) -> Operation[Ending | None]:
    """End a running generation from outside its writer; ``None`` if nothing runs.

    Raises:
        GenerationActiveError: Another generation than ``generation_id`` runs.
        AppendOutcomeUnknownError: This may have ended it, and what would tell was trimmed since.
    """
    closing: Closing | None = None
    for attempt in range(STOP_ATTEMPTS + 1):
        head = yield from find_head()
        if head is None or not head.is_running:
            return None
        if generation_id is not None and head.token.generation_id != generation_id:
            raise GenerationActiveError(head.token.generation_id)
        if closing is None or closing.start != head.start:
            closing = Closing(head, encoder_for(head.begin), EndReason.STOPPED)
        if attempt < STOP_ATTEMPTS:
            ended = yield from closing.end_at_tail(head.tail)
        else:
            ended = yield from closing.end_anywhere()
        if ended is not None:
            return ended
    return None


def interrupt(head: Head, encoder_for: EncoderFactory, *, text: str) -> Operation[Ending | None]:
    """End the generation of an owner that ``head`` shows to be silent; ``None`` if it, or anybody, has acted since.

    Raises:
        AppendOutcomeUnknownError: This may have ended it, and what would tell was trimmed since.
    """
    closing = Closing(head, encoder_for(head.begin), EndReason.INTERRUPTED, text, cause=Cause.LEASE_EXPIRED)
    return (yield from closing.end_at_tail(head.tail))


class Closing:
    """The end of somebody else's generation: knows what its chunks left open."""

    def __init__(
        self, head: Head, encoder: ChunkEncoder, reason: EndReason, text: str = "", *, cause: Cause | None = None
    ) -> None:
        self.start = head.start
        self._head = head
        self._encoder = encoder
        self._decoder = Decoder(head.start, skips_messages=True)
        self._position = head.start
        self._facts = EndFacts(
            generation_id=head.token.generation_id or new_generation_id(),
            reason=reason,
            text=text,
            by=secrets.token_hex(6),
            cause=cause,
        )

    def end_at_tail(self, tail: int, following: Sequence[Record] = ()) -> Operation[Ending | None]:
        """End exactly at ``tail``, all chunks before it known; ``None`` if the stream has moved on."""
        yield from self._catch_up(tail)
        records = terminal_records(self._closing_chunks(), self._facts, back=tail - self.start)
        end = yield from self._append([*records, *following], at=tail)
        return None if end is None else self._ended(end - len(following))

    def end_anywhere(self, following: Sequence[Record] = ()) -> Operation[Ending | None]:
        """End wherever the stream is by now; ``None`` if another owner has it, or nobody.

        For an owner that writes so fast that its tail cannot be met: what it has opened since is not known, so nothing
        is closed but the answer as a whole.
        """
        chunks = self._closing_chunks()[-1:]
        records = [*terminal_records(chunks, self._facts, back=None), *following]
        end = yield from self._append(records, at=None, following=len(following))
        return None if end is None else self._ended(end - len(following))

    def _closing_chunks(self) -> list[str]:
        # A copy: the attempt may be refused, and what the encoder has observed must go on from here.
        return survive(self._closed_copy, [], logger, "format cannot close generation=%s", self._facts.generation_id)

    def _closed_copy(self) -> list[str]:
        encoder = copy.deepcopy(self._encoder)
        if self._facts.reason is EndReason.STOPPED:
            return encoder.stop()
        return encoder.interrupt(self._facts.text)

    def _observe(self, chunk: Chunk) -> None:
        """Have the format take note of a chunk; one at which it raises is not closed, but the generation ends."""
        text = "format cannot read a stored chunk generation=%s cursor=%d"
        survive(lambda: self._encoder.observe(chunk.body), None, logger, text, self._facts.generation_id, chunk.cursor)

    def _ended(self, tail: int) -> Ending:
        return Ending(start=self.start, tail=tail, begin=self._head.begin, facts=self._facts)

    def _catch_up(self, tail: int) -> Operation[None]:
        while self._position < tail:
            try:
                # Page by page: a long generation need not be in memory as a whole.
                records = yield from read_range(self._position, min(tail, self._position + MAX_BATCH_RECORDS))
            except RecordsTrimmedError as error:
                # What is gone cannot be closed; what is left can.
                self._position = max(error.first_seq_num, self._position + 1)
                continue
            if not records:
                return
            for entry in self._decoder.feed(records):
                if isinstance(entry, Chunk):
                    self._observe(entry)
            self._position += len(records)

    def _append(self, records: Sequence[Record], *, at: int | None, following: int = 0) -> Operation[int | None]:
        """Append under the owner's token; return the position after that, or ``None`` if it is not on the log."""
        uncertain = False
        while True:
            try:
                ack: AppendAck = yield Append(records, self._head.token.text, at)
                return ack.end
            except AppendOutcomeUnknownError:
                uncertain = True
            except (FencingTokenMismatchError, SeqNumMismatchError):
                return (yield from self._find(records, at, following)) if uncertain else None

    def _find(self, records: Sequence[Record], at: int | None, following: int) -> Operation[int | None]:
        if at is None:
            end = yield from self._find_end()
            return None if end is None else end + following
        return at + len(records) if (yield from landed(records, at)) else None

    def _find_end(self) -> Operation[int | None]:
        """Look for the end of the generation from where it was seen last; tell its position if it is ours.

        Not at the stream's head: the next generation may have begun by now.
        """
        decoder = Decoder(self._position, skips_messages=True)
        position = self._position
        while True:
            try:
                records = yield from read_range(position, position + MAX_BATCH_RECORDS)
            except RecordsTrimmedError as error:
                raise AppendOutcomeUnknownError("What would tell who ended the generation was trimmed.") from error
            if not records:
                return None
            for entry in decoder.feed(records):
                if isinstance(entry, Ended):
                    return entry.cursor if entry.facts.by == self._facts.by else None
            position += len(records)
