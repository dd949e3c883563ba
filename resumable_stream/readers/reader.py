"""A reader of one stream: catches up from the log at its own pace, then follows with the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from ..backends.base import BaseBackend
from ..exceptions import ShuttingDownError, StreamNotFoundError
from ..protocol.layout import Decoder, Ended
from ..protocol.perform import read_patiently
from ..records import MAX_BATCH_RECORDS, SequencedRecord
from .frames import Frame
from .hub import RETRY_SECONDS, Guard, Hub, SharedFollow

FIRST_PAGE_RECORDS = 100
"""A small first page: the first byte of a long replay comes as soon as that of a short one."""
PAGE_RECORDS = MAX_BATCH_RECORDS // 2
PAGE_CHARACTERS = 128 * 1024
"""About what a page holds. A reader who stalls holds one page: the texts, at up to 4 bytes a character, and their
frames."""


class Reader:
    """Yields a stream's frames from a cursor on, each exactly once and in order.

    With ``is_live`` it goes on for ever, otherwise it ends with the first terminal record after ``end_after``. What is
    given as ``prelude`` comes first, though the log does not have it. ``silent_seconds`` is for how long the owner had
    written nothing when the reader was opened.
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
        prelude: Sequence[Frame] = (),
        silent_seconds: float = 0,
    ) -> None:
        self.cursor = cursor
        """Where a reader that has what was yielded so far goes on."""
        self.has_ended = False
        """Whether the terminal record was among what was yielded last."""
        self.is_live = is_live
        self.announces_tail = False
        """Whether to yield an empty batch when all that is on the log has been yielded, the first time."""
        self.is_caught_up = False
        """Whether that has been announced."""
        self._hub = hub
        self._backend = backend
        self._stream = stream
        self._end_after = end_after
        self._guard = guard
        self._prelude = prelude
        self._silent_since = asyncio.get_running_loop().time() - silent_seconds
        """Since when the log is known to have taken nothing more."""
        self._is_in_prelude = False
        """Whether the prelude was what was yielded last."""
        self._follow: SharedFollow | None = None
        self._decoder: Decoder | None = None
        """Of what is read from the log while catching up."""
        self._position = cursor
        """Up to where the log was read; beyond the cursor only in the middle of a chunk."""
        self._is_at_tail = False
        """Whether there was nothing to read at the position."""
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
        try:
            if self._prelude:
                self._is_in_prelude = True
                yield self._take_prelude()
                self._is_in_prelude = False
            while not self.has_ended:
                try:
                    frames = await self._next()
                except ShuttingDownError:
                    # The log may have what the shared follow was not given in time, above all the end.
                    frames = await self._rest()
                    if not frames:
                        raise
                yield self._cut(frames)
                del frames  # Nothing of it is to be held while waiting for the next.
        finally:
            self._leave()

    async def available(self) -> list[Frame]:
        """Read a page of what the log has for this reader now; empty at its tail, where :meth:`frames` goes on.

        Raises what :meth:`frames` does. Not to be called once the reader has ended.
        """
        return self._take_prelude() if self._prelude else self._cut(await self._rest())

    def _take_prelude(self) -> list[Frame]:
        prelude, self._prelude = self._prelude, ()
        return list(prelude)

    @property
    def has_prelude(self) -> bool:
        """Whether something is to come first that the log does not have."""
        return bool(self._prelude)

    @property
    def is_cut_off(self) -> bool:
        """Whether the log cannot be reached just now."""
        return self._follow is not None and self._follow.failing_since is not None

    def let_go(self, cursor: int) -> bool:
        """Take back what was yielded after ``cursor``, and hold nothing of the stream until more is asked for.

        For a reader whose client takes nothing for the moment. Returns ``False`` where that cannot be, since the log
        does not have what was yielded last.
        """
        if self._is_in_prelude:
            return False
        self._leave()
        self.cursor, self.has_ended = cursor, False
        self._decoder, self._is_at_tail = None, False
        return True

    async def _next(self) -> list[Frame]:
        """Wait for what comes next, from wherever it is to be had; empty to show that the connection lives."""
        while True:
            follow = self._join()
            if follow is None or self._lags(follow):
                if frames := await self._read():
                    return frames
            elif frames := self._take(follow):
                return frames
            elif self.announces_tail and not self.is_caught_up:
                self.is_caught_up = True
                return frames
            elif not await follow.wait():
                return frames

    async def _rest(self) -> list[Frame]:
        """Read what the log still has for us; empty at its tail."""
        frames: list[Frame] = []
        while not frames and not self._is_at_tail:
            frames = await self._read()
        return frames

    def _join(self) -> SharedFollow | None:
        """Join the shared follow as soon as there is one, so that it keeps for us what comes while we catch up."""
        if self._follow is None and (self._is_at_tail or self._hub.find(self._backend, self._stream) is not None):
            self._follow = self._hub.attach(
                self._backend, self._stream, self.cursor, guard=self._guard, silent_since=self._silent_since
            )
            self._follow.readers.add(self)
        return self._follow

    def _lags(self, follow: SharedFollow) -> bool:
        """Tell whether the log has something for us that the follow no longer has."""
        if self.cursor >= follow.ring.start:
            return False
        # At the tail we can only be in the middle of a chunk of which the follow has not seen the beginning.
        return not self._is_at_tail or self._position < follow.ring.end

    def _take(self, follow: SharedFollow) -> list[Frame]:
        """Take what is new from the shared follow; empty if it has to be waited for."""
        self._decoder, self._is_at_tail = None, False
        if self.cursor >= follow.ring.start:
            if frames := follow.ring.since(self.cursor):
                self.cursor = frames[-1].entry.cursor
                return frames
            self.cursor = max(self.cursor, follow.ring.end)
        if follow.error is not None:
            raise follow.error
        return []

    def _leave(self) -> None:
        follow, self._follow = self._follow, None
        if follow is not None:
            follow.readers.discard(self)
            self._hub.detach(follow)

    def _cut(self, frames: list[Frame]) -> list[Frame]:
        """Drop what follows the terminal record, for a reader that ends there."""
        if self.is_live:
            return frames
        for index, frame in enumerate(frames):
            if isinstance(frame.entry, Ended) and frame.entry.cursor > self._end_after:
                self.has_ended = True
                self.cursor = frame.entry.cursor
                del frames[index + 1 :]
                break
        return frames

    async def _read(self) -> list[Frame]:
        """Read a page from the log, at this reader's own pace."""
        if self._decoder is None:
            self._decoder, self._position = Decoder(self.cursor, skips_messages=True), self.cursor
        records = await self._read_records()
        if not records:
            self._decoder, self._is_at_tail = None, True
            return []
        self._is_at_tail = False
        self._page = _page_after(records)
        self._position = records[-1].seq_num + 1
        frames = [Frame(entry) for entry in self._decoder.feed(records)]
        self.cursor = self._decoder.boundary
        return frames

    async def _read_records(self) -> Sequence[SequencedRecord]:
        try:
            batch = await read_patiently(
                self._backend, self._stream, self._position, self._page, patience_seconds=RETRY_SECONDS
            )
        except StreamNotFoundError:
            if self.is_live and self._position == 0:
                return ()
            raise
        return batch.records


def _page_after(records: Sequence[SequencedRecord]) -> int:
    """Choose how many records to read next by how long the last ones are."""
    characters = sum(len(record.body) for record in records)
    return max(1, min(PAGE_RECORDS, PAGE_CHARACTERS * len(records) // max(1, characters)))
