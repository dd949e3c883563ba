"""One connection of an HTTP/1.1 client: requests out, one at a time; responses in, parsed by llhttp (httptools).

A stream of its own for every connection, as ``asyncio.open_connection`` makes them, and a task or a few objects for
every exchange would cost several times what the exchange does.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import httpx

from ...utils.wake_up import WakeUp

HIGH_WATER_BYTES = 256 * 1024
"""How much of a body may wait to be read before the server has to wait."""
BODYLESS = frozenset({204, 304})


class HttpConnection(asyncio.Protocol):
    """Carries one exchange after the other: :meth:`start` sends a request, :meth:`part` brings the response.

    Once anything about an exchange is out of the ordinary the connection is not used again (:attr:`is_idle`).
    """

    __slots__ = (
        "_buffered",
        "_ends_with_connection",
        "_error",
        "_heard_at",
        "_in_exchange",
        "_is_complete",
        "_is_head_complete",
        "_keeps_alive",
        "_loop",
        "_news",
        "_parser",
        "_parts",
        "_patience",
        "_transport",
        "_watchdog",
        "headers",
        "lost",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        """Of the response, once :meth:`head` has returned."""
        self.headers: dict[str, str] = {}
        """Of the response; names in lower case, several values joined as RFC 9110 has it."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done when the socket is closed."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._news = WakeUp()
        self._error: Exception | None = None
        self._parts: list[bytes] = []
        self._buffered = 0
        self._patience = 0.0
        self._heard_at = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        self._in_exchange = False
        self._is_head_complete = False
        self._is_complete = False
        self._keeps_alive = True
        self._ends_with_connection = False

    @property
    def is_idle(self) -> bool:
        """Whether another request may be sent: the last response was read to its end, and both sides keep it open."""
        transport = self._transport
        return (
            self._keeps_alive
            and not self._in_exchange
            and self._error is None
            and transport is not None
            and not transport.is_closing()
        )

    def start(self, request: bytes) -> None:
        """Send a request, head and body in one.

        Raises:
            httpx.ConnectError: The connection was closed meanwhile; nothing was sent.
        """
        if not self.is_idle or self._transport is None:
            raise httpx.ConnectError("The connection was closed.")
        self.headers = {}
        self._in_exchange = True
        self._is_head_complete = self._is_complete = False
        self._transport.write(request)

    async def head(self) -> None:
        """Wait for the status and the headers.

        Raises:
            httpx.TransportError: The connection broke, or what came is not HTTP.
        """
        while not self._is_head_complete:
            await self._more()

    async def part(self) -> bytes:
        """Wait for what comes next of the body and return it; empty at the end of the response.

        Raises:
            httpx.TransportError: See :meth:`head`; the body is not complete.
        """
        while not self._parts:
            if self._is_complete:
                self._end_watch()
                self._in_exchange = False
                return b""
            await self._more()
        parts, self._parts = self._parts, []
        self._hold_back(0)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def watch(self, seconds: float) -> None:
        """Let the rest of this response fail with ``httpx.ReadTimeout`` once nothing has come for so long."""
        self._patience, self._heard_at = seconds, self._loop.time()
        self._watchdog = self._loop.call_at(self._heard_at + seconds, self._look)

    def abort(self) -> None:
        """Close at once; whoever waits for something gets an error."""
        self._fail(httpx.ReadError("The connection was closed."))

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        await self._news.wait()

    def _fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        if self._transport is not None:
            self._transport.abort()
        self._news.send()

    def _look(self) -> None:
        # One timer that looks now and then costs nothing beside one that is set anew with everything that comes.
        now = self._loop.time()
        if self._parts:  # It is our side that is slow.
            self._heard_at = now
        due = self._heard_at + self._patience
        if due <= now:
            self._fail(httpx.ReadTimeout(f"Nothing came for {self._patience:g} s."))
        else:
            self._watchdog = self._loop.call_at(due, self._look)

    def _end_watch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _hold_back(self, buffered: int) -> None:
        """Take note of how much waits to be read, and let the server wait with more where that is enough."""
        was_full, self._buffered = self._buffered >= HIGH_WATER_BYTES, buffered
        is_full = buffered >= HIGH_WATER_BYTES
        if is_full == was_full or self._transport is None or self._transport.is_closing():
            return
        if is_full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        # Other loops' transports, as uvloop's, have the methods without being subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._parser is None:
            return
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(f"The response is not HTTP/1.1: {error}"))
        else:
            self._news.send()

    def eof_received(self) -> None:
        """See :class:`asyncio.Protocol`; the connection is closed then."""
        if self._ends_with_connection:
            self._is_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._error is None:
            told = f"The connection broke: {exc}" if exc is not None else "The server closed the connection."
            self._error = httpx.ReadError(told) if exc is not None else httpx.RemoteProtocolError(told)
            self._error.__cause__ = exc
        self._parser = None  # It refers to us.
        self._end_watch()
        self._news.send()
        if not self.lost.done():
            self.lost.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Take note that a response begins.

        Raises:
            ValueError: Nobody asked for it; the parser stops.
        """
        if not self._in_exchange or self._is_complete:
            raise ValueError("There is more than one response.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Let the head be read."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        has_end = self.status in BODYLESS or "content-length" in self.headers or "transfer-encoding" in self.headers
        self._ends_with_connection = self.status >= 200 and not has_end
        self._is_head_complete = self.status >= 200

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._parts.append(data)
        self._hold_back(self._buffered + len(data))

    def on_message_complete(self) -> None:
        """Take note of the end of a response, unless it is one that only announces the other."""
        assert self._parser is not None
        if self.status < 200:
            self.headers = {}
            return
        self._is_complete = True
        self._keeps_alive = self._parser.should_keep_alive()
