"""The peer of websockets: a Channels consumer that sends the product's frames from memory and does nothing else.

The client's first frame says what, as the query does for the bare app: ``{"count", "size", "every_ms", "shared"}``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.conf import settings

from .bare import application as http_application
from .wire import text

if not settings.configured:
    settings.configure()

_broadcasts: list[Broadcast] = []


class FrameConsumer(AsyncWebsocketConsumer):
    """Sends on behalf of one socket, in a task that its disconnect cancels."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.task = asyncio.create_task(self._answer(json.loads(text_data or "")))

    async def disconnect(self, code: int) -> None:
        self.task.cancel()

    async def _answer(self, asked: dict[str, int]) -> None:
        frames = _shared(asked) if asked.pop("shared", 0) else _own(asked)
        async for frame in frames:
            await self.send(text_data=frame)


def _frame(number: int, size: int) -> str:
    return f'{{"type":"chunk","stream":"c","id":{number},"chunk":"{text(size)}"}}'


async def _own(asked: dict[str, int]) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    due = clock()
    for number in range(asked["count"]):
        yield _frame(number, asked["size"])
        due += asked["every_ms"] / 1000
        await asyncio.sleep(due - clock())


class Broadcast:
    """The same frames for everybody who listens."""

    def __init__(self, asked: dict[str, int]) -> None:
        self.frame: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(asked))

    async def _run(self, asked: dict[str, int]) -> None:
        async for frame in _own(asked):
            sent, self.frame = self.frame, asyncio.get_running_loop().create_future()
            sent.set_result(frame)


async def _shared(asked: dict[str, int]) -> AsyncIterator[str]:
    if not _broadcasts:
        _broadcasts.append(Broadcast(asked))
    while True:
        # Shielded: a client that leaves must not cancel what the others wait for.
        yield await asyncio.shield(_broadcasts[0].frame)


application: Any = ProtocolTypeRouter({"http": http_application, "websocket": FrameConsumer.as_asgi()})
