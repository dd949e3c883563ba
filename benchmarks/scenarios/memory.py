"""What the server holds for somebody who waits, for an answer that runs, and for a client that stalls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..client import Exchange, Staller, bare, begin, download, get, post_chat
from ..logs import Log
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

EVERY_MS = 20
SMALL_CHUNK_CHARACTERS = 80
LARGE_CHUNK_CHARACTERS = 20_000


async def run(scale: Scale, log: Log) -> list[Figure]:
    return [await _idle_reader(scale, log), *await _generations(scale, log), *await _stalled_readers(scale, log)]


async def _idle_reader(scale: Scale, log: Log) -> Figure:
    with serve_pair(log) as pair:
        silent = {"count": 1, "size": SMALL_CHUNK_CHARACTERS, "hold": 1}
        await download(pair.product, post_chat("/background", "c", **silent))
        product = await _bytes_each(scale, pair.product, [get("/background/c/stream")] * scale.readers)
        peer = await _bytes_each(scale, pair.bare, [bare("/frames", **silent)] * scale.readers)
    name, aim = "memory of an idle reader", log.aims.idle_reader_kib
    return Figure(name=name, unit="KiB", product=product / 1024, bare=peer / 1024, at_most=aim)


async def _generations(scale: Scale, log: Log) -> list[Figure]:
    """Tell what a generation costs that has been running for a while, without its reader and with it."""
    figures = []
    answer = {"count": scale.earlier_chunks, "size": SMALL_CHUNK_CHARACTERS, "every_ms": EVERY_MS, "hold": 1}
    for path, name, at_most in (
        ("/background", "", log.aims.generation_kib),
        ("/chat", " and its reader", log.aims.read_generation_kib),
    ):
        with serve_pair(log) as pair:
            requests = [post_chat(path, f"c{number}", **answer) for number in range(scale.generations)]
            product = await _bytes_each(scale, pair.product, requests)
        figures.append(
            Figure(name=f"memory of a running generation{name}", unit="KiB", product=product / 1024, at_most=at_most)
        )
    return figures


async def _stalled_readers(scale: Scale, log: Log) -> list[Figure]:
    figures = []
    total = scale.long_replay_chunks * 100
    with serve_pair(log) as pair:
        for size in (SMALL_CHUNK_CHARACTERS, LARGE_CHUNK_CHARACTERS):
            count = total // (size + 20)
            await download(pair.product, post_chat("/chat", f"c{size}", count=count, size=size))
            requests = [get(f"/chat/replay?id=c{size}&from=0")] * scale.stalled_readers
            # The connections to the log have caches, which are not the client's.
            await asyncio.gather(*(download(pair.product, request) for request in requests))
            held = await _bytes_each(scale, pair.product, requests, kind=Staller)
            name = f"memory of a client that stalls in {total / 1e6:,.0f} MB of chunks of {size:,} bytes"
            figures.append(Figure(name=name, unit="KiB", product=held / 1024, at_most=log.aims.stalled_client_kib))
    return figures


async def _bytes_each(
    scale: Scale, server: Server, requests: Sequence[bytes], *, kind: type[Exchange] = Exchange
) -> float:
    """Return what the server holds for each of the clients that wait for more."""
    uncounted = max(1, len(requests) // 10)  # Some are there already: what the first one fills is not its own.
    counted = requests[uncounted:]
    clients = [await _begun(server, kind(request)) for request in requests[:uncounted]]
    before = await _settled_bytes(scale, server)
    clients += [await _begun(server, kind(request)) for request in counted]
    held = await _settled_bytes(scale, server) - before
    for client in clients:
        client.transport.abort()
    return held / len(counted)


async def _begun(server: Server, exchange: Exchange) -> Exchange:
    await begin(server, exchange)
    await exchange.has_frame
    return exchange


async def _settled_bytes(scale: Scale, server: Server) -> int:
    await asyncio.sleep(scale.settling_seconds + scale.earlier_chunks * EVERY_MS / 1000)
    await download(server, bare("/tidy", count=0, size=0))
    return server.memory_bytes()
