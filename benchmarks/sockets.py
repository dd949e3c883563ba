"""The load client's websockets: as cheap as its other connections, so that it measures servers and not itself."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from .client import Listener, begin
from .processes import Server
from .wire import STAMP_DIGITS

HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_STAMP = re.compile(rb'"chunk":"(\d{%d})' % STAMP_DIGITS)
_LONGEST_LEAD = 40
_MEDIUM, _SHORT = 126, 125


class SocketListener(Listener):
    """Says one thing, then notes how old each chunk is when it arrives."""

    def __init__(self, said: dict[str, Any], *, reads: bool = True) -> None:
        super().__init__(HANDSHAKE)
        self._said = _masked(json.dumps(said).encode())
        self._reads = reads
        self._is_open = False
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._tail += data
            if b"\r\n\r\n" not in self._tail:
                return
            if not self._tail.startswith(b"HTTP/1.1 101"):
                self._fail(RuntimeError(f"The server answered {self._tail[:500]!r}"))
                return
            self._is_open = True
            self.transport.write(self._said)
            data, self._tail = self._tail.partition(b"\r\n\r\n")[2], b""
        self._take(data)

    def _take(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._tail + data
        end = 0
        for found in _STAMP.finditer(data):
            end = found.end()
            if self.is_listening:
                self.latencies.append((now - int(found[1])) / 1e9)
        if end and not self.has_frame.done():
            self.has_frame.set_result(None)
        self._tail = data[max(end, len(data) - STAMP_DIGITS - _LONGEST_LEAD) :]
        if end and not self._reads:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.pause_reading()


async def begin_all(server: Server, listeners: Sequence[SocketListener]) -> None:
    """Open the sockets one after the other, and wait until each has had a chunk."""
    for listener in listeners:
        await begin(server, listener)
    await asyncio.gather(*(listener.has_frame for listener in listeners))


def _masked(content: bytes) -> bytes:
    """Make a client's text frame (RFC 6455, 5.2); a mask of zeros is a mask too."""
    size = len(content)
    length = bytes([0x80 | size]) if size <= _SHORT else bytes([0x80 | _MEDIUM]) + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + content
