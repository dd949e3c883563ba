"""A TCP proxy before a log that knows where requests begin, so that each can meet a fault of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from ..backends.fault_proxy import FaultProxy
from ..support.ports import free_port
from .weather import REFUSED_LISTENING, Fault, Kind, Trouble, Weather

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(slots=True)
class _Exchange:
    """The request under way on a connection; HTTP/1.1 clients send the next one when it is answered."""

    fault: Fault | None = None
    passed: int = 0
    """Bytes of its answer that went through."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the log has begun to answer: it has done what it was asked for."""


class Way(FaultProxy):
    """Forwards requests through ``weather``."""

    def __init__(self, port: int, weather: Weather) -> None:
        super().__init__(port, free_port())
        self.weather = weather
        self._exchanges: WeakKeyDictionary[asyncio.StreamWriter, _Exchange] = WeakKeyDictionary()

    async def have_outages(self) -> None:
        """Refuse connections, and end those there are, whenever the weather says so."""
        for after, seconds in self.weather.outages():
            if await self.weather.clears_up_within(after):
                return
            self.weather.met[REFUSED_LISTENING] += 1
            await self.stop()
            await self.weather.clears_up_within(seconds)
            await self.start()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                request = head + (await reader.readexactly(int(length[1])) if length else b"")
                exchange = self._exchanges[writer] = _Exchange(self.weather.next(_kind_of(head)))
                if not await self._forward(request, exchange, writer, upstream):
                    return

    async def _forward(
        self, request: bytes, exchange: _Exchange, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> bool:
        """Forward a request as its fault says; tell whether the connection goes on."""
        fault = exchange.fault
        trouble = fault.trouble if fault is not None else None
        if trouble is Trouble.CUT_BEFORE:
            self._reset(writer)
            return False
        if fault is not None and trouble in (Trouble.REFUSED_BEFORE, Trouble.RATE_LIMITED):
            writer.write(fault.reply)
            await writer.drain()
            return False
        if fault is not None and trouble in (Trouble.DELAY, Trouble.LATE):
            await asyncio.sleep(fault.seconds)
        upstream.write(request[: len(request) // 2] if trouble is Trouble.CUT_IN_REQUEST else request)
        await upstream.drain()
        if trouble is Trouble.CUT_IN_REQUEST:
            self._reset(writer)
            return False
        if trouble is Trouble.LATE:
            # Whoever hangs up at once may take the request back.
            await exchange.answered.wait()
            return False
        return True

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                exchange = self._exchanges[writer]
                exchange.answered.set()
                if exchange.fault is not None and not await self._break(data, exchange, exchange.fault, writer):
                    return
                writer.write(data)
                exchange.passed += len(data)
                await writer.drain()
        except OSError:
            return
        finally:
            if exchange := self._exchanges.get(writer):
                exchange.answered.set()  # Nothing more will come.

    async def _break(self, data: bytes, exchange: _Exchange, fault: Fault, writer: asyncio.StreamWriter) -> bool:
        """Do to an answer what its fault says; tell whether ``data`` passes."""
        if fault.trouble is Trouble.REFUSED_AFTER:
            writer.write(fault.reply)
            await writer.drain()
            return False
        if fault.trouble is Trouble.CUT_AFTER:
            self._reset(writer)
            return False
        if fault.trouble is Trouble.LATE:
            return False
        if fault.trouble not in (Trouble.CUT_IN_ANSWER, Trouble.STALL):
            return True
        rest = fault.answer_bytes - exchange.passed
        if len(data) < rest:
            return True
        writer.write(data[:rest])
        await writer.drain()
        if fault.trouble is Trouble.STALL:
            await asyncio.sleep(fault.seconds)
        self._reset(writer)
        return False


def _kind_of(head: bytes) -> Kind:
    if head.startswith(b"POST"):
        return Kind.APPEND
    return Kind.FOLLOW if b"text/event-stream" in head else Kind.READ


@contextlib.asynccontextmanager
async def way(port: int, weather: Weather) -> AsyncIterator[Way]:
    """Run a way to ``port``, with its outages."""
    found = Way(port, weather)
    await found.start()
    outages = asyncio.create_task(found.have_outages())
    try:
        yield found
    finally:
        weather.clear_up()
        await outages
        await found.stop()
