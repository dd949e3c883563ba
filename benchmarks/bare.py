"""The peer of every figure: an ASGI application that sends frames from memory and does nothing else.

The query says what: ``/frames?count=100&size=80&every_ms=50`` to each client its own, ``join=65536`` in blocks of this
size instead of one send for each frame, ``hold=1`` without ever ending; ``/shared?…`` the same frames at the same time
to all clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from .tidying import tidy
from .wire import frame, text

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["path"] == "/tidy":
        tidy()
    query = {name: int(value) for name, value in parse_qsl(scope["query_string"].decode())}
    frames = _shared(query) if scope["path"] == "/shared" else _own(query)
    # As any app would that must not go on sending to nobody.
    answer = asyncio.create_task(_answer(frames, send, hold=bool(query.get("hold"))))
    gone = asyncio.create_task(_disconnected(receive))
    await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
    for task in (answer, gone):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _answer(frames: AsyncIterator[bytes], send: Send, *, hold: bool) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b": stream\n\n", "more_body": True})
    async for data in frames:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    if hold:
        await asyncio.Event().wait()
    await send({"type": "http.response.body"})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _own(query: dict[str, int]) -> AsyncIterator[bytes]:
    count, size, every_ms = query["count"], query["size"], query.get("every_ms", 0)
    if not every_ms:
        for data in _joined(count, size, query["join"]) if query.get("join") else _stored(count, size):
            yield data
        return
    clock = asyncio.get_running_loop().time
    due = clock()
    for number in range(count):
        yield frame(number, text(size))
        due += every_ms / 1000
        await asyncio.sleep(due - clock())


@lru_cache
def _stored(count: int, size: int) -> list[bytes]:
    return [frame(number, text(size)) for number in range(count)]


@lru_cache
def _joined(count: int, size: int, block: int) -> list[bytes]:
    return list(_blocks(_stored(count, size), block))


def _blocks(frames: list[bytes], size: int) -> Iterator[bytes]:
    whole = b"".join(frames)
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


class Broadcast:
    """The same frames for everybody who listens."""

    def __init__(self, query: dict[str, int]) -> None:
        self.frame: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(query["count"], query["size"], query["every_ms"]))

    async def _run(self, count: int, size: int, every_ms: int) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        for number in range(count):
            due += every_ms / 1000
            await asyncio.sleep(due - clock())
            sent, self.frame = self.frame, asyncio.get_running_loop().create_future()
            sent.set_result(frame(number, text(size)))


_broadcasts: list[Broadcast] = []


async def _shared(query: dict[str, int]) -> AsyncIterator[bytes]:
    if not _broadcasts:
        _broadcasts.append(Broadcast(query))
    while True:
        # Shielded: a client that leaves must not cancel what the others wait for.
        yield await asyncio.shield(_broadcasts[0].frame)
