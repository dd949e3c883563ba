"""One object per event loop, closed when its loop ends.

Connections belong to the event loop that opened them, and a process may run several loops, at once in threads or one
after the other (``asyncio.run``, ``async_to_sync``, tests). An object that refers to its loop would keep a weak
mapping's key alive for ever, so the end of the loop is noticed instead: each object is guarded by an asynchronous
generator, which ``asyncio.run`` and its like close before they close the loop.

A forked child must neither use what its parent opened nor close it: the sockets, and the selector they are registered
with, are shared. Its own first use starts afresh, and what it inherited is kept from being collected.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")
Guarded = tuple[T, AsyncGenerator[None, None]]

_all: WeakSet[LoopLocal[Any]] = WeakSet()
_inherited: list[object] = []
"""What a forked child got from its parent, held so that no destructor touches the shared sockets."""


class LoopLocal(Generic[T]):
    """Makes an object for the running event loop on first use, and closes it at the end of the loop."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._pid = os.getpid()
        self._objects: dict[asyncio.AbstractEventLoop, Guarded[T]] = {}
        _all.add(self)

    async def get(self) -> T:
        """Return the running loop's object; never gives way to other tasks."""
        self._forget_parent()
        loop = asyncio.get_running_loop()
        found = self._objects.get(loop)
        if found is None:
            found = self._objects[loop] = await self._open(loop)
        return found[0]

    async def close(self) -> None:
        """Close the running loop's object now, and those of other running loops soon."""
        self._forget_parent()
        running = asyncio.get_running_loop()
        for loop, (_, guard) in list(self._objects.items()):
            if loop is running:
                await guard.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(guard.aclose(), loop)

    def __len__(self) -> int:
        return len(self._objects)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Guarded[T]:
        self._drop_closed_loops()
        made = self._make()
        guard = self._guard(loop, made)
        await anext(guard)  # From its first step on, the loop knows the generator and will close it.
        return made, guard

    async def _guard(self, loop: asyncio.AbstractEventLoop, made: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._objects.pop(loop, None)
            await self._close(made)

    def _drop_closed_loops(self) -> None:
        """Forget loops that were closed without closing their generators, as a careless embedder may."""
        for loop in [loop for loop in self._objects if loop.is_closed()]:
            del self._objects[loop]

    def _forget_parent(self) -> None:
        if self._pid != os.getpid():
            self._objects = {}
            self._pid = os.getpid()


def _hold_objects() -> None:
    _inherited.append([list(local._objects.items()) for local in _all])


if hasattr(os, "register_at_fork"):  # Not on Windows, which does not fork.
    # Held from before the fork on: nothing in the child can come first. The parent lets go again.
    os.register_at_fork(before=_hold_objects, after_in_parent=_inherited.pop)
