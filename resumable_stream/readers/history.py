"""What a stream holds, read back as generations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..backends.base import BaseBackend
from ..backends.followers import characters_of
from ..exceptions import RecordsMissingError, RecordsTrimmedError
from ..formats.base import ChunkFormat, StoredGeneration
from ..protocol.layout import Began, Chunk, Claimed, Decoder, Ended, Entry, UserMessage
from ..protocol.perform import REQUEST_PATIENCE_SECONDS, read_patiently
from ..records import MAX_BATCH_RECORDS, ReadBatch, SequencedRecord
from ..types import EndReason, Message
from ..utils.log_once import survive
from ..utils.off_loop import SMALL_BYTES, off_loop, size_of
from .sharing import LargeRead

OPENING_RECORDS = 10
"""Enough for what stands before a generation's first chunk, unless a message is larger than an append."""
logger = logging.getLogger(__name__)

CHUNK_BYTES = 100
"""What a chunk counts for beside its text, where work is estimated: reading a short one takes as long."""


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
        for entry in await _entries(decoder, batch.records):
            if isinstance(entry, (Chunk, Ended)):
                return messages
            if isinstance(entry, UserMessage):
                messages.append(entry.message)
        if not batch.records:
            return messages
        # A chat that was stored as a whole has more.
        position, limit = batch.records[-1].seq_num + 1, MAX_BATCH_RECORDS


class History(NamedTuple):
    """Generations of a stream."""

    generations: Sequence[StoredGeneration]
    cursor: int
    """After the last one that is over. The last one may still be running: it is then that of its claim, from which a
    reader gets all of it."""
    tail: int
    """After the last record that was looked at."""

    @property
    def is_running(self) -> bool:
        """Return whether the newest generation had not ended."""
        return bool(self.generations) and self.generations[-1].end is None


NO_HISTORY = History((), 0, 0)


async def read_generations(
    backend: BaseBackend, stream: str, *, start: int = 0, count: int | None = None, reading: LargeRead | None = None
) -> History:
    """Read up to ``count`` generations from ``start`` on; what retention has taken is left out.

    ``reading`` is told how much is read, and makes a large chat wait for its place.

    Raises:
        StreamNotFoundError: There is no such stream.
        RecordsMissingError: The log has a hole.
    """
    found: list[_Building] = []
    decoder = Decoder(start)
    position = start
    is_cut = False
    while True:
        try:
            batch = await _read(backend, stream, position, reading)
        except RecordsMissingError:
            raise
        except RecordsTrimmedError as error:
            if error.first_seq_num <= position:
                raise  # Another try would meet the same.
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
        for entry in await _entries(decoder, batch.records):
            if isinstance(entry, Claimed) or not found or is_cut:
                is_cut = False
                found.append(_Building(entry.cursor - 1))
            found[-1].add(entry)
            if isinstance(entry, Ended) and count is not None and len(found) >= count:
                return History(_built(found), entry.cursor, position)
    is_running = bool(found) and found[-1].end is None
    return History(_built(found), found[-1].start if is_running else decoder.boundary, position)


async def _entries(decoder: Decoder, records: Sequence[SequencedRecord]) -> list[Entry]:
    return await off_loop(decoder.size_of_messages(records), decoder.feed, records)


async def _read(backend: BaseBackend, stream: str, position: int, reading: LargeRead | None) -> ReadBatch:
    batch = await read_patiently(backend, stream, position, patience_seconds=REQUEST_PATIENCE_SECONDS)
    if reading is not None:
        # Chunks are bodies, and the messages that generations have brought stand in headers.
        await reading.add(characters_of(batch.records) + CHUNK_BYTES * len(batch.records))
    return batch


def _built(found: list[_Building]) -> list[StoredGeneration]:
    return [building.built(is_last=building is found[-1]) for building in found]


async def fold_history(
    format_: ChunkFormat, generations: Sequence[StoredGeneration], *, with_running: bool = False
) -> list[Message]:
    """Fold what a stream holds, by default without the answer of a generation that is still running."""
    return await off_loop(weight_of(generations), fold_now, format_, generations, with_running=with_running)


def fold_now(
    format_: ChunkFormat, generations: Sequence[StoredGeneration], *, with_running: bool = False
) -> list[Message]:
    """Do what :func:`fold_history` does, in the calling thread."""
    first = next((at for at in reversed(range(len(generations))) if generations[at].is_whole), 0)
    settled = [one if with_running or one.end is not None else replace(one, chunks=()) for one in generations[first:]]
    return fold_safely(format_, settled)


async def fold_answer(format_: ChunkFormat, generation: StoredGeneration) -> Message | None:
    """Fold one generation's answer; ``None`` also if its format cannot."""
    return await off_loop(weight_of([generation]), _answer_safely, format_, generation)


def weight_of(generations: Sequence[StoredGeneration]) -> int:
    """Estimate, in bytes, how much there is to fold; counts no further than what is large anyway."""
    weight = 0
    for one in generations:
        weight += size_of(list(one.user_messages))
        for chunk in one.chunks:
            weight += len(chunk) + CHUNK_BYTES
            if weight > SMALL_BYTES:
                return weight
    return weight


def fold_safely(format_: ChunkFormat, generations: Sequence[StoredGeneration]) -> list[Message]:
    """Fold generations; where the format raises, without the answers at which it does."""
    messages = survive(lambda: format_.fold(generations), None, logger, "cannot fold format=%s", format_.name)
    if messages is not None:
        return messages
    readable = [one if _is_readable(format_, one) else replace(one, chunks=()) for one in generations]
    return survive(lambda: format_.fold(readable), [], logger, "cannot fold users' messages format=%s", format_.name)


def _is_readable(format_: ChunkFormat, generation: StoredGeneration) -> bool:
    unreadable: Message = {}
    return _answer_safely(format_, generation, unreadable) is not unreadable


def _answer_safely(
    format_: ChunkFormat, generation: StoredGeneration, default: Message | None = None
) -> Message | None:
    text, name = "cannot fold answer format=%s generation=%s", generation.generation_id
    return survive(lambda: format_.fold_answer(generation), default, logger, text, format_.name, name)
