"""A TCP proxy on loopback that breaks connections after a number of bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.tcp import tcp_server


@dataclass(slots=True)
class Proxy:
    """Where to connect, and what has been done to those who did."""

    base: str
    cuts: int = 0
    """Connections that were broken so far."""
    bytes_before_cut: Callable[[], int | None] = lambda: None
    """Asked once for each connection: how many bytes of the response may pass; ``None`` for all."""
    is_down: bool = False
    """Whether nobody gets through."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def go_down(self) -> None:
        """Break all connections, and let nobody through until :attr:`is_down` is taken back."""
        self.is_down = True
        for writer in self._open:
            writer.transport.abort()


def seeded_cuts(seed: int, lowest: int, highest: int) -> Callable[[], int]:
    """Draw the bytes that each connection may pass, the same ones for the same seed."""
    draw = random.Random(seed)
    return lambda: draw.randint(lowest, highest)


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of ``port``; everything that it opened is closed on the way out."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _relay(proxy, port, reader, writer)

    async with tcp_server(relay) as server:
        proxy = Proxy(server.url)
        yield proxy


async def _relay(
    proxy: Proxy, port: int, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
) -> None:
    allowed = proxy.bytes_before_cut()
    if proxy.is_down:
        client_writer.transport.abort()
        return
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        client_writer.transport.abort()
        return
    upward = asyncio.create_task(_copy(client_reader, writer, None))
    proxy._open |= {writer, client_writer}
    try:
        with suppress(ConnectionError):
            if await _copy(reader, client_writer, allowed):
                proxy.cuts += 1
    finally:
        proxy._open -= {writer, client_writer}
        # A reset, not an orderly end: the body must not look finished.
        client_writer.transport.abort()
        writer.transport.abort()
        upward.cancel()
        await asyncio.gather(upward, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: int | None) -> bool:
    """Copy until the end (``False``) or until ``allowed`` bytes have passed (``True``)."""
    passed = 0
    while data := await reader.read(65536):
        if allowed is not None and passed + len(data) >= allowed:
            writer.write(data[: allowed - passed])
            await writer.drain()
            return True
        passed += len(data)
        writer.write(data)
        await writer.drain()
    return False
