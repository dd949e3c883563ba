"""Many readers of one generation: what they cost, and how late the last of them is."""

from __future__ import annotations

import asyncio

from ..client import Listener, bare, begin, get, post_chat
from ..logs import Log
from ..measure import medians_of, p99, watch
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

ANSWER = {"count": 1_000_000, "size": 80, "every_ms": 50}


async def run(scale: Scale, log: Log) -> list[Figure]:
    product, peer = [], []
    for _ in range(scale.repeats):
        with serve_pair(log) as pair:
            writer = await begin(pair.product, Listener(post_chat("/chat", "c", **ANSWER)))
            await writer.has_frame
            product.append(await _watch(pair.product, get("/chat/c/stream"), scale))
            writer.transport.abort()
            peer.append(await _watch(pair.bare, bare("/shared", **ANSWER), scale))
    cpu, own_cpu, ms = medians_of(product)
    peer_cpu, _, peer_ms = medians_of(peer)
    who = f"{scale.readers:,} readers of one generation of 20 chunks/s"
    return [
        Figure(
            name=f"{who}: CPU",
            unit="%",
            product=cpu,
            log=own_cpu if log.is_apart else None,
            bare=peer_cpu,
            at_most=log.aims.fanout_cpu,
            is_ratio=True,
        ),
        Figure(name=f"{who}: p99", unit="ms", product=ms, bare=peer_ms, at_most=log.aims.fanout_p99, is_ratio=True),
    ]


async def _watch(server: Server, request: bytes, scale: Scale) -> tuple[float, float, float]:
    """Return the shares of a core in percent, and the 99th percentile of the latency in milliseconds."""
    listeners = [await begin(server, Listener(request)) for _ in range(scale.readers)]
    await asyncio.gather(*(listener.has_frame for listener in listeners))
    await asyncio.sleep(scale.settling_seconds)
    cpu, latencies = await watch(server, listeners, scale.window_seconds)
    for listener in listeners:
        listener.transport.abort()
    return cpu.app * 100, cpu.log * 100, p99(latencies) * 1000
