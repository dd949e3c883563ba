"""What a stream holds, read back as generations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .backends.base import BaseBackend
from .driver import REQUEST_PATIENCE_SECONDS, read_patiently
from .exceptions import RecordsTrimmedError
from .formats.base import ChunkFormat, EndReason, Message, StoredGeneration
from .layout import Began, Chunk, Claimed, Decoder, Ended, Entry, UserMessage
from .records import MAX_BATCH_RECORDS

OPENING_RECORDS = 10
"""Enough for what stands before a generation's first chunk, unless a message is larger than an append."""
FOLD_AT_ONCE_CHUNKS = 2000
"""Chunks that are folded in the event loop; more would hold everybody up for longer than the way to a thread takes."""


@dataclass(slots=True)
class _Building:
    start: int
    generation_id: str | None = None
    message_id: str | None = None
    run_id: str | None = None
    user_messages: list[Message] = field(default_factory=list)
    whole: int = 0
    told: set[str] = field(default_factory=set)
    chunks: list[str] = field(default_factory=list)
    end: EndReason | None = None

    def add(self, entry: Entry) -> None:
        if isinstance(entry, Chunk):
            self.chunks.append(entry.body)
        elif isinstance(entry, UserMessage):
            self.user_messages.append(entry.message)
            if entry.is_told:
                self.told.add(str(entry.message.get("id")))
        elif isinstance(entry, Began):
            self.whole = entry.begin.whole
            self.message_id = entry.begin.message_id or None
            self.run_id = entry.begin.run_id or None
        elif isinstance(entry, Claimed):
            self.generation_id = entry.token.generation_id
        else:
            self.end = entry.facts.reason

    def built(self, *, is_last: bool) -> StoredGeneration:
        # A generation without an end that another one follows was cut short by a program that writes no such end.
        end = self.end or (None if is_last else EndReason.INTERRUPTED)
        return StoredGeneration(
            generation_id=self.generation_id,
            message_id=self.message_id,
            run_id=self.run_id,
            user_messages=self.user_messages,
            # One whose writer died before all of them were stored replaces nothing.
            is_whole=0 < self.whole <= len(self.user_messages),
            told=frozenset(self.told),
            chunks=self.chunks,
            end=end,
        )


async def read_brought_messages(backend: BaseBackend, stream: str, start: int) -> list[Message]:
    """Read the messages that were stored with the generation whose claim is at ``start``.

    They stand before its first chunk, so this costs nothing that grows with the answer.
    """
    messages: list[Message] = []
    decoder = Decoder(start)
    position, limit = start, OPENING_RECORDS
    while True:
        batch = await read_patiently(backend, stream, position, limit, patience_seconds=REQUEST_PATIENCE_SECONDS)
        for entry in decoder.feed(batch.records):
            if isinstance(entry, (Chunk, Ended)):
                return messages
            if isinstance(entry, UserMessage):
                messages.append(entry.message)
        if not batch.records:
            return messages
        # A chat that was stored as a whole has more.
        position, limit = batch.records[-1].seq_num + 1, MAX_BATCH_RECORDS


async def read_generations(
    backend: BaseBackend, stream: str, *, start: int = 0, count: int | None = None
) -> tuple[list[StoredGeneration], int]:
    """Read up to ``count`` generations from ``start`` on, and the cursor after the last one that is over.

    The last one may still be running: the cursor is then that of its claim, from which a reader gets all of it. What
    retention has taken is left out.

    Raises:
        StreamNotFoundError: There is no such stream.
    """
    found: list[_Building] = []
    decoder = Decoder(start)
    position = start
    is_cut = False
    while True:
        try:
            batch = await read_patiently(backend, stream, position, patience_seconds=REQUEST_PATIENCE_SECONDS)
        except RecordsTrimmedError as error:
            position = error.first_seq_num
            decoder = Decoder(position)
            # What comes next need not belong to the generation whose rest is gone.
            is_cut = True
            if found and found[-1].end is None:
                found.pop()
            continue
        if not batch.records:
            break
        position = batch.records[-1].seq_num + 1
        for entry in decoder.feed(batch.records):
            if isinstance(entry, Claimed) or not found or is_cut:
                is_cut = False
                found.append(_Building(entry.cursor - 1))
            found[-1].add(entry)
            if isinstance(entry, Ended) and count is not None and len(found) >= count:
                return _built(found), entry.cursor
    is_running = bool(found) and found[-1].end is None
    return _built(found), found[-1].start if is_running else decoder.boundary


def _built(found: list[_Building]) -> list[StoredGeneration]:
    return [building.built(is_last=building is found[-1]) for building in found]


async def fold_history(
    format_: ChunkFormat, generations: Sequence[StoredGeneration], *, with_running: bool = False
) -> list[Message]:
    """Fold what a stream holds, by default without the answer of a generation that is still running."""
    first = next((at for at in reversed(range(len(generations))) if generations[at].is_whole), 0)
    settled = [one if with_running or one.end is not None else replace(one, chunks=()) for one in generations[first:]]
    if sum(len(one.chunks) for one in settled) <= FOLD_AT_ONCE_CHUNKS:
        return format_.fold(settled)
    return await asyncio.to_thread(format_.fold, settled)
