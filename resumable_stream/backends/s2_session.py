"""A read session: S2's answer to a follow, an open response that carries Server-Sent Events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import httpx


class Event(NamedTuple):
    """One event of a stream."""

    kind: str
    """The field ``event``; empty without one."""
    data: str


class EventParser:
    """Finds the events in a stream's bytes, as WHATWG's HTML standard says (section 9.2.6); no ``id`` and ``retry``.

    Lines end with CR, LF or both, and with nothing else: records may hold U+2028 and its like.
    """

    __slots__ = ("_after_cr", "_data", "_is_first_line", "_kind", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        """Of a line that has not ended."""
        self._after_cr = False
        self._is_first_line = True
        self._kind = ""
        self._data: list[str] = []

    def feed(self, part: bytes) -> list[Event]:
        """Take what came next, broken off wherever it may be, and return the events that are complete with it."""
        if self._after_cr:
            part = part.removeprefix(b"\n")
        self._after_cr = part.endswith(b"\r")
        if b"\r" in part:
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *more = part.split(b"\n")
        self._pieces.append(first)
        if not more:
            return []
        lines = [b"".join(self._pieces), *more]
        self._pieces = [lines.pop()]
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: bytes) -> Event | None:
        """Take a line, and return the event that ends with it."""
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            event = Event(self._kind, "\n".join(self._data)) if self._data else None
            self._kind, self._data = "", []
            return event
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
        elif field == b"event":
            self._kind = value.removeprefix(b" ").decode(errors="replace")
        return None


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
        self._events: list[Event] = []
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

    async def next_event(self) -> Event | None:
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
                return await anext(self._parts, None)
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
