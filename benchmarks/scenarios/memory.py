"""What the server holds for somebody who waits, for an answer that runs, and for a client that stalls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..client import Exchange, Staller, bare, begin, download, get, post_chat
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

WARM_UP_CLIENTS = 20
SMALL_CHUNK_CHARACTERS = 80
LARGE_CHUNK_CHARACTERS = 20_000


async def run(scale: Scale) -> list[Figure]:
    return [await _idle_reader(scale), await _generation(scale), *await _stalled_readers(scale)]


async def _idle_reader(scale: Scale) -> Figure:
    with serve_pair() as pair:
        silent = {"count": 1, "size": SMALL_CHUNK_CHARACTERS, "hold": 1}
        await download(pair.product, post_chat("/background", "c", **silent))
        product = await _bytes_each(scale, pair.product, [get("/background/c/stream")] * scale.readers)
        peer = await _bytes_each(scale, pair.bare, [bare("/frames", **silent)] * scale.readers)
    return Figure(name="memory of an idle reader", unit="KiB", product=product / 1024, bare=peer / 1024, at_most=40)


async def _generation(scale: Scale) -> Figure:
    def requests(prefix: str, count: int) -> list[bytes]:
        return [post_chat("/background", f"{prefix}{number}", count=20, size=80, hold=1) for number in range(count)]

    with serve_pair() as pair:
        for request in requests("warm", WARM_UP_CLIENTS):
            await download(pair.product, request)
        before = await _settled_bytes(scale, pair.product)
        for request in requests("c", scale.generations):
            await download(pair.product, request)
        product = (await _settled_bytes(scale, pair.product) - before) / scale.generations
    return Figure(name="memory of a running generation", unit="KiB", product=product / 1024, at_most=60)


async def _stalled_readers(scale: Scale) -> list[Figure]:
    figures = []
    total = scale.long_replay_chunks * 100
    with serve_pair() as pair:
        for size in (SMALL_CHUNK_CHARACTERS, LARGE_CHUNK_CHARACTERS):
            count = total // (size + 20)
            await download(pair.product, post_chat("/chat", f"c{size}", count=count, size=size))
            requests = [get(f"/chat/replay?id=c{size}&from=0")] * scale.stalled_readers
            # The readers' connections to the log have caches, which are not the client's.
            await asyncio.gather(*(download(pair.product, request) for request in requests))
            held = await _bytes_each(scale, pair.product, requests, kind=Staller)
            name = f"memory of a client that stalls in {total / 1e6:,.0f} MB of chunks of {size:,} bytes"
            figures.append(Figure(name=name, unit="KiB", product=held / 1024, at_most=1024))
    return figures


async def _bytes_each(
    scale: Scale, server: Server, requests: Sequence[bytes], *, kind: type[Exchange] = Exchange
) -> float:
    """Return what the server holds for each of the clients that wait for more."""
    for exchange in [await _begun(server, kind(request)) for request in requests[:WARM_UP_CLIENTS]]:
        exchange.transport.abort()
    before = await _settled_bytes(scale, server)
    clients = [await _begun(server, kind(request)) for request in requests]
    held = await _settled_bytes(scale, server) - before
    for client in clients:
        client.transport.abort()
    return held / len(requests)


async def _begun(server: Server, exchange: Exchange) -> Exchange:
    await begin(server, exchange)
    await exchange.has_frame
    return exchange


async def _settled_bytes(scale: Scale, server: Server) -> int:
    await asyncio.sleep(scale.settling_seconds)
    return server.memory_bytes()
