"""A client that reads a chat's event stream, leaves it at moments that a seed draws, and comes back by cursor."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from django.http.response import HttpResponseBase

from resumable_stream.chat.api import ResumableChat
from resumable_stream.exceptions import ResumableStreamError

_FRAME = re.compile(rb"(?:event: ([a-z]+)\n)?id: ([0-9]+)\ndata: ([^\n]+)\Z")
RETRY_SECONDS = 0.05


class Frame(NamedTuple):
    """An event as it came."""

    cursor: int
    body: str
    event: str = ""


@dataclass(slots=True)
class Reading:
    """What one client has gathered, over all its connections."""

    frames: list[Frame] = field(default_factory=list)
    connections: int = 0
    clean_end: bool = False
    """Whether a body has ended properly."""
    told_all: bool = False
    """Whether a reconnect was told that there is nothing more (204)."""
    from_start: bool = True
    """Whether it began without a cursor, so that it must have the generation from its start."""

    @property
    def cursor(self) -> int | None:
        return self.frames[-1].cursor if self.frames else None

    @property
    def chunks(self) -> list[Frame]:
        return [frame for frame in self.frames if frame.event != "end"]

    def take(self, block: bytes) -> None:
        """Gather the whole events of a block."""
        *events, _ = block.split(b"\n\n")
        for event in events:
            if match := _FRAME.match(event):
                self.frames.append(Frame(int(match[2]), match[3].decode(), (match[1] or b"").decode()))


class Client:
    """Reads one stream until its answer ends."""

    def __init__(self, chat: ResumableChat, stream: str, draw: random.Random) -> None:
        self.reading = Reading()
        self._chat = chat
        self._stream = stream
        self._draw = draw
        self._leaves = draw.choice((0, 0, 1, 3, 8))
        """How often it will leave."""

    async def read(self, response: HttpResponseBase | None = None) -> None:
        """Read ``response`` or what runs, and come back until a body ends properly or nothing is left."""
        while not self.reading.clean_end:
            if response is None:
                try:
                    response = await self._chat.replay(self._stream, cursor=self.reading.cursor)
                except ResumableStreamError:
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
            if response.status_code == 204:
                self.reading.told_all = True
                return
            self.reading.connections += 1
            try:
                self.reading.clean_end = await self._gather(response)
            finally:
                response.close()
            response = None

    async def _gather(self, response: HttpResponseBase) -> bool:
        """Gather until the body ends (properly or not) or the client leaves; tell whether it ended properly."""
        stays = self._draw.randint(0, 5) if self._leaves else -1
        body = cast(AsyncGenerator[bytes, None], aiter(response))  # type: ignore[call-overload]
        try:
            async with aclosing(body):
                async for block in body:
                    if stays == 0:
                        self._leaves -= 1
                        # The connection breaks inside an event: what came of it is no event.
                        self.reading.take(block[: self._draw.randint(0, len(block))])
                        return False
                    stays -= 1
                    self.reading.take(block)
        except asyncio.CancelledError:
            # This is how a body tells the server to drop the connection; unless somebody ends this client.
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            await asyncio.sleep(RETRY_SECONDS)
            return False
        return True
