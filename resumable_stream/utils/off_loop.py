"""Two threads for work that grows with what clients send or logs hold: parsing, folding, encoding.

In the event loop such work would hold up everybody, and the heartbeats by which other processes know that the answers
of this one go on. Two threads, for Python runs one at a time anyway, and each that has work takes its share from the
loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
SMALL_BYTES = 64 * 1024
"""Work on less is done at once: it takes some milliseconds at most, and the way to a thread takes time too."""


@lru_cache(maxsize=1)
def _executor(_process_id: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "resumable-stream-work")


async def off_loop(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function``, in a thread if its work is on more than :data:`SMALL_BYTES`; it must not touch the loop.

    Cancelling does not end a call that has begun: its result is dropped.
    """
    if size <= SMALL_BYTES:
        return function(*args, **kwargs)
    context = contextvars.copy_context()
    # By process: a forked child has none of its parent's threads.
    executor = _executor(os.getpid())
    call = partial(context.run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def size_of(value: object) -> int:
    """Estimate how many bytes a value of JSON has; counts no further than what is large anyway."""
    size, pending = 0, [value]
    while pending and size <= SMALL_BYTES:
        item = pending.pop()
        size += 16
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, Mapping):
            size += sum(map(len, item))
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return size
