"""Producers that a test holds by the hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any


class Producer:
    """A source that yields what it is given, when it is given it."""

    def __init__(self, *items: Any, ends: bool = False) -> None:
        self.calls = 0
        self.is_closed = False
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        for item in items:
            self._items.put_nowait(item)
        if ends:
            self.finish()

    def give(self, *items: Any) -> None:
        for item in items:
            self._items.put_nowait(item)

    def fail(self, error: BaseException) -> None:
        self._items.put_nowait(error)

    def finish(self) -> None:
        self._items.put_nowait(StopAsyncIteration())

    def __call__(self) -> AsyncGenerator[Any, None]:
        self.calls += 1
        return self._run()

    async def _run(self) -> AsyncGenerator[Any, None]:
        try:
            while True:
                item = await self._items.get()
                if isinstance(item, StopAsyncIteration):
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.is_closed = True


def of(*items: Any) -> Producer:
    """Make a producer that yields ``items`` and comes to its end."""
    return Producer(*items, ends=True)
