"""Calls into the app's own code, guarded as Django guards a view.

Plain functions run in a thread, so that one which asks the database or a provider holds up nobody else. What a tool
raises to end its process (``SystemExit``, ``KeyboardInterrupt``) ends the call: in a task it would go through the event
loop, and every answer of the process would go with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

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
        result = function(*args) if _is_quick(function) else await sync_to_async(function)(*args)
        return await result if inspect.isawaitable(result) else result


def _is_quick(function: Callable[..., Any]) -> bool:
    """Return whether calling ``function`` only makes a coroutine or a generator, or is known not to block."""
    if getattr(function, "_stays_in_loop", False):
        return True
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    called = getattr(function, "__call__", None)  # noqa: B004 - how an object with such a method is made
    return any(is_kind(function) or is_kind(called) for is_kind in kinds)
