"""Runs: generations as clients know them who choose an id for each one themselves.

A run id alone does not tell the chat that it belongs to, and some clients send nothing else when they come back. So a
run that may be asked for in that way leaves a note: a stream of its own, ``run/<owner>/<run id>``, whose one record is
the chat's id. To look it up costs one read, however many there are. A start that is refused leaves none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..backends.base import BaseBackend
from ..exceptions import (
    AppendOutcomeUnknownError,
    CursorLostError,
    GenerationNotFoundError,
    RecordsTrimmedError,
    ResumableStreamError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from ..formats.base import ChunkFormat
from ..protocol.effects import Append, Operation
from ..protocol.head import Head, find_head
from ..protocol.layout import Began, Begin, Chunk, Decoder, Ended, back_of
from ..protocol.perform import REQUEST_PATIENCE_SECONDS, perform, read_patiently
from ..records import MAX_BATCH_RECORDS, Record, SequencedRecord
from .frames import Frame
from .plans import ReadPlan, last_word, run_id_of

logger = logging.getLogger(__name__)

NO_RUN_TEXT = "There is no such run, or another one has begun since."


async def note_run(backend: BaseBackend, owner: str, run_id: str, chat_id: str) -> None:
    """Note which of the owner's chats a run belongs to; the first note stands.

    Raises:
        BackendUnavailableError: The log cannot be reached.
    """
    await perform(_note(Record(chat_id)), backend, _note_name(owner, run_id))


def _note(record: Record) -> Operation[None]:
    while True:
        try:
            yield Append([record], None, 0)
        except SeqNumMismatchError:
            return
        except AppendOutcomeUnknownError:
            # Once more: a note that is there already is refused.
            continue
        return


async def note_started(backend: BaseBackend, owner: str, run_id: str, chat_id: str) -> None:
    """Note the run of a start that was granted. Where the log refuses the note, the answer goes on all the same.

    Its readers then have to name the chat as well, until the client sends the same start again.
    """
    try:
        await note_run(backend, owner, run_id, chat_id)
    except ResumableStreamError:
        logger.warning("a run cannot be found by its id alone run=%r chat=%r", run_id, chat_id, exc_info=True)


async def find_run(backend: BaseBackend, owner: str, run_id: str) -> str | None:
    """Return the id of the chat that the owner's run belongs to; ``None`` if nothing is known of it."""
    name = _note_name(owner, run_id)
    try:
        batch = await read_patiently(backend, name, 0, 1, patience_seconds=REQUEST_PATIENCE_SECONDS)
    except (StreamNotFoundError, RecordsTrimmedError):
        return None
    return batch.records[0].body if batch.records else None


def _note_name(owner: str, run_id: str) -> str:
    return f"run/{owner}/{run_id}"


class Runs:
    """Finds what readers of one run get, in the stream of its chat, who are clients of one format."""

    def __init__(self, backend: BaseBackend, stream: str, format_: ChunkFormat) -> None:
        self._backend = backend
        self._stream = stream
        self._format = format_

    async def passage(self, run_id: str, cursor: int | None) -> ReadPlan:
        """Find the run from its start, or what follows ``cursor`` in it, to its end.

        Only the stream's newest run can be read from its start. Who has every chunk is told the last one again,
        without an id: a body that ends without a word on how the run ended looks torn to these clients.

        Raises:
            GenerationNotFoundError: It is not the newest run.
            CursorLostError: The cursor lies outside of the run, or what follows it is gone.
        """
        head = await perform(find_head(), self._backend, self._stream)
        if head is not None and head.begin is not None and run_id_of(head.begin) == run_id:
            return await self._newest(head, head.begin, cursor)
        if cursor is None:
            raise GenerationNotFoundError(NO_RUN_TEXT)
        if head is None or not 0 < cursor <= head.start:
            raise CursorLostError
        return await self._past(run_id, cursor)

    async def _newest(self, head: Head, begin: Begin, cursor: int | None) -> ReadPlan:
        if cursor is None or cursor <= head.start:
            return ReadPlan(cursor=head.start, end_after=head.start, head=head)
        if cursor > head.tail:
            raise CursorLostError
        if head.is_running or cursor < head.content_end:
            return ReadPlan(cursor=cursor, end_after=cursor, head=head)
        return await self._told_again(begin, head.content_end)

    async def _past(self, run_id: str, cursor: int) -> ReadPlan:
        """Find the rest of a run that others have followed, for a reader who was away meanwhile."""
        try:
            records = await self._read(cursor - 1)
            begin = await self._begin_of(records[1:])
        except RecordsTrimmedError as error:
            raise CursorLostError from error
        if begin is None or run_id_of(begin) != run_id:
            raise CursorLostError
        following = next((entry for entry in Decoder(cursor, skips_messages=True).feed(records[1:])), None)
        if isinstance(following, Ended):
            return await self._told_again(begin, cursor)
        return ReadPlan(cursor=cursor, end_after=cursor)

    async def _begin_of(self, records: Sequence[SequencedRecord]) -> Begin | None:
        """Read what the generation that ``records`` begin in said of itself; ``None`` if that cannot be told."""
        for record in records:
            back = back_of(record)
            if back is not None and back <= record.seq_num:
                entries = Decoder(0, skips_messages=True).feed(await self._read(record.seq_num - back, 2))
                return next((entry.begin for entry in entries if isinstance(entry, Began)), None)
            if record.is_fence:
                return None
        return None

    async def _told_again(self, begin: Begin, cursor: int) -> ReadPlan:
        """Repeat the last chunk for a reader at ``cursor``, where the chunks of a run end."""
        entries = Decoder(cursor - 1, skips_messages=True).feed(await self._read(cursor - 1, 1))
        body = last_word(self._format, begin, [entry.body for entry in entries if isinstance(entry, Chunk)])
        return ReadPlan(cursor=cursor, end_after=cursor, prelude=[Frame(Chunk(0, body))] if body is not None else [])

    async def _read(self, start: int, limit: int = MAX_BATCH_RECORDS) -> Sequence[SequencedRecord]:
        batch = await read_patiently(
            self._backend, self._stream, start, limit, patience_seconds=REQUEST_PATIENCE_SECONDS
        )
        return batch.records
