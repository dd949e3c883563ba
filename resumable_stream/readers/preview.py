"""``DELIVER = "live"``: the starting response shows a chunk while it is still on its way to the log.

A chunk's position is known when it is queued, since one writer appends in order. So the frames that the starting
response sends early are, id for id, those that every other reader gets. Should the generation be lost before they are
on the log, the response goes on from where the log really ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from ..conf import settings
from ..protocol.layout import Chunk
from ..utils.wake_up import WakeUp
from .frames import Frame


class Preview:
    """Chunks on their way from a writer to the one response that started it; bounded in bytes.

    When the response is too slow for it, or the generation ends, it closes, and the response reads on from the log.
    """

    def __init__(self, cursor: int, durable: Iterable[Chunk] = ()) -> None:
        self.cursor = cursor
        """Where to read on from the log once this is closed."""
        self._frames = [Frame(chunk) for chunk in durable]
        self._bytes = 0
        self._is_closed = False
        self._news = WakeUp()

    def add(self, chunk: Chunk) -> None:
        """Show a chunk that was queued."""
        if self._is_closed:
            return
        frame = Frame(chunk)
        self._bytes += frame.size
        if self._bytes > settings.ring_bytes:
            self.close()
            return
        self._frames.append(frame)
        self._news.send()

    def close(self, *, at: int | None = None) -> None:
        """Show nothing more; ``at`` is where the log ends if it will not have all that was shown."""
        self._is_closed = True
        if at is not None:
            self.cursor = min(self.cursor, at)
            self._frames.clear()
        self._news.send()

    async def batches(self) -> AsyncGenerator[list[Frame], None]:
        """Yield what was added, until it is closed; an empty batch where nothing came for the keep-alive time."""
        try:
            while self._frames or not self._is_closed:
                frames, self._frames, self._bytes = self._frames, [], 0
                if frames:
                    self.cursor = frames[-1].entry.cursor
                    yield frames
                elif not await self._wait():
                    yield []
        finally:
            self.close()

    async def _wait(self) -> bool:
        """Wait for news; tell whether some came."""
        try:
            async with asyncio.timeout(settings.keepalive_seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True
