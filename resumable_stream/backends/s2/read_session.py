"""A read session: S2's answer to a follow, an open response that carries Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx

from ...utils.event_parser import EventParser, ParsedEvent
from ..frames import without_frames


class SessionInDoubtError(Exception):
    """The session is to be opened again."""


class ReadSession:
    """A read session, open or being opened."""

    __slots__ = ("_due", "_events", "_on_close", "_parser", "_parts", "_response", "_waiting", "stream")

    def __init__(self, stream: str, on_close: Callable[[ReadSession], None]) -> None:
        self.stream = stream
        self._on_close = on_close
        self._response: httpx.Response | None = None
        self._parts: AsyncIterator[bytes] | None = None
        self._parser = EventParser()
        self._events: list[ParsedEvent] = []
        """That came and were not handed out; the next one last."""
        self._due: float | None = None
        self._waiting: asyncio.Timeout | None = None

    def begin(self, response: httpx.Response) -> None:
        """Take the response, whose body is to be read as events."""
        self._response = response
        self._parts = body_of(response)

    def end_by(self, when: float) -> None:
        """Let waiting for something new end at ``when``, in the loop's time, unless it ends before."""
        if self._due is not None and self._due <= when:
            return
        self._due = when
        # uvloop counts in whole milliseconds, so its timers may fire a moment before they are due.
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(when)

    async def next_event(self) -> ParsedEvent | None:
        """Wait for the next event; ``None`` after the last one.

        Raises:
            SessionInDoubtError: It is time to open the session again; what has come so far was handed out.
            httpx.HTTPError: The session broke off.
        """
        while not self._events:
            part = await self._next_part()
            if part is None:
                return None
            self._events = self._parser.feed(part)[::-1]
        return self._events.pop()

    async def close(self) -> None:
        """Let go of the connection, whatever state the session is in."""
        self._on_close(self)
        if self._response is not None:
            await self._response.aclose()

    async def _next_part(self) -> bytes | None:
        assert self._parts is not None
        waiting = self._waiting = asyncio.timeout_at(self._due)
        try:
            async with waiting:
                return await without_frames(anext(self._parts, None), passing=(httpx.HTTPError, OSError))
        except TimeoutError:
            if not waiting.expired():
                raise
        finally:
            self._waiting = None
        raise SessionInDoubtError("other requests have failed")


def body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """Read a body in the parts that come, past httpx's decoders where there is nothing to decode."""
    if "content-encoding" in response.headers or not isinstance(response.stream, httpx.AsyncByteStream):
        return response.aiter_bytes()
    return aiter(response.stream)
