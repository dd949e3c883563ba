"""A TCP proxy before a log that breaks connections where a test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from enum import Enum
from typing import Any

from ..support.ports import free_port
from ..support.tcp import TcpServer


class Fault(Enum):
    """What the proxy does to whatever passes from now on."""

    NONE = "forward everything"
    CUT_BEFORE = "reset the connection instead of forwarding the request"
    CUT_AFTER = "forward the request, then reset the connection instead of forwarding the answer"
    STALL = "forward the request and keep the answer for ever"


class FaultProxy(TcpServer):
    """Forwards to the port ``target``; ``fault`` and ``answer_bytes`` may be changed at any time."""

    def __init__(self, target: int, port: int = 0) -> None:
        super().__init__(self._relay, port)
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._sessions: set[asyncio.StreamWriter] = set()
        self._half_dead: set[asyncio.StreamWriter] = set()
        self._pinging: asyncio.Task[None] | None = None
        self.connections = 0
        self.fault = Fault.NONE
        self.answer_bytes: int | None = None
        """How many more bytes of answers pass before their connection is reset; ``None`` for all."""
        self.reply: bytes | None = None
        """What comes in place of any answer, if not ``None``."""
        self.hit = asyncio.Event()
        """Set when a fault took effect."""

    async def stop(self) -> None:
        """Refuse connections and end those there are."""
        if self._pinging is not None:
            self._pinging.cancel()
        await super().stop()

    def half_kill(self, ping: bytes) -> None:
        """Let the connections there are carry nothing more but ``ping``, in read sessions; new ones are sound."""
        self._half_dead = {*self._writers}
        self._pinging = asyncio.create_task(self._ping(self._half_dead & self._sessions, ping))

    async def _ping(self, sessions: set[asyncio.StreamWriter], ping: bytes) -> None:
        while True:
            for writer in sessions & self._writers:
                writer.write(b"%x\r\n%b\r\n" % (len(ping), ping))
            await asyncio.sleep(0.01)

    @property
    def options(self) -> dict[str, Any]:
        return {"account_endpoint": self.url, "basin_endpoint": self.url}

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        pair = {writer, upstream_writer}
        self._writers |= pair
        tasks = [
            asyncio.create_task(self._requests(reader, writer, upstream_writer)),
            asyncio.create_task(self._answers(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= pair
            for end in pair:
                end.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if b"text/event-stream" in data:
                    self._sessions.add(writer)
                if self.fault is Fault.CUT_BEFORE or writer in self._half_dead:
                    self._reset(writer)
                    return
                upstream.write(data)
                await upstream.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.fault is Fault.STALL or writer in self._half_dead:
                    self.hit.set()
                    continue
                if self.fault is Fault.CUT_AFTER:
                    self._reset(writer)
                    return
                if self.reply is not None:
                    writer.write(self.reply)
                    await writer.drain()
                    return
                passed = data if self.answer_bytes is None else data[: self.answer_bytes]
                writer.write(passed)
                await writer.drain()
                if self.answer_bytes is not None:
                    self.answer_bytes -= len(passed)
                    if not self.answer_bytes:
                        self.answer_bytes = None
                        self._reset(writer)
                        return

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Close with RST, as a process that dies does; what was written before may be lost with it."""
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        self.hit.set()


@contextlib.asynccontextmanager
async def fault_proxy(port: int) -> AsyncIterator[FaultProxy]:
    """Run a proxy before ``port``; it may be stopped and started again."""
    proxy = FaultProxy(port, free_port())
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
