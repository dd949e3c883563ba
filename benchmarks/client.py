"""The load client: raw HTTP/1.1 over asyncio, as cheap as it can be, so that it measures servers and not itself."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from .processes import Server
from .wire import stamps

RECEIVE_BUFFER_BYTES = 64 * 1024
"""Of a client that stalls; the system's own would take in megabytes."""


class Exchange(asyncio.Protocol):
    """One request and its response, on a connection of its own."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received_bytes = 0
        self.began = 0.0
        self.first_frame_seconds: float | None = None
        """From the request to the first frame that carries a chunk."""
        self.seconds = 0.0
        """From the request to the end of the response."""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_frame: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.began = time.perf_counter()
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.first_frame_seconds is None:
            self._look_for_frame(data)
        self.take(data)

    def take(self, data: bytes) -> None:
        """Look at what was received; whoever only downloads does not."""

    def connection_lost(self, _error: Exception | None) -> None:
        self.seconds = time.perf_counter() - self.began
        for future in (self.has_frame, self.over):
            if not future.done():
                future.set_result(None)

    def _look_for_frame(self, data: bytes) -> None:
        self._head += data
        if not self._head.startswith(b"HTTP/1.1 2"[: len(self._head)]):
            self._fail(RuntimeError(f"The server answered {self._head[:500]!r}"))
            return
        if b"data: " in self._head:
            self.first_frame_seconds = time.perf_counter() - self.began
            self._head = b""
            if not self.has_frame.done():
                self.has_frame.set_result(None)

    def _fail(self, error: Exception) -> None:
        for future in (self.has_frame, self.over):
            if not future.done():
                future.set_exception(error)
                future.exception()  # Whoever awaits it hears of it; nobody has to.
        self.transport.abort()


class Listener(Exchange):
    """Notes how old each chunk is when it arrives, while it is told to."""

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.is_listening = False
        self.latencies: list[float] = []
        """Seconds."""
        self._rest = b""

    def take(self, data: bytes) -> None:
        if not self.is_listening:
            return
        now = time.monotonic_ns()
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        self.latencies += [(now - stamp) / 1e9 for stamp in stamps(whole)]


class Collector(Exchange):
    """Keeps what it receives."""

    def __init__(self, request: bytes) -> None:
        super().__init__(request)
        self.parts: list[bytes] = []

    def take(self, data: bytes) -> None:
        self.parts.append(data)

    @property
    def body(self) -> bytes:
        """The body of a response that has a length."""
        return b"".join(self.parts).partition(b"\r\n\r\n")[2]


class Seeker(Exchange):
    """Notices when the frame with a cursor has come."""

    def __init__(self, request: bytes, cursor: int) -> None:
        super().__init__(request)
        self.has_come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sign = b"id: %d\n" % cursor
        self._rest = b""

    def take(self, data: bytes) -> None:
        seen = self._rest + data
        if self._sign in seen and not self.has_come.done():
            self.has_come.set_result(None)
        self._rest = seen[-len(self._sign) :]

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if not self.has_come.done():
            self.has_come.set_exception(RuntimeError("The response ended before the frame came."))
            self.has_come.exception()  # As in _fail.


class Staller(Exchange):
    """Stops reading after the first frame."""

    def take(self, data: bytes) -> None:
        if self.first_frame_seconds is not None:
            self.transport.pause_reading()


AnyExchange = TypeVar("AnyExchange", bound=Exchange)


def get(path: str, **headers: str) -> bytes:
    """Build a GET request."""
    return _request("GET", path, headers, b"")


def bare(path: str, **query: int) -> bytes:
    """Build a request to the bare app; see there for what can be asked for."""
    return get(f"{path}?{urlencode(query)}")


def post(path: str) -> bytes:
    """Build a POST request without a body."""
    return _request("POST", path, {}, b"")


def post_chat(path: str, chat_id: str, **asked: Any) -> bytes:
    """Build the request that starts an answer; see ``LoadChat`` for what can be asked for."""
    return post_json(path, {"id": chat_id, "message": json.dumps(asked)})


def post_json(path: str, body: Mapping[str, Any]) -> bytes:
    """Build a POST request."""
    return _request("POST", path, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def begin(server: Server, exchange: AnyExchange) -> AnyExchange:
    """Open the connection and send the request."""
    connection = socket.socket()
    if isinstance(exchange, Staller):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", server.port))
    await loop.create_connection(lambda: exchange, sock=connection)
    return exchange


async def download(server: Server, request: bytes) -> Exchange:
    """Read a whole response, and forget it."""
    exchange = await begin(server, Exchange(request))
    await exchange.over
    return exchange


async def fetch_json(server: Server, path: str) -> Any:
    """Read a JSON response."""
    collector = await begin(server, Collector(get(path)))
    await collector.over
    return json.loads(collector.body)
