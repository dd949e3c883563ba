"""The tasks of one socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec

from .sender import SocketGoneError

P = ParamSpec("P")
Work = Callable[[], Coroutine[Any, Any, None]]
Task = asyncio.Task[None]


class Tasks:
    """Keeps the tasks of a socket until they are done; all of them end with it."""

    def __init__(self) -> None:
        self._tasks: set[Task] = set()
        self._loop = asyncio.get_running_loop()

    def spawn(self, work: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs) -> Task:
        """Run ``work`` in a task; where it finds the client gone, there is nothing more to do."""
        # Called in its task: one that is cancelled before its first step leaves no coroutine that nobody has awaited.
        task = self._loop.create_task(_quietly(partial(work, *args, **kwargs)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Cancel them all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _quietly(work: Work) -> None:
    with contextlib.suppress(SocketGoneError):
        await work()
