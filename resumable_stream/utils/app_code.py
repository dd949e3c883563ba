"""Calls into the app's own code, guarded as Django guards a view.

Plain functions run in a thread, so that one which asks the database or a provider holds up nobody else. What a tool
raises to end its process (``SystemExit``, ``KeyboardInterrupt``) ends the call: in a task it would go through the event
loop, and every answer of the process would go with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from asgiref.sync import sync_to_async

F = TypeVar("F", bound=Callable[..., Any])

_PASSING = (Exception, asyncio.CancelledError, GeneratorExit)


class ProcessExitError(RuntimeError):
    """The app's code wanted to end the process; its cause says how."""


@contextmanager
def guarded() -> Iterator[None]:
    """Let the code inside raise no more than an :class:`Exception`.

    Raises:
        ProcessExitError: It has raised ``SystemExit``, ``KeyboardInterrupt`` or the like.
    """
    try:
        yield
    except _PASSING:
        raise
    except BaseException as error:
        raise ProcessExitError(f"The app's code raised {type(error).__name__}, which would end the process.") from error


def guard_tasks() -> None:
    """Guard the tasks that the code of the current task begins, too: agents run their tools in tasks of their own."""
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    if not isinstance(factory, _GuardingFactory):
        loop.set_task_factory(cast("Any", _GuardingFactory(factory)))
    _is_guarded.set(True)


_is_guarded: ContextVar[bool] = ContextVar("resumable_stream_is_guarded", default=False)


class _GuardingFactory:
    """Makes tasks as the loop would, those of guarded code around a guarded coroutine."""

    def __init__(self, factory: Callable[..., Any] | None) -> None:
        self._factory = factory or _new_task

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        context = options.get("context")
        is_guarded = _is_guarded.get() if context is None else context.get(_is_guarded, False)
        return self._factory(loop, _Guarded(coroutine) if is_guarded else coroutine, **options)


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **options)


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that raises no more than an :class:`Exception`; otherwise as the one inside."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __getattr__(self, name: str) -> Any:
        # Where it stands, for debuggers and for the names of tasks.
        return getattr(self._coroutine, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        with guarded():
            return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        with guarded():
            return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()


def stays_in_loop(function: F) -> F:
    """Mark a plain function that does not block: it is called where it stands, without a thread."""
    function.__dict__["_stays_in_loop"] = True
    return function


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Call a hook: a coroutine function here, a plain one in the thread of the current request or generation.

    What a plain function returns may be awaitable; then it is awaited.

    Raises:
        ProcessExitError: See :func:`guarded`.
    """
    with guarded():
        result = function(*args) if _is_quick(function) else await _call_in_thread(function, *args)
        return await result if inspect.isawaitable(result) else result


async def _call_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return await sync_to_async(function)(*args)
    except RuntimeError as error:
        if "no running event loop" in str(error):
            error.add_note("Plain functions run in a thread. Make this one a coroutine function (async def).")
        raise


def _is_quick(function: Callable[..., Any]) -> bool:
    """Return whether calling ``function`` only makes a coroutine or a generator, or is known not to block."""
    if getattr(function, "_stays_in_loop", False):
        return True
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    called = getattr(function, "__call__", None)  # noqa: B004 - how an object with such a method is made
    return any(is_kind(function) or is_kind(called) for is_kind in kinds)
