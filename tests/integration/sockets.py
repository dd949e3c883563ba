"""A client of our websocket dialect, over the network."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ..support.patience import PATIENCE_SECONDS
from .visitor import Step, Visitor

Message = dict[str, Any]


class Socket:
    """One websocket of a visitor."""

    def __init__(self, connection: ClientConnection, visitor: Visitor) -> None:
        self._connection = connection
        self._visitor = visitor

    async def say(self, kind: str, stream: str, **fields: Any) -> None:
        await self.send(json.dumps({"type": kind, "stream": stream, **fields}))

    async def send(self, frame: str | bytes) -> None:
        await self._connection.send(frame)

    async def start(self, chat: str, *steps: Step) -> Message:
        """Start an answer; return what the server says to it."""
        await self.say("start", chat, body=self._visitor.body(chat, *steps))
        return await self.hear()

    async def hear(self) -> Message:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found: Message = json.loads(await self._connection.recv())
            return found

    async def hear_until(self, kind: str) -> list[Message]:
        """Return the frames up to the first of a type."""
        heard = [await self.hear()]
        while heard[-1]["type"] != kind:
            heard.append(await self.hear())
        return heard

    async def closed(self) -> int:
        """Read until the server closes; return the code."""
        frame = None
        while frame is None:
            try:
                await self.hear()
            except ConnectionClosed as closed:
                frame = closed.rcvd or pytest.fail("The server has left without a word.")
        return frame.code


def trusting() -> ssl.SSLContext:
    """Make a TLS context for certificates that the tests have made."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def socket_url(visitor: Visitor) -> str:
    scheme = "wss" if visitor.http.base_url.scheme == "https" else "ws"
    return f"{scheme}://{visitor.http.base_url.netloc.decode()}{visitor.prefix}/socket"


@asynccontextmanager
async def socket_of(visitor: Visitor, **headers: str) -> AsyncIterator[Socket]:
    """Open a websocket in the visitor's session; TLS proves nothing here."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    options: dict[str, Any] = {
        "open_timeout": PATIENCE_SECONDS,
        "ping_interval": None,
        "close_timeout": 1,
        "max_size": None,
    }
    if visitor.http.base_url.scheme == "https":
        options["ssl"] = trusting()
    async with connect(socket_url(visitor), additional_headers={"Cookie": cookies, **headers}, **options) as connection:
        yield Socket(connection, visitor)


def pairs_of(frames: list[Message]) -> list[tuple[int, Any]]:
    """Return the chunks with their cursors."""
    return [(frame["id"], frame["chunk"]) for frame in frames if frame["type"] == "chunk"]
