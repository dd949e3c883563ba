"""Many readers of one generation: what they cost, and how late the last of them is."""

from __future__ import annotations

import asyncio
from statistics import median

from ..client import Listener, bare, begin, get, post_chat
from ..measure import p99, watch
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

ANSWER = {"count": 1_000_000, "size": 80, "every_ms": 50}


async def run(scale: Scale) -> list[Figure]:
    product, peer = [], []
    for _ in range(scale.repeats):
        with serve_pair() as pair:
            writer = await begin(pair.product, Listener(post_chat("/chat", "c", **ANSWER)))
            await writer.has_frame
            product.append(await _watch(pair.product, get("/chat/c/stream"), scale))
            writer.transport.abort()
            peer.append(await _watch(pair.bare, bare("/shared", **ANSWER), scale))
    product_cpu, product_ms = (median(values) for values in zip(*product, strict=True))
    peer_cpu, peer_ms = (median(values) for values in zip(*peer, strict=True))
    who = f"{scale.readers:,} readers of one generation of 20 chunks/s"
    return [
        Figure(
            name=f"{who}: CPU", unit="%", product=product_cpu * 100, bare=peer_cpu * 100, at_most=1.5, is_ratio=True
        ),
        Figure(name=f"{who}: p99", unit="ms", product=product_ms, bare=peer_ms, at_most=2, is_ratio=True),
    ]


async def _watch(server: Server, request: bytes, scale: Scale) -> tuple[float, float]:
    """Return the share of a core, and the 99th percentile of the latency in milliseconds."""
    listeners = [await begin(server, Listener(request)) for _ in range(scale.readers)]
    await asyncio.gather(*(listener.has_frame for listener in listeners))
    await asyncio.sleep(scale.settling_seconds)
    cpu, latencies = await watch(server, listeners, scale.window_seconds)
    for listener in listeners:
        listener.transport.abort()
    return cpu, p99(latencies) * 1000
