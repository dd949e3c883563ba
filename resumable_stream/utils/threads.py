"""The threads in which asgiref runs the synchronous code of a request or a generation, and what stays open in them.

Django calls synchronous code in a thread of the request's own (signal handlers, so nearly every request has one), and
that thread has database connections of its own. Both last until the request ends, which is right for requests that end:
a thousand readers who wait for an answer would hold a thousand threads and connections, and so would a thousand
answers that wait for a model.

So a generation has an :class:`IdleThread`: what the app's code leaves open there is closed as soon as nothing has used
it for :data:`IDLE_SECONDS`, as the end of a request would do.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

IDLE_SECONDS = 0.25
"""How long a database connection of a generation may lie idle: longer than between two queries of one piece of code,
and much shorter than a model thinks."""


class _Usage:
    """What the code in one thread has in use of the database; seen by Django's hook for instrumentation."""

    def __init__(self) -> None:
        self.last = 0.0
        self._is_watching = False
        self._cursors: weakref.WeakSet[Any] = weakref.WeakSet()

    def watch(self) -> None:
        """Look at every statement from now on; called in the thread."""
        if self._is_watching:
            return
        self._is_watching = True
        for connection in connections.all():
            connection.execute_wrappers.append(self)

    def __call__(self, execute: Callable[..., T], sql: str, params: Any, many: bool, context: dict[str, Any]) -> T:
        self._cursors.add(context["cursor"])
        try:
            return execute(sql, params, many, context)
        finally:
            self.last = time.monotonic()

    @property
    def is_reading(self) -> bool:
        """Whether somebody still holds a cursor: ``QuerySet.iterator()`` between two of its rows."""
        return bool(self._cursors)

    def release(self, *, idle_seconds: float = 0.0) -> bool:
        """Close what nobody needs any more; return whether that was everything. Called in the thread."""
        if time.monotonic() - self.last < idle_seconds:
            return False
        is_all = True
        for connection in connections.all(initialized_only=True):
            if connection.connection is None:
                continue
            if connection.in_atomic_block or not connection.autocommit or self.is_reading:
                is_all = False
            else:
                connection.close()
        return is_all


class IdleThread(Executor):
    """Runs one call after another, in one thread that ends when it lies idle, as do its database connections.

    Used from the event loop alone.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread: ThreadPoolExecutor | None = None
        self._usage = _Usage()
        self._timer: asyncio.TimerHandle | None = None
        self._calls = 0
        self._keepers = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` in the thread, which is begun if there is none."""
        if self._thread is None:
            self._usage = _Usage()
            self._thread = ThreadPoolExecutor(1, "resumable_stream")
        self._calls += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Between two steps of a generator the model is waited for, in this thread: there is no later to look again.
        idle_seconds = 0.0 if self._keepers else IDLE_SECONDS
        future = self._thread.submit(_call, self._usage, idle_seconds, partial(fn, *args, **kwargs))
        future.add_done_callback(self._note_return)
        return future

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the thread itself: what runs there step by step may depend on it."""
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1

    async def aclose(self) -> None:
        """Close the connections and end the thread, once what it does is done."""
        if self._timer is not None:
            self._timer.cancel()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        # Shielded: a cancelled call would be taken out of the queue, and its connections would stay open.
        closed = asyncio.shield(self._loop.run_in_executor(thread, _close_connections))
        thread.shutdown(wait=False)
        try:
            await closed
        except Exception:
            logger.exception("database connections could not be closed")

    def _note_return(self, _: Future[Any]) -> None:
        # In the thread, or wherever a call is cancelled that has not begun.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._returned)

    def _returned(self) -> None:
        self._calls -= 1
        self._rest()

    def _rest(self) -> None:
        if not self._calls and self._thread is not None and self._timer is None:
            self._timer = self._loop.call_later(IDLE_SECONDS, self._release)

    def _release(self) -> None:
        self._timer = None
        assert self._thread is not None
        self._calls += 1
        released = self._loop.run_in_executor(self._thread, self._usage.release)
        released.add_done_callback(self._note_release)

    def _note_release(self, released: asyncio.Future[bool]) -> None:
        self._calls -= 1
        if released.cancelled():
            return
        error = released.exception()
        if error is not None:
            logger.error("database connections could not be given back", exc_info=error)
        elif not self._calls and self._thread is not None and released.result() and not self._keepers:
            self._thread.shutdown(wait=False)
            self._thread = None
            return
        # A transaction or a cursor is open: whoever goes on with it calls again, and then it is looked at again.


def _call(usage: _Usage, idle_seconds: float, function: Callable[[], T]) -> T:
    usage.watch()
    try:
        return function()
    finally:
        usage.release(idle_seconds=idle_seconds)


_is_shared = False


@contextmanager
def shared_thread() -> Iterator[None]:
    """Run synchronous code of generations where that of requests runs, for a test whose data lies in a transaction.

    Holds for the whole process. Nobody else can see what lies in a transaction that has not been committed, and the
    transaction belongs to the thread of the test.
    """
    global _is_shared
    before, _is_shared = _is_shared, True
    try:
        yield
    finally:
        _is_shared = before


@asynccontextmanager
async def own_thread() -> AsyncIterator[None]:
    """Give synchronous code that is called inside a thread which it shares with nobody."""
    if _is_shared:
        yield
        return
    thread = IdleThread()
    context = ThreadSensitiveContext()
    token = SyncToAsync.thread_sensitive_context.set(context)
    threads: Any = SyncToAsync.context_to_thread_executor
    threads[context] = thread
    # A thread that waits for the code around this one would come first.
    waiting = getattr(AsyncToSync.executors, "current", None)
    AsyncToSync.executors.current = None
    try:
        yield
    finally:
        threads.pop(context, None)
        SyncToAsync.thread_sensitive_context.reset(token)
        AsyncToSync.executors.current = waiting
        await thread.aclose()


@contextmanager
def kept_thread() -> Iterator[None]:
    """Keep the thread of :func:`own_thread`, if this code has one, also while it lies idle."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    thread: object = SyncToAsync.context_to_thread_executor.get(context) if context is not None else None
    if isinstance(thread, IdleThread):
        with thread.kept():
            yield
    else:
        yield


def context_of_request() -> Context:
    """Copy the current context for code that outlives the request: language, time zone, what logs and traces go by.

    What ties code to a thread stays with the request, which ends before the copy does.
    """
    left_out = {SyncToAsync.thread_sensitive_context, SyncToAsync.deadlock_context}
    context = Context()
    for variable, value in copy_context().items():
        if variable not in left_out:
            context.run(variable.set, value)
    context.run(setattr, AsyncToSync.executors, "current", None)
    return context


async def release_thread() -> None:
    """Close the database connections of the current request's thread and end it; sync code called later gets another.

    Does nothing where sync code shares a thread with others, as under Django's test client.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    threads = SyncToAsync.context_to_thread_executor
    if context is None or context not in threads:
        return
    await sync_to_async(_close_connections)()
    # A thread that was given to the context belongs to whoever gave it.
    is_given = getattr(context, "_executor", None) is not None or isinstance(threads.get(context), IdleThread)
    if not is_given and (thread := threads.pop(context, None)) is not None:
        thread.shutdown(wait=False)


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()
