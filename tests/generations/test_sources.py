from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from resumable_stream.generations.sources import items_of


async def collect(source: object) -> list[Any]:
    async with aclosing(items_of(source)) as items:
        return [item async for item in items]


class Wrapped:
    """An async iterator like those of model clients: wraps a response, and has its own way to be closed."""

    def __init__(self) -> None:
        self.items = iter("12")
        self.closed = 0

    def __aiter__(self) -> Wrapped:
        return self

    async def __anext__(self) -> str:
        try:
            return next(self.items)
        except StopIteration:
            raise StopAsyncIteration from None


class WithClose(Wrapped):
    def close(self) -> None:
        self.closed += 1


class WithAsyncClose(Wrapped):
    async def close(self) -> None:
        self.closed += 1


class WithAclose(Wrapped):
    async def aclose(self) -> None:
        self.closed += 1

    def close(self) -> None:
        raise AssertionError("once is enough")


@pytest.mark.parametrize("kind", [WithClose, WithAsyncClose, WithAclose])
async def test_an_iterator_is_closed_in_its_own_way(kind: type[Wrapped]) -> None:
    source = kind()

    assert await collect(source) == ["1", "2"]
    assert source.closed == 1


async def test_an_iterator_that_cannot_be_closed_is_not() -> None:
    assert await collect(Wrapped()) == ["1", "2"]


async def test_closing_closes_the_source_where_it_stands() -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "1"
            yield "2"
        finally:
            closed.append("closed")

    items = items_of(source())
    assert await anext(items) == "1"
    await items.aclose()

    assert closed == ["closed"]


async def test_a_sync_iterable_is_advanced_and_closed_outside_the_event_loops_thread() -> None:
    threads: list[int] = []

    def source() -> Iterator[str]:
        try:
            threads.append(threading.get_ident())
            yield "1"
            yield "2"
        finally:
            threads.append(threading.get_ident())

    items = items_of(source())
    assert await anext(items) == "1"
    await items.aclose()

    assert len(threads) == 2
    assert threading.get_ident() not in threads
    assert len(set(threads)) == 1


async def test_the_event_loop_goes_on_while_a_sync_iterable_blocks() -> None:
    gate = threading.Event()

    def source() -> Iterator[str]:
        gate.wait()
        yield "1"

    collecting = asyncio.create_task(collect(source()))
    await asyncio.sleep(0)
    assert not collecting.done()
    gate.set()

    assert await collecting == ["1"]


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration("x")], ids=["ValueError", "StopIteration"])
async def test_what_a_sync_iterable_raises_is_raised(error: Exception) -> None:
    class Source:
        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            raise error

    if isinstance(error, StopIteration):
        assert await collect(Source()) == []
    else:
        with pytest.raises(ValueError, match="x"):
            await collect(Source())


NO_SOURCES = [None, 1, "text", b"bytes", {"a": 1}, object()]


@pytest.mark.parametrize("source", NO_SOURCES, ids=lambda source: type(source).__name__)
async def test_what_cannot_be_iterated_is_refused_with_what_to_return(source: object) -> None:
    with pytest.raises(TypeError, match=f"gave {type(source).__name__}, .*async generator"):
        await collect(source)


async def test_an_awaitable_is_awaited() -> None:
    future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    future.set_result(["1"])

    assert await collect(future) == ["1"]


class Connection:
    """What a library's stream object is to its provider: iterating over it does not end it."""

    def __init__(self, closing: str) -> None:
        self.closed = 0
        setattr(self, closing, self._aclose if closing == "aclose" else self._close)

    async def _aclose(self) -> None:
        self.closed += 1

    def _close(self) -> None:
        self.closed += 1

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "1"
        yield "2"


class SyncConnection(Connection):
    __aiter__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[str]:
        yield "1"
        yield "2"


@pytest.mark.parametrize(
    "make", [lambda: Connection("aclose"), lambda: Connection("close"), lambda: SyncConnection("close")]
)
@pytest.mark.parametrize("most", [1, 3])
async def test_a_librarys_stream_object_is_closed_with_its_iterator(make: Any, most: int) -> None:
    connection = make()
    async with aclosing(items_of(connection)) as items:
        found = [item async for _, item in _up_to(most, items)]

    assert found == ["1", "2"][:most]
    assert connection.closed == 1


async def _up_to(most: int, items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    count = 0
    async for item in items:
        count += 1
        yield count, item
        if count >= most:
            return


class Manager:
    """What clients give that must be entered before it streams, as ``messages.stream()`` of anthropic."""

    def __init__(self, *items: str) -> None:
        self.items = items
        self.calls: list[str] = []

    def __enter__(self) -> tuple[str, ...]:
        self.calls.append("enter")
        return self.items

    def __exit__(self, *_: object) -> None:
        self.calls.append("exit")


class AsyncManager(Manager):
    async def __aenter__(self) -> tuple[str, ...]:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


@pytest.mark.parametrize("kind", [Manager, AsyncManager])
async def test_context_manager_is_entered_and_left(kind: type[Manager]) -> None:
    manager = kind("1", "2")
    assert await collect(manager) == ["1", "2"]
    assert manager.calls == ["enter", "exit"]


@pytest.mark.parametrize("kind", [Manager, AsyncManager])
async def test_context_manager_is_left_where_its_stream_is_closed_early(kind: type[Manager]) -> None:
    manager = kind("1", "2")
    async with aclosing(items_of(manager)) as items:
        assert await anext(items) == "1"
        assert manager.calls == ["enter"]
    assert manager.calls == ["enter", "exit"]
