"""Servers that run in the process, and in the event loop, that attacks them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvicorn

from .attack import Report, application

Attack = Callable[[int], Awaitable[Report]]
"""What is done to the server at a port."""


async def with_uvicorn(attack: Attack) -> Report:
    """Serve on some port of loopback until the attack has ended."""
    config = uvicorn.Config(application(), port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    try:
        return await attack(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await task


def under_uvicorn(attack: Attack) -> Report:
    """Serve as :func:`with_uvicorn` does, in an event loop of its own."""
    return asyncio.run(with_uvicorn(attack))


def under_daphne(attack: Attack) -> Report:
    """Serve on some port of loopback until the attack has ended, in the event loop that daphne's reactor makes."""
    # It installs Twisted's reactor, which one process can have only one of.
    from daphne.server import Server, twisted_loop  # noqa: PLC0415

    async def attack_and_stop() -> Report:
        while not server.listening_addresses:  # noqa: ASYNC110 - daphne tells nobody
            await asyncio.sleep(0.01)
        try:
            return await attack(server.listening_addresses[0][1])
        finally:
            server.stop()

    attacking: list[asyncio.Task[Report]] = []
    server = Server(
        application(),
        endpoints=["tcp:0:interface=127.0.0.1"],
        signal_handlers=False,
        ready_callable=lambda: attacking.append(twisted_loop.create_task(attack_and_stop())),
    )
    server.run()
    return attacking[0].result()


SERVERS = {"uvicorn": under_uvicorn, "daphne": under_daphne}
