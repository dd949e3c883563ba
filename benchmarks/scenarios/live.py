"""Generations at the pace of a model, each with its reader: how late a chunk is, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

from ..client import Listener, bare, begin, fetch_json, post_chat
from ..logs import Log
from ..measure import medians_of, watch
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

ANSWER = {"count": 1_000_000, "size": 80, "every_ms": 50}
"""It goes on for longer than anybody watches."""


async def run(scale: Scale, log: Log) -> list[Figure]:
    return [figure for count in (1, scale.generations) for figure in await _at_once(count, scale, log)]


async def _at_once(count: int, scale: Scale, log: Log) -> list[Figure]:
    commits, product, peer = [], [], []
    for _ in range(scale.repeats):
        # New servers for each round: generations go on when their reader has gone, and would be counted.
        with serve_pair(log) as pair:
            commits.append(median((await fetch_json(pair.product, f"/commits?count={scale.commits}"))["seconds"]))
            requests = [post_chat("/chat", f"c{number}", **ANSWER) for number in range(count)]
            product.append(await _watch(pair.product, requests, scale))
            peer.append(await _watch(pair.bare, [bare("/frames", **ANSWER)] * count, scale))
    commit_ms = median(commits) * 1000
    cpu, own_cpu, ms = medians_of(product)
    peer_cpu, _, peer_ms = medians_of(peer)
    who = f"{count} generation{'s' if count > 1 else ''} of 20 chunks/s"
    latency = Figure(
        name=f"{who}: yield to client, p50 (the log's own commit takes {commit_ms:.2f} ms)",
        unit="ms",
        product=ms,
        bare=peer_ms,
        at_most=log.aims.latency_ms(count, commit_ms),
    )
    used = Figure(
        name=f"{who}: CPU",
        unit="%",
        product=cpu,
        log=own_cpu if log.is_apart else None,
        bare=peer_cpu,
        at_most=log.aims.live_cpu,
        is_ratio=True,
    )
    return [latency, used] if count > 1 else [latency]


async def _watch(server: Server, requests: Sequence[bytes], scale: Scale) -> tuple[float, float, float]:
    """Return the shares of a core in percent, and the median latency in milliseconds."""
    listeners = []
    for request in requests:
        listeners.append(await begin(server, Listener(request)))
        # In the end they are spread over the interval, as answers that have nothing to do with each other.
        await asyncio.sleep(ANSWER["every_ms"] / 1000 * 3.7 / len(requests))
    await asyncio.gather(*(listener.has_frame for listener in listeners))
    await asyncio.sleep(scale.settling_seconds)
    cpu, latencies = await watch(server, listeners, scale.window_seconds)
    for listener in listeners:
        listener.transport.abort()
    return cpu.app * 100, cpu.log * 100, median(latencies) * 1000
