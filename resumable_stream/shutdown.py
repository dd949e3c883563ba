"""What happens when the process is told to end.

ASGI tells an application too late: servers announce the end of the lifespan after the last response, and an event
stream has no end of its own. So SIGTERM and SIGINT are noticed before the server's handler, which is called as soon as
this process has drained; a second signal is passed on at once. Where the server leaves no room for that (its event loop
does not run in the main thread, or it takes signals through the loop), generations are drained beside the server's own
shutdown, or, at worst, end as ``interrupted`` by whoever finds them silent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from .conf import settings

logger = logging.getLogger(__name__)

Drain = Callable[[float], Awaitable[None]]


class _Signals:
    """The handlers that stood before ours, and the loop to drain."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Drain) -> None:
        self._loop = loop
        self._drain = drain
        self._previous: dict[int, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_noticed = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            # A process that ignores a signal (nohup, a shell's background job) is not told to end by it.
            if previous is not signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._handle)

    @property
    def is_current(self) -> bool:
        """Whether the handlers are still ours to use: their loop lives and nobody has replaced them."""
        return not self._loop.is_closed() and any(signal.getsignal(one) == self._handle for one in self._previous)

    def remove(self) -> None:
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle and previous is not None:
                signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_noticed or self._loop.is_closed():
            self._pass_on(number)
            return
        self._is_noticed = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        # Ctrl-C means now; whoever sends SIGTERM gives time.
        grace = settings.shutdown_grace_seconds if number == signal.SIGTERM else 0
        logger.info("signal %s: draining, grace=%s s", signal.Signals(number).name, grace)
        self._task = self._loop.create_task(self._drain_and_pass_on(number, grace), name="drain")

    async def _drain_and_pass_on(self, number: int, grace: float) -> None:
        try:
            await self._drain(grace)
        finally:
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        previous = self._previous.get(number)
        if callable(previous):
            previous(number, None)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_signals: _Signals | None = None


def notice_signals(loop: asyncio.AbstractEventLoop, drain: Drain) -> None:
    """Drain ``loop`` with ``drain(grace_seconds)`` before the server handles SIGTERM or SIGINT.

    Does nothing outside the main thread, where Python allows no handlers, or with ``HANDLE_SIGNALS`` off.
    """
    global _signals
    if threading.current_thread() is not threading.main_thread() or not settings.handle_signals:
        return
    if _signals is not None:
        if _signals.is_current:
            return
        _signals.remove()
    _signals = _Signals(loop, drain)
    _signals.install()
