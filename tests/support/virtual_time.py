"""An event loop whose clock stands still while there is something to do, and jumps to the next timer otherwise.

Tests of leases, heartbeats and keep-alives wait as long as those take, in no time at all and always with the same
result: ``await asyncio.sleep(1)`` means that whatever happens within a second has happened. Work in threads is waited
for.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar
from unittest import mock

T = TypeVar("T")
P = ParamSpec("P")

EPOCH_SECONDS = 1_700_000_000
LAST_SECOND = 10_000
PATIENCE_SECONDS = 20
"""Real seconds that work in a thread may take."""


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.working_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self.working_threads or timeout is None:
            # Only a thread can bring anything.
            found = super().select(PATIENCE_SECONDS)
            assert found, "Everybody waits for what never comes."
            return found
        self.now += timeout
        assert self.now < LAST_SECOND, "It has been waited for too long."
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.complaints: list[dict[str, Any]] = []
        self.farewells: list[Callable[[], Awaitable[Any]]] = []
        """What is left to do when the test is over."""
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._virtual.now

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which the loop does nothing, as when a callback keeps it busy."""
        self._virtual.now += seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._virtual.working_threads += 1
        future.add_done_callback(self._thread_is_free)
        return future

    async def shutdown_default_executor(self, *_: float | None) -> None:
        # Without a timeout: threads take real time.
        await super().shutdown_default_executor()

    def _thread_is_free(self, _: object) -> None:
        self._virtual.working_threads -= 1


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end; whatever the loop complains of meanwhile fails the test."""
    loop = VirtualTimeLoop()

    def now_ms() -> int:
        return int((EPOCH_SECONDS + loop.time()) * 1000)

    with (
        mock.patch("resumable_stream.backends.memory.now_ms", now_ms),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        result = runner.run(_with_farewells(main, loop))
    assert not loop.complaints, loop.complaints
    return result


async def _with_farewells(main: Callable[[], Coroutine[Any, Any, T]], loop: VirtualTimeLoop) -> T:
    try:
        return await main()
    finally:
        for farewell in loop.farewells:
            await farewell()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        run_in_virtual_time(lambda: test(*args, **kwargs))

    return wrapper


async def settle() -> None:
    """Let everything happen that needs no waiting for a model, a lease or a keep-alive."""
    await asyncio.sleep(0.5)
