"""The thread that asgiref keeps for the sync code of a request or of a generation, and what stays open in it.

Django calls sync code in a thread of the request's own (signal handlers, so nearly every request has one), and that
thread has database connections of its own. Both last until the request ends, which is right for requests that end: a
thousand readers who wait for an answer would hold a thousand threads and connections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections


@asynccontextmanager
async def own_thread() -> AsyncIterator[None]:
    """Give sync code called inside a thread that it shares with nobody, and close its database connections after."""
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            await release_thread()


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
    if getattr(context, "_executor", None) is None and (thread := threads.pop(context, None)) is not None:
        thread.shutdown(wait=False)


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()
