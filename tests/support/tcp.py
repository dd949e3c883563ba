"""TCP servers of tests, which leave no socket and no task behind, whatever their clients do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """Listens on loopback and runs ``serve`` for each connection; may be stopped and started again.

    ``serve`` need not mind that its client leaves. A connection stays open when ``serve`` is done with it, until either
    side closes it or the server is stopped.
    """

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self.port = port
        """Where it listens; 0 for any port, until it has been started. To start it again, give it a ``free_port()``."""
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._serve, self._connections), "127.0.0.1", self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and end those there are; an error of ``serve`` is raised here."""
        assert self._server is not None
        loop = asyncio.get_running_loop()
        for listening in self._server.sockets:
            loop.remove_reader(listening.fileno())
        # Whoever was accepted just now becomes a connection in the next turn of the loop; of a closed server, never.
        await asyncio.sleep(0)
        self._server.close()
        await asyncio.gather(*[connection.end() for connection in self._connections])


class _Connection(asyncio.StreamReaderProtocol):
    """A connection that can be ended at any time, even before it was made."""

    def __init__(self, serve: Serve, connections: set[_Connection]) -> None:
        super().__init__(asyncio.StreamReader(), self._made)
        self._run = serve
        self._connections = connections
        self._serving: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_over = False
        self._lost = asyncio.Event()
        connections.add(self)

    def _made(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer  # Whose end, since Python 3.13, is that of the connection.
        if self._is_over:
            writer.transport.abort()
        else:
            self._serving = asyncio.create_task(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await self._run(reader, writer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        self._lost.set()

    async def end(self) -> None:
        self._is_over = True
        if self._writer is not None:
            self._writer.transport.abort()
        await self._lost.wait()
        self._connections.discard(self)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            if not self._serving.cancelled():
                self._serving.result()


@asynccontextmanager
async def tcp_server(serve: Serve) -> AsyncIterator[TcpServer]:
    """Run a server on a free port."""
    server = TcpServer(serve)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
