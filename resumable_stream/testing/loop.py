"""An event loop beside the thread of a test, whose synchronous code runs in that thread: in the test's transaction.

Django's synchronous client begins an event loop for each request and ends it with the request, and an answer that a
request has started would end with it. This loop lasts as long as the test.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple["Future[Any]", Callable[[], Any]]


class WaitingThread(Executor):
    """Runs what other threads submit in the thread that calls :meth:`wait`, and only while it waits."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` when the thread waits next."""
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def wait(self, future: Future[T]) -> T:
        """Run what is submitted until ``future`` has its result, and return that."""
        future.add_done_callback(lambda _: self._calls.put(None))
        while not future.done():
            call = self._calls.get()
            if call is not None:
                _perform(*call)
        return future.result()


def _perform(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever has submitted the call
        future.set_exception(error)
    else:
        future.set_result(result)


class BackgroundLoop:
    """Runs coroutines for a synchronous test. The loop begins with the first and ends with :meth:`close`."""

    def __init__(self) -> None:
        self._thread = WaitingThread()
        self._owner = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._done: Future[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a coroutine was run, and the loop has not been closed since."""
        return self._loop is not None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` and return its result; synchronous code that it calls runs in this thread meanwhile.

        Raises:
            RuntimeError: This thread runs an event loop, or is not the one that made this object.
        """
        try:
            self._require_waiting_thread()
            if self._loop is None:
                self._begin()
        except BaseException:
            coroutine.close()
            raise
        assert self._loop is not None
        return self._thread.wait(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def close(self) -> None:
        """End the loop; tasks that still run are cancelled, and awaited."""
        if self._loop is None:
            return
        assert self._leave is not None
        assert self._done is not None
        self._loop.call_soon_threadsafe(self._leave.set)
        self._loop = None
        self._thread.wait(self._done)

    def _require_waiting_thread(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if threading.get_ident() != self._owner:
                raise RuntimeError("Only the thread of the test can wait for its chats.") from None
        else:
            raise RuntimeError("An asynchronous test cannot wait here: await the asynchronous client and afinish().")

    def _begin(self) -> None:
        begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        executor = ThreadPoolExecutor(1, "resumable_stream-test")
        # In a context of its own: what is in force when the first coroutine is run is no concern of the others.
        self._done = executor.submit(contextvars.Context().run, asyncio.run, self._stay(begun))
        executor.shutdown(wait=False)
        self._loop, self._leave = self._thread.wait(begun)

    async def _stay(self, begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
        loop, leave = asyncio.get_running_loop(), asyncio.Event()
        # Where asgiref looks for the thread of synchronous code that no request is waiting for.
        executors: Any = AsyncToSync.loop_thread_executors
        executors[loop] = self._thread
        begun.set_result((loop, leave))
        await leave.wait()
        await self._cancel_others()
        del executors[loop]

    async def _cancel_others(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
