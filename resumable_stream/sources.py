"""Producers, whatever they are, as asynchronous iterators.

A producer is an async iterable, a sync iterable (a generator over a blocking client), or an awaitable of either. A sync
iterable is advanced in a thread, the same one that Django's ``sync_to_async`` uses for the generation, so that the ORM
keeps its connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable, Iterator
from typing import Any, Final

from asgiref.sync import sync_to_async

from .threads import kept_thread

Source = AsyncIterable[Any] | Iterable[Any] | Awaitable[AsyncIterable[Any] | Iterable[Any]]

_EXHAUSTED: Final = object()


async def items_of(source: object) -> AsyncGenerator[Any, None]:
    """Yield the items of ``source``; closing this closes the source.

    Both are closed, the iterator and what gave it: a library's stream object holds the connection to the provider, and
    its iterator is often a generator that knows nothing of it.

    Raises:
        TypeError: It is nothing that can be iterated; the message says what to return instead.
    """
    if inspect.isawaitable(source):
        source = await source
    if isinstance(source, AsyncIterable):
        iterator = aiter(source)
        try:
            async for item in iterator:
                yield item
        finally:
            await _close_both(iterator, source)
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes, dict)):
        with kept_thread():
            sync_iterator: Iterator[Any] = await sync_to_async(source.__iter__)()
            try:
                async for item in _in_thread(sync_iterator):
                    yield item
            finally:
                await sync_to_async(_close_both_sync)(sync_iterator, source)
    else:
        raise TypeError(
            f"generate() gave {type(source).__name__}, which cannot be iterated. Make it an async generator "
            "(yield the chunks), or return an async or sync iterable of chunks."
        )


async def _in_thread(iterator: Iterator[Any]) -> AsyncGenerator[Any, None]:
    # next() with a default: StopIteration cannot pass through a coroutine.
    advance = sync_to_async(lambda: next(iterator, _EXHAUSTED))
    while (item := await advance()) is not _EXHAUSTED:
        yield item


async def _close_both(iterator: object, source: object) -> None:
    try:
        await _aclose(iterator)
    finally:
        if source is not iterator:
            await _aclose(source)


async def _aclose(closable: object) -> None:
    # Not every iterator can be closed: those that wrap a response often have close() instead.
    for name in ("aclose", "close"):
        close = getattr(closable, name, None)
        if close is not None:
            result = close()
            if inspect.isawaitable(result):
                await result
            return


def _close_both_sync(iterator: object, source: object) -> None:
    try:
        _close(iterator)
    finally:
        if source is not iterator:
            _close(source)


def _close(closable: object) -> None:
    close = getattr(closable, "close", None)
    if close is not None:
        close()
