"""Errors without the frames of functions that hold a secret.

A crash reporter, and Django's page for an error in debug mode, show the local variables of every frame that an error
has passed. Below a log's client these are the bytes of requests, with the access token in them.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def without_frames(work: Awaitable[T], *, passing: tuple[type[Exception], ...]) -> T:
    """Await ``work``; what ends it, a cancellation for instance, leaves the frames below this one behind.

    Errors of the classes ``passing`` come as they are: the caller turns them into values.
    """
    try:
        return await work
    except passing:
        raise
    except BaseException as error:
        # Their messages may repeat the request, as h11's do.
        error.__cause__ = error.__context__ = None
        strip_frames(error)
        raise


def strip_frames(error: BaseException) -> None:
    """Take the frames away from ``error`` and all that led to it; where they were is noted, without their variables.

    A bare ``raise`` then begins a new traceback.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        if isinstance(one, Exception):
            one.add_note("".join(["Where it was raised:\n", *traceback.format_tb(one.__traceback__)]))
        one.__traceback__ = None
