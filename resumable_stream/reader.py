"""A reader of one stream: catches up from the log at its own pace, then follows with the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from .backends.base import BaseBackend
from .driver import read_patiently
from .exceptions import StreamNotFoundError
from .hub import RETRY_SECONDS, Frame, Guard, Hub, SharedFollow
from .layout import Decoder, Ended
from .records import MAX_BATCH_RECORDS, SequencedRecord

FIRST_PAGE_RECORDS = 100
"""A small first page: the first byte of a long replay comes as soon as that of a short one."""
PAGE_RECORDS = MAX_BATCH_RECORDS // 2
PAGE_CHARACTERS = 128 * 1024
"""About what a page holds. A reader who stalls holds one page: the texts, at up to 4 bytes a character, and their
frames."""


class Reader:
    """Yields a stream's frames from a cursor on, each exactly once and in order.

    With ``is_live`` it goes on for ever, otherwise it ends with the first terminal record after ``end_after``.
    """

    def __init__(
        self,
        hub: Hub,
        backend: BaseBackend,
        stream: str,
        cursor: int,
        *,
        is_live: bool = False,
        end_after: int = 0,
        guard: Guard | None = None,
    ) -> None:
        self.cursor = cursor
        """Where a reader that has what was yielded so far goes on."""
        self.has_ended = False
        """Whether the terminal record was among what was yielded last."""
        self._hub = hub
        self._backend = backend
        self._stream = stream
        self._is_live = is_live
        self._end_after = end_after
        self._guard = guard
        self._position = cursor
        """Up to where the log was read; beyond the cursor only in the middle of a chunk."""
        self._page = FIRST_PAGE_RECORDS

    async def frames(self) -> AsyncGenerator[list[Frame], None]:
        """Yield what comes, in batches; an empty batch where nothing came for the keep-alive time.

        Raises:
            RecordsTrimmedError: What it wanted next is gone.
            StreamNotFoundError: The stream was deleted.
            ReadUnwrittenError: The cursor lies beyond the tail.
            BackendUnavailableError: The log has been out of reach for a minute.

        Close it (``aclosing``) when leaving it early.
        """
        async with aclosing(self._batches()) as batches:
            async for frames in batches:
                yield self._cut(frames)
                if self.has_ended:
                    return

    async def _batches(self) -> AsyncGenerator[list[Frame], None]:
        """Yield what comes, for ever."""
        if self._hub.find(self._backend, self._stream) is None:
            async with aclosing(self._catch_up()) as pages:
                async for frames in pages:
                    yield frames
        follow = self._hub.attach(self._backend, self._stream, self.cursor, guard=self._guard)
        follow.readers.add(self)
        try:
            while True:
                if self.cursor < follow.ring.start:
                    async with aclosing(self._catch_up()) as pages:
                        async for frames in pages:
                            yield frames
                    if self.cursor < follow.ring.start and self._position >= follow.ring.end:
                        # We are at the tail, in the middle of a chunk of which the follow has not seen the beginning.
                        if follow.error is not None:
                            raise follow.error
                        await follow.wait()
                async with aclosing(self._take(follow)) as news:
                    async for frames in news:
                        yield frames
        finally:
            follow.readers.discard(self)
            self._hub.detach(follow)

    def _can_join(self) -> bool:
        follow = self._hub.find(self._backend, self._stream)
        return follow is not None and self.cursor >= follow.ring.start

    def _cut(self, frames: list[Frame]) -> list[Frame]:
        """Drop what follows the terminal record, for a reader that ends there."""
        if self._is_live:
            return frames
        for index, frame in enumerate(frames):
            if isinstance(frame.entry, Ended) and frame.entry.cursor > self._end_after:
                self.has_ended = True
                self.cursor = frame.entry.cursor
                return frames[: index + 1]
        return frames

    async def _catch_up(self) -> AsyncGenerator[list[Frame], None]:
        """Read from the log up to its tail, or up to where the shared follow has everything."""
        decoder = Decoder(self.cursor)
        self._position = self.cursor
        while True:
            try:
                batch = await read_patiently(
                    self._backend, self._stream, self._position, self._page, patience_seconds=RETRY_SECONDS
                )
            except StreamNotFoundError:
                if self._is_live and self._position == 0:
                    return
                raise
            if not batch.records:
                return
            self._page = _page_after(batch.records)
            self._position = batch.records[-1].seq_num + 1
            frames = [Frame(entry) for entry in decoder.feed(batch.records)]
            self.cursor = decoder.boundary
            if frames:
                yield frames
            if self._can_join():
                return

    async def _take(self, follow: SharedFollow) -> AsyncGenerator[list[Frame], None]:
        """Take from the shared follow until its ring has moved on without us."""
        while self.cursor >= follow.ring.start:
            if frames := follow.ring.since(self.cursor):
                self.cursor = frames[-1].entry.cursor
                yield frames
                continue
            self.cursor = max(self.cursor, follow.ring.end)
            if follow.error is not None:
                raise follow.error
            if not await follow.wait():
                yield []


def _page_after(records: Sequence[SequencedRecord]) -> int:
    """Choose how many records to read next by how long the last ones are."""
    characters = sum(len(record.body) for record in records)
    return max(1, min(PAGE_RECORDS, PAGE_CHARACTERS * len(records) // max(1, characters)))
