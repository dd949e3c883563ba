"""Which part of a stream a reader gets: found on the log before the reader opens, for every door alike."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import RecordsTrimmedError, StreamNotFoundError
from ..formats.base import ChunkFormat, GenerationFacts, StoredGeneration
from ..formats.conversation import continued_message
from ..protocol.head import Head, find_head
from ..protocol.layout import Begin, Chunk
from ..protocol.perform import REQUEST_PATIENCE_SECONDS, perform, read_patiently
from ..types import EndReason
from ..utils.log_once import survive
from ..utils.off_loop import off_loop
from .frames import Frame
from .history import History, fold_now, read_brought_messages, read_generations
from .pages import page_of
from .sharing import Loads, Outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """What a :class:`~resumable_stream.readers.reader.Reader` is to read."""

    cursor: int
    is_live: bool = False
    """Whether it never ends; otherwise it ends with the first terminal record after ``end_after``."""
    end_after: int = 0
    prelude: Sequence[Frame] = ()
    """What comes first, though the log does not have it."""
    head: Head | None = None
    """The generation that runs on the stream, if there is one: its owner may have died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """What is over of a session, for readers who begin with it."""

    cursor: int
    is_running: bool
    prelude: Sequence[Frame]


class ReadPlanner:
    """Finds what readers of one stream get, who are clients of one format."""

    def __init__(self, backend: BaseBackend, stream: str, format_: ChunkFormat, loads: Loads) -> None:
        self._backend = backend
        self._stream = stream
        self._format = format_
        self._loads = loads

    async def plan_newest(self, cursor: int | None, *, is_live: bool = False, resumes: bool = False) -> ReadPlan | None:
        """Find what is left of the newest generation; ``None`` where nothing runs and the reader has it all.

        Without a cursor that is the running generation from its start; one that has ended only if the format's clients
        want that always, or if the reader ``resumes`` and it has ended lately. With a cursor it is what follows, to the
        end of the newest generation, also when that has ended. A live reader never ends; without a cursor it begins
        with the running generation, or with what comes next.
        """
        head = await self._head()
        if head is None:
            return ReadPlan(cursor=0, is_live=True) if is_live else None
        prelude: Sequence[Frame] = ()
        if cursor is None:
            is_resumed = resumes and not is_live and await self._has_ended_lately(head)
            is_wanted = is_resumed or head.is_running or (self._format.dialect.replays_what_is_over and not is_live)
            if not is_wanted and not is_live:
                return None
            cursor = head.start if is_wanted else head.tail
            prelude = await self._continued(head) if is_resumed or head.is_running else ()
        elif cursor > head.tail:
            return None
        elif cursor < head.start and not await self._has(cursor):
            cursor = head.start
        if not is_live and self._is_over(head, cursor):
            return None
        end_after = head.start if head.is_running else min(head.content_end, head.tail - 1)
        return ReadPlan(cursor=cursor, is_live=is_live, end_after=end_after, prelude=prelude, head=head)

    async def plan_session(self, cursor: int | None, *, open_runs: Collection[str] = ()) -> ReadPlan:
        """Find what follows ``cursor``, for ever; without one that can be followed, a snapshot and what follows that.

        The snapshot holds the newest page of what is over, and its cursor is where the reading goes on: nothing is
        missing between the two, and nothing comes twice. Of ``open_runs``, which the client takes to be running, it is
        told those that are over: it would wait for their end.
        """
        if cursor is not None:
            head = await self._head()
            if head is not None and cursor <= head.tail and (cursor >= head.start or await self._has(cursor)):
                return ReadPlan(cursor=cursor, is_live=True, head=head)
        try:
            past = await self._past(frozenset(open_runs))
        except StreamNotFoundError:
            # A chat that the log has never seen may have a history elsewhere. Only who comes with a cursor holds what
            # the log once had, and has no more.
            prelude = _snapshot(self._format, History((), 0, 0), frozenset()) if cursor is not None else ()
            return ReadPlan(cursor=0, is_live=True, prelude=prelude)
        head = await self._head() if past.is_running else None
        return ReadPlan(cursor=past.cursor, is_live=True, prelude=past.prelude, head=head)

    async def _past(self, open_runs: frozenset[str]) -> _Past:
        """Read what is over, once for all who ask at the same time."""

        async def make() -> Outcome[_Past]:
            async with self._loads.large(self._stream) as reading:
                history = await read_generations(self._backend, self._stream, reading=reading)
                prelude = await off_loop(reading.size, _snapshot, self._format, history, open_runs)
                past = _Past(cursor=history.cursor, is_running=history.is_running, prelude=prelude)
                return Outcome(value=past, tail=history.tail)

        async def tail() -> int:
            return (await self._backend.tail(self._stream)).seq_num

        # The format lives as long as the work, so nothing else can have its id meanwhile.
        key = (ReadPlanner, self._backend.alias, self._stream, id(self._format), open_runs)
        return await self._loads.shared.share(key, make, tail)

    async def _head(self) -> Head | None:
        return await perform(find_head(), self._backend, self._stream)

    async def _has_ended_lately(self, head: Head) -> bool:
        """Return whether clients who resume may have seen the beginning of a generation and not its end.

        They make its message anew from its start, so it must be there from its start.
        """
        seconds = settings.resume_after_end_seconds
        is_late = head.silent_ms > seconds * 1000 or not seconds
        if head.is_running or is_late or not self._format.dialect.makes_answers_anew:
            return False
        return head.begin is not None and await self._has(head.start)

    async def _continued(self, head: Head) -> Sequence[Frame]:
        """Rebuild the message that a running generation continues, for clients that start from nothing."""
        begin = head.begin
        if begin is None or begin.message_id in ("", begin.generation_id):
            return ()
        brought = await read_brought_messages(self._backend, self._stream, head.start)
        message = continued_message(brought, begin.message_id)
        if message is None:
            return ()
        make = self._format.rebuild
        nothing: list[str] = []
        rebuilt = survive(lambda: make(message), nothing, logger, "cannot rebuild message=%.100r", begin.message_id)
        return [Frame(Chunk(0, body)) for body in rebuilt]

    def _is_over(self, head: Head, cursor: int) -> bool:
        """Tell whether nothing runs and a reader at ``cursor`` has it all."""
        if head.is_running:
            return False
        # Clients that take an event for the end want it even when they have every chunk. Its cursor lies beyond
        # content_end, though not always at the tail: somebody may have trimmed the stream since.
        has_end_event = self._format.end_event(EndReason.FINISHED, None) is not None
        return cursor >= head.tail or cursor >= head.content_end + has_end_event

    async def _has(self, cursor: int) -> bool:
        """Tell whether the log still has the records from ``cursor`` on."""
        try:
            await read_patiently(self._backend, self._stream, cursor, 1, patience_seconds=REQUEST_PATIENCE_SECONDS)
        except RecordsTrimmedError:
            return False
        return True


def _snapshot(format_: ChunkFormat, history: History, open_runs: Collection[str]) -> Sequence[Frame]:
    """Make the chunks that give a client the newest page of what is over, and how those of its runs have ended."""
    messages = page_of(format_, fold_now(format_, history.generations)).messages
    snapshot = survive(lambda: format_.snapshot(messages), None, logger, "no snapshot format=%s", format_.name)
    if snapshot is None:
        return ()
    ended = [one for one in history.generations if one.end is not None and run_id_of(one) in open_runs]
    words = (last_word(format_, one, one.chunks[-1:]) for one in ended)
    chunks = [Chunk(history.cursor, snapshot), *(Chunk(0, word) for word in words if word is not None)]
    # Encoded once, however many readers get them.
    return [Frame(chunk) for chunk in chunks]


def run_id_of(generation: Begin | StoredGeneration) -> str:
    """Return the id by which clients know a generation: their own, or ours if they gave none."""
    return generation.run_id or generation.generation_id or ""


def last_word(format_: ChunkFormat, generation: Begin | StoredGeneration, last: Sequence[str]) -> str | None:
    """Return the chunk by which a run has ended, which is its ``last`` one.

    Another program may have left the run without one; then it is made. ``None`` if the format has no such chunk.
    """
    facts = GenerationFacts(
        generation_id=generation.generation_id or "",
        message_id=generation.message_id or "",
        run_id=run_id_of(generation),
    )

    def closing() -> list[str]:
        encoder = format_.encoder(facts)
        for chunk in last:
            encoder.observe(chunk)
        return encoder.finish()

    # Nothing is left to say after a last word.
    nothing: list[str] = []
    words = [*last, *survive(closing, nothing, logger, "no last word format=%s run=%.100r", format_.name, facts.run_id)]
    return words[-1] if words else None
