"""What happens when the process is told to end.

ASGI tells an application too late: servers announce the end of the lifespan after the last response, and an event
stream has no end of its own. So SIGTERM and SIGINT are noticed before the server hears of them, and passed on to it as
soon as this process has drained; a second signal is passed on at once.

A server hears of a signal through a handler of Python's (``signal.signal``), which is replaced here and called later,
or through its event loop (``loop.add_signal_handler``). The loop in turn hears through ``signal.set_wakeup_fd``: the
interpreter writes the signal's number there. Our own pipe takes that place, on asyncio's loop as on uvloop, and hands
the number on when it is time.

A server may also end without any signal: :mod:`.listening` and :mod:`.asgi` see to that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from types import FrameType
from typing import Any

from ..conf import settings

logger = logging.getLogger(__name__)

Drain = Callable[[float], Awaitable[None]]


class _Wakeups:
    """Stands between the interpreter and an event loop that handles signals itself, and holds some of them back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, held: Collection[int]) -> None:
        self._loop = loop
        self._held = held
        self._loops_end: int | None = None
        """Where the loop hears of signals; ``None`` if it does not."""
        self._pipe: tuple[int, int] | None = None

    def install(self) -> None:
        loops_end = signal.set_wakeup_fd(-1)
        # Elsewhere the number cannot be handed on with os.write, and no server takes signals through the loop.
        if loops_end == -1 or os.name != "posix":
            signal.set_wakeup_fd(loops_end)
            return
        self._loops_end = loops_end
        self._pipe = reading, writing = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._loop.add_reader(reading, self._read)

    def pass_on(self, number: int) -> None:
        """Have the loop call its handler of this signal, if it has one."""
        if self._loops_end is not None:
            # A loop that is closed, or has so many signals before it that there is no room, needs no other.
            with suppress(OSError):
                os.write(self._loops_end, bytes([number]))

    def remove(self) -> None:
        """Let go of a loop that has ended."""
        pipe, self._pipe, self._loops_end = self._pipe, None, None
        if pipe is None:
            return
        current = signal.set_wakeup_fd(-1)
        if current != pipe[1]:
            signal.set_wakeup_fd(current)
        if not self._loop.is_closed():
            self._loop.remove_reader(pipe[0])
        for end in pipe:
            os.close(end)

    def _read(self) -> None:
        assert self._pipe is not None
        for number in os.read(self._pipe[0], 4096):
            if number not in self._held:
                self.pass_on(number)


class _Signals:
    """The handlers that stood before ours, and the loop to drain."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Drain) -> None:
        self._loop = loop
        self._drain = drain
        self._previous: dict[int, Any] = {}
        self._wakeups = _Wakeups(loop, self._previous)
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        self._is_noticed = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            # A process that ignores a signal (nohup, a shell's background job) is not told to end by it.
            if previous is not signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._handle)
        self._wakeups.install()

    @property
    def is_current(self) -> bool:
        """Whether the handlers are still ours to use: their loop lives and nobody has replaced them."""
        return not self._loop.is_closed() and any(signal.getsignal(one) == self._handle for one in self._previous)

    def remove(self) -> None:
        self._wakeups.remove()
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._handle and previous is not None:
                signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A forked child has the handlers of its parent, and nothing to drain.
        if self._is_noticed or self._loop.is_closed() or os.getpid() != self._pid:
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
            self._wakeups.pass_on(number)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_signals: _Signals | None = None


def _leave_wakeups_to_parent() -> None:
    """Keep a forked child's signals out of the pipe that it shares with its parent."""
    if _signals is not None:
        with suppress(ValueError):  # Forked by another thread than the main one.
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):  # Not on Windows, which does not fork.
    os.register_at_fork(after_in_child=_leave_wakeups_to_parent)


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
