"""The tasks of the running event loop, but for those that other tests' objects begin."""

from __future__ import annotations

import asyncio
from typing import Any


def running_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks of the running event loop, without those of clients that the garbage collector has found.

    Providers' HTTP clients close themselves in such tasks (``AsyncClient.aclose`` of httpx and its copies), in whatever
    test the collector runs.
    """
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") != "aclose"]
