"""A wake-up signal between one waiting task and callbacks of the same event loop."""

from __future__ import annotations

import asyncio


class WakeUp:
    """Wakes the one task that waits for it; a signal that comes while no task waits is not kept.

    So the task checks its condition before it waits, without an ``await`` between them. An ``asyncio.Event`` would
    keep the signal, and its waiter would have to clear it. Not thread-safe.
    """

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits."""
        return self._waiter is not None

    async def wait(self) -> None:
        """Wait for the next signal."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def send(self) -> None:
        """Wake the task that waits, if one does."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
