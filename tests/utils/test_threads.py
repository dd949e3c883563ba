"""Threads of requests, and the database connections in them, are not kept by readers who wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

from resumable_stream.formats import get_format
from resumable_stream.http.responses import event_stream
from resumable_stream.limits import Places
from resumable_stream.readers.frames import Frame
from resumable_stream.readers.reader import Reader
from resumable_stream.utils.threads import own_thread, release_thread


class Connections:
    """Stands in for Django's: one for each thread that has asked for it."""

    connection = "open"
    in_atomic_block = False
    autocommit = True

    def __init__(self) -> None:
        self.open: set[threading.Thread] = set()

    def use(self) -> threading.Thread:
        self.open.add(threading.current_thread())
        return threading.current_thread()

    def all(self, *, initialized_only: bool = False) -> list[Any]:
        return [self] if initialized_only and threading.current_thread() in self.open else []

    def close(self) -> None:
        self.open.remove(threading.current_thread())


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Connections:
    found = Connections()
    monkeypatch.setattr(connections, "all", found.all)
    return found


async def test_a_released_thread_ends_and_its_connections_are_closed(database: Connections) -> None:
    async with ThreadSensitiveContext():
        thread = await sync_to_async(database.use)()

        await release_thread()

        thread.join()
        assert not database.open


async def test_sync_code_after_a_release_gets_another_thread(database: Connections) -> None:
    async with ThreadSensitiveContext():
        first = await sync_to_async(database.use)()
        await release_thread()
        second = await sync_to_async(database.use)()
        third = await sync_to_async(database.use)()

        assert first is not second
        assert second is third


async def test_nothing_is_released_where_no_sync_code_was_called(database: Connections) -> None:
    async with ThreadSensitiveContext() as context:
        await release_thread()

        assert context not in SyncToAsync.context_to_thread_executor


async def test_a_thread_that_is_shared_with_others_is_left_alone(database: Connections) -> None:
    thread = await sync_to_async(database.use)()

    await release_thread()

    assert database.open == {thread}
    assert await sync_to_async(database.use)() is thread


async def test_a_thread_that_somebody_else_owns_is_left_to_them(database: Connections) -> None:
    with ThreadPoolExecutor(1) as executor:
        async with ThreadSensitiveContext(executor=executor):
            thread = await sync_to_async(database.use)()

            await release_thread()

            assert not database.open
            assert await sync_to_async(database.use)() is thread


class WaitingReader(Reader):
    """A reader to whom nothing comes."""

    def __init__(self) -> None:
        self.is_waiting = asyncio.Event()

    async def frames(self) -> AsyncGenerator[list[Frame], None]:
        self.is_waiting.set()
        await asyncio.Event().wait()
        yield []


async def test_a_reader_who_waits_holds_no_thread_and_no_connection(database: Connections) -> None:
    reader = WaitingReader()
    response = event_stream(
        reader, get_format("text"), Places("Full.").take("somebody", limit=None, limit_per_key=None)
    )
    async with ThreadSensitiveContext(), aclosing(aiter(response)) as body:
        thread = await sync_to_async(database.use)()
        await anext(body)
        waiting = asyncio.create_task(anext(body))
        await reader.is_waiting.wait()

        thread.join()
        assert not database.open

        waiting.cancel()
        await asyncio.wait([waiting])


async def test_sync_code_of_a_generation_shares_its_thread_with_nobody_and_leaves_nothing_open(
    database: Connections,
) -> None:
    outside = await sync_to_async(database.use)()
    async with own_thread():
        inside = await sync_to_async(database.use)()

        assert inside is not outside

    inside.join()
    assert database.open == {outside}
