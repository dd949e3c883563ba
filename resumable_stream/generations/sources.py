"""Producers, whatever they are, as asynchronous iterators.

A producer is an async iterable, a sync iterable (a generator over a blocking client), or an awaitable of either. A sync
iterable is advanced in a thread, the same one that Django's ``sync_to_async`` uses for the generation, so that the ORM
keeps its connection.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack, aclosing
from typing import Any, Final

from asgiref.sync import sync_to_async

from ..utils.threads import kept_thread
from .unwinding import Unwinding

Source = AsyncIterable[Any] | Iterable[Any] | Awaitable[AsyncIterable[Any] | Iterable[Any]]

_EXHAUSTED: Final = object()


async def items_of(source: object) -> AsyncGenerator[Any, None]:
    """Yield the items of ``source``; closing this closes the source.

    Whatever holds a connection to a provider is closed: the iterator, what it was looping over if it is a generator
    (see :mod:`~resumable_stream.generations.unwinding`), and the source that gave it, whose iterator may know nothing
    of the connection.

    Raises:
        TypeError: It is nothing that can be iterated; the message says what to return instead.
    """
    if inspect.isawaitable(source):
        source = await source
    source = _stream_in(source)
    if isinstance(source, AsyncIterable):
        iterator = aiter(source)
        unwinding = Unwinding(iterator)
        try:
            async for item in iterator:
                unwinding.note()
                yield item
            unwinding.note()
        finally:
            await _aclose_all(_each_once(iterator, *unwinding.broken_loops(), source))
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes, dict)):
        with kept_thread():
            sync_iterator: Iterator[Any] = await sync_to_async(source.__iter__)()
            unwinding = Unwinding(sync_iterator)
            try:
                async for item in _in_thread(sync_iterator, unwinding):
                    yield item
            finally:
                await sync_to_async(_close_all)(sync_iterator, unwinding, source)
    elif isinstance(source, AbstractAsyncContextManager):
        # As agent.run_stream_events() of pydantic-ai and messages.stream() of anthropic.
        async with source as inner, aclosing(items_of(inner)) as items:
            async for item in items:
                yield item
    elif isinstance(source, AbstractContextManager):
        async with aclosing(items_of(_items_within(source))) as items:
            async for item in items:
                yield item
    else:
        raise TypeError(
            f"generate() gave {type(source).__name__}, which cannot be iterated. Make it an async generator "
            "(yield the chunks), or return an async or sync iterable of chunks."
        )


def _stream_in(source: object) -> object:
    """Return the stream inside a response of botocore's, which is a dict; anything else as it is."""
    if isinstance(source, dict) and "ResponseMetadata" in source:
        return source.get("stream") or source.get("body") or source
    return source


def _items_within(source: AbstractContextManager[Iterable[Any]]) -> Generator[Any, None, None]:
    with source as inner:
        yield from inner


async def _in_thread(iterator: Iterator[Any], unwinding: Unwinding) -> AsyncGenerator[Any, None]:
    def next_item() -> Any:
        # next() with a default: StopIteration cannot pass through a coroutine.
        item = next(iterator, _EXHAUSTED)
        unwinding.note()
        return item

    advance = sync_to_async(next_item)
    while (item := await advance()) is not _EXHAUSTED:
        yield item


def _each_once(*closables: object) -> list[object]:
    return list({id(closable): closable for closable in closables}.values())


async def _aclose_all(closables: Sequence[object]) -> None:
    """Close one after the other, whatever the closing of one of them raises."""
    async with AsyncExitStack() as stack:
        for closable in reversed(closables):
            stack.push_async_callback(_aclose, closable)


async def _aclose(closable: object) -> None:
    # Not every iterator can be closed: those that wrap a response often have close() instead.
    for name in ("aclose", "close"):
        close = getattr(closable, name, None)
        if close is not None:
            result = close()
            if inspect.isawaitable(result):
                await result
            return


def _close_all(iterator: object, unwinding: Unwinding, source: object) -> None:
    with ExitStack() as stack:
        for closable in reversed(_each_once(iterator, *unwinding.broken_loops(), source)):
            close = getattr(closable, "close", None)
            if close is not None:
                stack.callback(close)
