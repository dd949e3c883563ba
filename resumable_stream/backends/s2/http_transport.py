"""An HTTP/1.1 transport for httpx that costs little per request and per connection, of which there may be many.

httpx's own pool does work quadratic in its connections at every request, and other clients spend four to five times
the processor time that an exchange of small messages takes. A log's client sends thousands of those a second and keeps
thousands of connections open.

All requests go to one origin. Redirects, cookies, proxies and content codings are not for it: httpx's client does, or
refuses, what of it is wanted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

import httpx
from aiohappyeyeballs import AddrInfoType, start_connection

from .http_connection import HttpConnection

KEEPALIVE_SECONDS = 30.0
"""How long an idle connection is kept: below the 60 s after which load balancers commonly drop theirs."""
ADDRESS_SECONDS = 10.0
"""How long an address is remembered, so that a thousand connections that open at once ask for it once."""
SECOND_ADDRESS_DELAY = 0.25
"""Seconds after which the next address of a host is tried beside the first (RFC 8305, section 5)."""


class Reply(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes


class OriginTransport(httpx.AsyncBaseTransport):
    """Connections of one event loop to one origin.

    Args:
        origin: ``http://`` or ``https://`` with host and port; a path is ignored.
        tls: For ``https``.
        connect_timeout: Seconds in which a connection must be open, TLS included.
        max_connections: Most connections in use; who needs another one waits up to ``connect_timeout`` for it.
    """

    def __init__(self, origin: str, *, tls: ssl.SSLContext, connect_timeout: float, max_connections: int) -> None:
        url = httpx.URL(origin)
        self._host = url.raw_host.decode("ascii")
        self._port = url.port or {"http": 80, "https": 443}[url.scheme]
        self._tls = tls if url.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._room = asyncio.Semaphore(max_connections)
        self._idle: deque[tuple[float, HttpConnection]] = deque()
        """With the time since when; the longest first."""
        self._tidying: asyncio.TimerHandle | None = None
        self._open: set[HttpConnection] = set()
        self._addresses: Sequence[AddrInfoType] = ()
        self._resolved_at = 0.0
        self._resolving = asyncio.Lock()
        self._is_closed = False

    async def exchange(self, request: bytes) -> Reply:
        """Send a whole request, head and body, and read the response to its end.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout: Nothing was sent.
            httpx.TransportError: The server may or may not have got it.
        """
        connection = await self._acquire()
        try:
            connection.start(request)
            await connection.head()
            parts = []
            while part := await connection.part():
                parts.append(part)
            return Reply(connection.status, connection.headers, b"".join(parts))
        finally:
            self._release(connection)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx; errors as in :meth:`exchange`. Of the timeouts ``read`` counts: seconds without a sign."""
        head = f"{request.method} {request.url.raw_path.decode('ascii')} HTTP/1.1\r\n".encode("ascii")
        fields = b"".join([b"%b: %b\r\n" % field for field in request.headers.raw])
        content = await request.aread()
        connection = await self._acquire()
        try:
            connection.start(b"%b%b\r\n%b" % (head, fields, content))
            silence = request.extensions.get("timeout", {}).get("read")
            if silence is not None:
                connection.watch(silence)
            await connection.head()
        except BaseException:
            self._release(connection)
            raise
        return httpx.Response(connection.status, headers=connection.headers, stream=_Body(self, connection))

    async def aclose(self) -> None:
        """Close all connections; whoever waits for something from them gets an error."""
        self._is_closed = True
        if self._tidying is not None:
            self._tidying.cancel()
        self._idle.clear()
        for connection in self._open:
            connection.abort()
        # The loop closes their sockets in its next turns, of which there may be no more than we wait for.
        await asyncio.gather(*[connection.lost for connection in self._open])

    async def _acquire(self) -> HttpConnection:
        if self._is_closed:
            raise httpx.ConnectError("The client was closed.")
        if self._room.locked():
            await self._wait_for_room()
        else:
            await self._room.acquire()
        try:
            while self._idle:
                _, connection = self._idle.pop()
                if connection.is_idle:
                    return connection
                connection.abort()
            return await self._connect()
        except BaseException:
            self._room.release()
            raise

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("All connections are in use.") from None

    def _release(self, connection: HttpConnection) -> None:
        """Take back what :meth:`_acquire` gave, in whatever state it is."""
        self._room.release()
        if not connection.is_idle:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection))
        if self._tidying is None:
            self._tidying = loop.call_later(KEEPALIVE_SECONDS, self._tidy)

    def _tidy(self) -> None:
        """Close what has been idle for too long."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] + KEEPALIVE_SECONDS <= loop.time():
            self._idle.popleft()[1].abort()
        self._tidying = loop.call_at(self._idle[0][0] + KEEPALIVE_SECONDS, self._tidy) if self._idle else None

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        connection = HttpConnection(loop)
        try:
            async with asyncio.timeout(self._connect_timeout):
                opened = await start_connection(await self._resolve(), happy_eyeballs_delay=SECOND_ADDRESS_DELAY)
                name = self._host if self._tls is not None else None
                await loop.create_connection(lambda: connection, sock=opened, ssl=self._tls, server_hostname=name)
        except TimeoutError as error:
            self._addresses = ()
            raise httpx.ConnectTimeout(f"No connection within {self._connect_timeout:g} s.") from error
        except OSError as error:  # With what is wrong about a name or a certificate.
            self._addresses = ()
            raise httpx.ConnectError(str(error)) from error
        if self._is_closed:
            connection.abort()
            raise httpx.ConnectError("The client was closed.")
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def _resolve(self) -> Sequence[AddrInfoType]:
        """Look up the host, for all who ask in a while."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if not self._addresses or loop.time() >= self._resolved_at + ADDRESS_SECONDS:
                self._addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._resolved_at = loop.time()
            return self._addresses


class _Body(httpx.AsyncByteStream):
    """The rest of a response; the connection goes back when it is closed."""

    __slots__ = ("_connection", "_transport")

    def __init__(self, transport: OriginTransport, connection: HttpConnection) -> None:
        self._transport = transport
        self._connection: HttpConnection | None = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is not None and (part := await self._connection.part()):
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport._release(connection)
