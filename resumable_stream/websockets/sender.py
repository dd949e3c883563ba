"""The one way out of a socket."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

MAX_REPLIES = 1000
"""Answers that may wait for a client that asks and does not read."""


class SocketGoneError(Exception):
    """Nothing more can be sent."""


class Sender:
    """Sends what a socket's streams have in turns, and what is said between them.

    Turns are short and come in the order in which they were asked for, so no stream waits for all of another one. And a
    stream gives way to the event loop between two turns, so a socket with a hundred streams has no more of the loop
    than a socket with one.
    """

    def __init__(
        self, send: Callable[[str], Awaitable[None]], spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]
    ) -> None:
        self.turn = asyncio.Lock()
        """Held while sending. Whoever holds it for long is made to wait by the server: the client does not read."""
        self._send = send
        self._spawn = spawn
        self._clock = asyncio.get_running_loop().time
        self._replies: deque[str] = deque()
        self._is_closed = False
        self.last_sent = self._clock()
        """When something was last handed to the server."""

    @property
    def is_overrun(self) -> bool:
        """Whether the client asks for more than it reads."""
        return len(self._replies) > MAX_REPLIES

    async def put(self, text: str) -> None:
        """Send one text, for who holds the turn; waits for the client where the server does.

        Raises:
            SocketGoneError: The socket is closed.
        """
        if self._is_closed:
            raise SocketGoneError
        self.last_sent = self._clock()
        try:
            await self._send(text)
        except Exception as error:  # ASGI wants an OSError where the client has gone; daphne raises what autobahn does
            logger.debug("websocket takes nothing more error=%r", error)
            self._is_closed = True
            raise SocketGoneError from error

    async def send(self, text: str | None) -> None:
        """Send one text, if it is one, in a turn of its own."""
        if text is not None:
            async with self.turn:
                await self.put(text)

    def reply(self, text: str | None) -> None:
        """Send one text, if it is one, soon; never waits."""
        if text is None or self._is_closed:
            return
        self._replies.append(text)
        if len(self._replies) == 1:
            self._spawn(self._flush)

    async def close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Let the replies out, then ``close``; nothing can be sent any more."""
        await self._flush()
        async with self.turn:
            if not self._is_closed:
                self._is_closed = True
                try:
                    await close()
                except Exception as error:  # noqa: BLE001 - the client was faster, see above
                    logger.debug("websocket was closed already error=%r", error)

    def abandon(self) -> None:
        """Send nothing more: the client has gone."""
        self._is_closed = True

    async def _flush(self) -> None:
        async with self.turn:
            while self._replies:
                # It stays in its place while it is sent: one flush at a time is enough.
                await self.put(self._replies[0])
                self._replies.popleft()
