"""Following a log from inside the process that writes it, at next to no cost.

Whoever commits an append hands its records to the mailboxes of that stream's followers, so that a follower which keeps
up never reads anything again. A mailbox is bounded: a follower that lags further behind finds it emptied, and goes back
to reading the log at its own pace. What comes from elsewhere (another process) is only announced, and then read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from threading import Lock
from typing import NamedTuple

from ..records import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, FollowBatch, Record, SequencedRecord
from ..utils.wake_up import WakeUp

MAILBOX_RECORDS = MAX_BATCH_RECORDS
MAILBOX_CHARACTERS = MAX_BATCH_BYTES
"""Bounds of what waits for one follower; one append always fits."""


class RecordPage(NamedTuple):
    """What a backend reads for a follower."""

    stream_id: int
    """Differs between a stream and its successor of the same name."""
    records: tuple[SequencedRecord, ...]
    """Without a gap from the position that was asked for."""
    tail: int


class Committed(NamedTuple):
    """An append that has just become durable."""

    stream: str
    stream_id: int
    records: tuple[SequencedRecord, ...]
    characters: int


class StreamGrowth(NamedTuple):
    """A stream's new tail, without the records."""

    stream: str
    stream_id: int
    tail: int


class Mailbox:
    """What one follower has not taken yet. Touched only on the follower's own event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stream_id: int | None = None
        """``None`` until the first page told it."""
        self.target = 0
        """The highest tail heard of."""
        self._must_look = True
        self._batches: deque[Committed] = deque()
        self._records = 0
        self._characters = 0
        self._news = WakeUp()

    def deliver(self, batch: Committed) -> None:
        """Take in an append; throw everything away if the follower lags too far behind."""
        if batch.stream_id != self.stream_id:
            self.look()
            return
        self.target = max(self.target, batch.records[-1].seq_num + 1)
        self._records += len(batch.records)
        self._characters += batch.characters
        if self._batches and (self._records > MAILBOX_RECORDS or self._characters > MAILBOX_CHARACTERS):
            self._clear()
        else:
            self._batches.append(batch)
        self._news.send()

    def announce(self, growth: StreamGrowth) -> None:
        """Take note of a tail whose records have to be read."""
        if growth.stream_id != self.stream_id:
            self.look()
        elif growth.tail > self.target:
            self.target = growth.tail
            self._news.send()

    def look(self) -> None:
        """Make the follower read, whatever it has heard of."""
        self._must_look = True
        self._news.send()

    def take(self, position: int) -> tuple[SequencedRecord, ...]:
        """Hand over what continues ``position`` without a gap; empty if the log has to be read, or waited for."""
        if not self._batches:
            return ()
        if len(self._batches) == 1 and self._batches[0].records[0].seq_num == position:
            records = self._batches[0].records
            self._clear()
            return records
        batches = [batch.records for batch in self._batches if batch.records[-1].seq_num >= position]
        self._clear()
        records = batches[0] if len(batches) == 1 else tuple(record for batch in batches for record in batch)
        if not records or records[0].seq_num > position or records[-1].seq_num - records[0].seq_num >= len(records):
            return ()  # Somebody else's append lies in between; the target still tells that there is more.
        return records[position - records[0].seq_num :]

    def has_unread(self, position: int) -> bool:
        """Tell whether the log has to be read; a demand to look counts once."""
        must_look, self._must_look = self._must_look, False
        return must_look or position < self.target

    def saw(self, page: RecordPage) -> None:
        """Take note of what a page told about the stream."""
        self.stream_id = page.stream_id
        self.target = max(self.target, page.tail)

    async def wait(self) -> None:
        """Wait until something was delivered, announced or demanded."""
        await self._news.wait()

    def _clear(self) -> None:
        self._batches.clear()
        self._records = self._characters = 0


ReadPage = Callable[[str, int, int | None], Awaitable[RecordPage]]
"""``(stream, position, stream_id)`` -> the next page; waits for nothing. Raises what a follow raises, also
:exc:`StreamNotFoundError` where the stream no longer has that ``stream_id``."""


class Followers:
    """The followers of one log in this process, by stream. Any thread may ask; each loop keeps its own mailboxes."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everybody: a forked child has none of its parent's followers."""
        # Tuples that are replaced, never changed, so that a committing thread may look without the lock.
        self._mailboxes: dict[str, tuple[Mailbox, ...]] = {}
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._mailboxes)

    def __contains__(self, stream: str) -> bool:
        return stream in self._mailboxes

    def followed(self) -> dict[str, set[int | None]]:
        """Return the followed streams, each with the ids its followers know it by."""
        with self._lock:
            return {name: {mailbox.stream_id for mailbox in found} for name, found in self._mailboxes.items()}

    async def follow(self, stream: str, start: int, read_page: ReadPage) -> AsyncGenerator[FollowBatch, None]:
        """Yield what a backend's ``follow`` yields."""
        mailbox = self._add(stream)
        position = start
        caught_up = False
        try:
            while True:
                records = mailbox.take(position)
                if not records and not mailbox.has_unread(position):
                    await mailbox.wait()
                    continue
                if not records:
                    page = await read_page(stream, position, mailbox.stream_id)
                    mailbox.saw(page)
                    records = page.records
                position += len(records)
                was_caught_up, caught_up = caught_up, position >= mailbox.target
                if records or caught_up > was_caught_up:
                    yield FollowBatch(records=records, caught_up=caught_up)
        finally:
            self._remove(stream, mailbox)

    def deliver(self, batches: Iterable[Committed]) -> None:
        """Hand appends over, from any thread, in the order in which they were committed."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Mailbox, Committed]]] = {}
        for batch in batches:
            for mailbox in self._mailboxes.get(batch.stream, ()):
                by_loop.setdefault(mailbox.loop, []).append((mailbox, batch))
        for loop, deliveries in by_loop.items():
            call_soon(loop, _deliver, deliveries)

    def announce(self, growths: Iterable[StreamGrowth]) -> None:
        """Tell, from any thread, that streams have grown."""
        for growth in growths:
            for mailbox in self._mailboxes.get(growth.stream, ()):
                call_soon(mailbox.loop, mailbox.announce, growth)

    def look(self, streams: Iterable[str] | None = None) -> None:
        """Make the followers of these streams, or all, read the log again; from any thread."""
        with self._lock:
            names = list(self._mailboxes) if streams is None else streams
            found = [mailbox for name in names for mailbox in self._mailboxes.get(name, ())]
        for mailbox in found:
            call_soon(mailbox.loop, mailbox.look)

    def _add(self, stream: str) -> Mailbox:
        mailbox = Mailbox()
        with self._lock:
            self._mailboxes[stream] = (*self._mailboxes.get(stream, ()), mailbox)
        return mailbox

    def _remove(self, stream: str, mailbox: Mailbox) -> None:
        with self._lock:
            others = tuple(other for other in self._mailboxes.get(stream, ()) if other is not mailbox)
            if others:
                self._mailboxes[stream] = others
            else:
                self._mailboxes.pop(stream, None)


def characters_of(records: Iterable[Record | SequencedRecord]) -> int:
    """Count what the records hold in memory, roughly."""
    count = 0
    for record in records:
        count += len(record.body)
        for name, value in record.headers:
            count += len(name) + len(value)
    return count


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    """Schedule ``callback`` on ``loop`` from any thread."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # A closed loop: whoever waited there is gone with it.
        if not loop.is_closed():
            raise


def _deliver(deliveries: list[tuple[Mailbox, Committed]]) -> None:
    for mailbox, batch in deliveries:
        mailbox.deliver(batch)
