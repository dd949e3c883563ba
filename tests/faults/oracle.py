"""Judges the history of a run: what the log holds against what sources yielded and what readers saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from resumable_stream.protocol.layout import Chunk, Claimed, Decoder, Ended, Entry
from resumable_stream.records import SequencedRecord

from .attempts import Attempt, Ending
from .client import Reading
from .scenario import Scenario

LOST, TWICE, WITHOUT_TERMINAL, OTHER = "lost", "twice", "without terminal", "other"


@dataclass(slots=True)
class Generation:
    """A generation as the log has it."""

    id: str | None
    start: int
    chunks: list[Chunk] = field(default_factory=list)
    end: Ended | None = None

    @property
    def texts(self) -> list[str]:
        """What its source yielded, as far as it got here."""
        return [text for chunk in self.chunks if (text := text_of(chunk.body))]


def text_of(body: str) -> str:
    """Return the text of a chunk; empty if it has none."""
    chunk = json.loads(body)
    if isinstance(chunk, str):
        return chunk
    return str(chunk["delta"]) if chunk["type"] == "text-delta" else ""


class Oracle:
    """Finds what must not be. :attr:`findings` says how often, :attr:`complaints` what."""

    def __init__(self, scenario: Scenario) -> None:
        self.findings: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._scenario = scenario
        self._generations: list[Generation] = []
        self._running: Generation | None = None
        self._unobserved_to = 0

    def judge(self) -> None:
        """Look at everything."""
        self._judge_log(self._scenario.records)
        for attempt in self._scenario.attempts:
            self._judge_attempt(attempt)
        for reading in self._scenario.readings:
            self._judge_reading(reading)
        if self._scenario.mode != "single-use":
            self._judge_last(self._scenario.last)

    def tally(self) -> Counter[str]:
        """Count what there was to judge."""
        counts = Counter(one.end.facts.reason.value for one in self._generations if one.end is not None)
        counts["runs not wholly observed"] = int(self.is_partial)
        counts["chunks"] = sum(len(one.chunks) for one in self._generations)
        counts["readers"] = len(self._scenario.readings)
        counts["connections"] = sum(reading.connections for reading in self._scenario.readings)
        return counts

    def complain(self, kind: str, what: str) -> None:
        """Note a finding."""
        self.findings[kind] += 1
        self.complaints.append(f"{kind}: {what}")

    def _judge_log(self, records: Sequence[SequencedRecord]) -> None:
        """Read the log as generations: each a claim, chunks and one terminal, and nothing between them."""
        for entry in self._entries(records):
            self._take(entry)
        if self._running is not None:
            self.complain(WITHOUT_TERMINAL, f"generation {self._running.id} has no end")
        known = {attempt.id for attempt in self._scenario.attempts}
        for id_, count in Counter(generation.id for generation in self._generations).items():
            if count > 1 or id_ not in known:
                self.complain(TWICE, f"generation {id_} stands {count} times on the log")

    def _take(self, entry: Entry | None) -> None:
        running = self._running
        if entry is None:
            if running is not None:
                self._generations.remove(running)
                self._unobserved_to = max(self._unobserved_to, running.start + 1)
            self._running = None
        elif isinstance(entry, Claimed):
            if running is not None:
                self.complain(WITHOUT_TERMINAL, f"generation {running.id} was followed by another")
            self._running = Generation(entry.token.generation_id, entry.cursor - 1)
            self._generations.append(self._running)
        elif running is None:
            self.complain(OTHER, f"{type(entry).__name__} at {entry.cursor} belongs to no generation")
        elif isinstance(entry, Chunk):
            running.chunks.append(entry)
        elif isinstance(entry, Ended):
            if entry.facts.generation_id != running.id:
                self.complain(OTHER, f"{running.id} was ended under the name {entry.facts.generation_id}")
            running.end, self._running = entry, None

    def _entries(self, records: Sequence[SequencedRecord]) -> Iterator[Entry | None]:
        """Yield what the records mean, and ``None`` where some are missing.

        None may be missing but those that a claim in shared mode trims, itself the last of them, before the witness
        has seen them. Its own record aside, that is rare; what it concerns cannot be judged.
        """
        position = 0
        decoder = Decoder(0)
        for record in records:
            if record.seq_num != position:
                if self._scenario.mode != "shared" or not record.is_fence:
                    self.complain(OTHER, f"the log has a gap from {position} to {record.seq_num}")
                if record.seq_num - position > 1:
                    self._unobserved_to = record.seq_num
                decoder = Decoder(record.seq_num)
                yield None
            position = record.seq_num + 1
            yield from decoder.feed([record])

    @property
    def is_partial(self) -> bool:
        """Whether a trim was faster than the witness."""
        return self._unobserved_to > 0

    def _judge_attempt(self, attempt: Attempt) -> None:
        generation = next((one for one in self._generations if one.id == attempt.id), None)
        if attempt.opened > 1:
            self.complain(TWICE, f"the source of {attempt.id} was run {attempt.opened} times")
        if attempt.opened != attempt.closed:
            self.complain(OTHER, f"the source of {attempt.id} still runs")
        if len(attempt.ends_told) > 1:
            self.complain(TWICE, f"on_end was called for {attempt.id} with {attempt.ends_told}")
        if generation is None:
            if (attempt.opened or attempt.is_granted) and not self.is_partial:
                self.complain(LOST, f"generation {attempt.id} is not on the log")
        elif generation.end is not None:
            self._judge_content(attempt, generation, generation.end.facts.reason.value)

    def _judge_content(self, attempt: Attempt, generation: Generation, reason: str) -> None:
        texts = generation.texts
        if len(set(texts)) < len(texts):
            self.complain(TWICE, f"{attempt.id} has chunks twice: {_numbers(texts)}")
        elif texts != attempt.yielded[: len(texts)]:
            self.complain(LOST, f"{attempt.id} has a hole or is out of order: {_numbers(texts)}")
        if attempt.ends_told not in ([], [reason]):
            self.complain(OTHER, f"on_end was told {attempt.ends_told}, the log says {reason}")
        least = 0
        if reason in ("finished", "failed"):
            least = len(attempt.yielded)
            expected = Ending.FINISH if reason == "finished" else Ending.FAIL
            if attempt.ending is not expected:
                self.complain(OTHER, f"{attempt.id} ended as {reason} although it was to {attempt.ending.value}")
        elif reason == "stopped" and attempt.was_stopped_here and attempt.ends_told and not attempt.may_be_replaced:
            least = attempt.accepted
        if len(texts) < least:
            self.complain(LOST, f"{attempt.id} ended as {reason} with {len(texts)} of {least} chunks")

    def _judge_reading(self, reading: Reading) -> None:
        """Compare what a reader gathered with the part of the log that it read."""
        if not reading.frames or reading.frames[0].cursor <= self._unobserved_to:
            return
        first, last = reading.frames[0].cursor, reading.frames[-1].cursor
        seen = [(frame.cursor, frame.body) for frame in reading.chunks]
        on_log = [
            (chunk.cursor, chunk.body)
            for generation in self._generations
            for chunk in generation.chunks
            if first <= chunk.cursor <= last and self._could_see(generation, chunk, seen)
        ]
        for cursor, count in Counter(cursor for cursor, _ in seen).items():
            if count > 1:
                self.complain(TWICE, f"a reader got {cursor} {count} times")
        if missing := [cursor for cursor, body in on_log if (cursor, body) not in set(seen)]:
            self.complain(LOST, f"a reader did not get {missing[:5]} of {first} to {last}")
        elif seen != on_log:
            self.complain(OTHER, "a reader got what is not on the log, or not in its order")
        self._judge_reading_start(reading, first)
        if reading.clean_end or reading.told_all:
            self._judge_reading_end(last)

    def _could_see(self, generation: Generation, chunk: Chunk, seen: list[tuple[int, str]]) -> bool:
        """In shared mode a start takes the rest of older answers away from readers who had not got there."""
        if self._scenario.mode != "shared" or generation is self._generations[-1]:
            return True
        return any(cursor >= chunk.cursor for cursor, _ in seen if self._at(cursor) is generation)

    def _at(self, cursor: int) -> Generation | None:
        return next((one for one in reversed(self._generations) if one.start < cursor), None)

    def _judge_reading_start(self, reading: Reading, first: int) -> None:
        """Whoever comes without a cursor gets a generation from its first chunk on."""
        generation = self._at(first)
        starts = generation is not None and (not generation.chunks or generation.chunks[0].cursor >= first)
        if not starts:
            self.complain(LOST, f"a reader without a cursor began at {first}")

    def _judge_reading_end(self, last: int) -> None:
        """Whoever was told that this is the end has everything of a generation that has ended."""
        generation = self._at(last)
        if generation is None or generation.end is None:
            self.complain(WITHOUT_TERMINAL, f"a reader was told that the answer ends at {last}")
        elif generation.chunks and last < generation.chunks[-1].cursor:
            self.complain(LOST, f"a reader was told that {last} is all, and there is {generation.chunks[-1].cursor}")

    def _judge_last(self, last: Attempt | None) -> None:
        if last is None or not self._generations or self._generations[-1].id != last.id:
            self.complain(OTHER, "the last start did not work")


def _numbers(texts: Sequence[str]) -> list[str]:
    return [text.split(" ")[1] for text in texts]
