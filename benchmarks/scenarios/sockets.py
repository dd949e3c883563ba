"""Websockets by the thousand: what they cost beside a bare Channels consumer, and what those cost others who stall."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from ..client import bare, download, post, post_chat
from ..logs import Log
from ..measure import medians_of, p99, watch
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale
from ..sockets import SocketListener, begin_all

PRODUCT = "benchmarks.project.channels:application"
BARE = "benchmarks.bare_channels:application"
ANSWER = {"count": 1_000_000, "size": 80, "every_ms": 50}
SLOW_ANSWER = {**ANSWER, "every_ms": 400}
CPU_AIM, P99_AIM = 1.5, 2.0
STALLED_SHARE = 20
"""One socket in so many never reads, where some do not."""


async def run(scale: Scale, log: Log) -> list[Figure]:
    return [*await _on_one_generation(scale, log), *await _on_their_own(scale, log)]


async def _on_one_generation(scale: Scale, log: Log) -> list[Figure]:
    rows, peer_rows, stalled_rows = [], [], []
    stalled = max(1, scale.readers // STALLED_SHARE)
    for _ in range(scale.repeats):
        with serve_pair(log, product=PRODUCT, bare=BARE) as pair:
            rows.append(await _watch_fresh(pair.product, "c", scale))
            stalled_rows.append(await _watch_fresh(pair.product, "d", scale, stalled=stalled))
            peer_rows.append(await _watch(pair.bare, scale, [{**ANSWER, "shared": 1}] * scale.readers))
    (cpu, ms, kib), (peer_cpu, peer_ms, peer_kib) = medians_of(rows), medians_of(peer_rows)
    stalled_cpu, stalled_ms, _ = medians_of(stalled_rows)
    who = f"{scale.readers:,} sockets on one generation of 20 chunks/s"
    beside = f"{who}, beside {stalled} that never read (peer: without these)"
    return [
        Figure(name=f"{who}: CPU", unit="%", product=cpu, bare=peer_cpu, at_most=CPU_AIM, is_ratio=True),
        Figure(name=f"{who}: p99", unit="ms", product=ms, bare=peer_ms, at_most=P99_AIM, is_ratio=True),
        Figure(name=f"{who}: memory of a socket", unit="KiB", product=kib, bare=peer_kib),
        Figure(name=f"{beside}: CPU", unit="%", product=stalled_cpu, bare=cpu),
        Figure(name=f"{beside}: p99", unit="ms", product=stalled_ms, bare=ms),
    ]


async def _on_their_own(scale: Scale, log: Log) -> list[Figure]:
    rows, peer_rows = [], []
    for _ in range(scale.repeats):
        with serve_pair(log, product=PRODUCT, bare=BARE) as pair:
            chats = [f"c{number}" for number in range(scale.readers)]
            await asyncio.gather(
                *(download(pair.product, post_chat("/background", chat, **SLOW_ANSWER)) for chat in chats)
            )
            follows = ({"type": "subscribe", "stream": chat} for chat in chats)
            rows.append(await _watch(pair.product, scale, follows))
            peer_rows.append(await _watch(pair.bare, scale, [SLOW_ANSWER] * scale.readers))
    (cpu, ms, kib), (peer_cpu, peer_ms, peer_kib) = medians_of(rows), medians_of(peer_rows)
    who = f"{scale.readers:,} sockets on as many generations of 2.5 chunks/s, which the product writes"
    return [
        Figure(name=f"{who}: CPU", unit="%", product=cpu, bare=peer_cpu),
        Figure(name=f"{who}: p99", unit="ms", product=ms, bare=peer_ms),
        Figure(name=f"{who}: memory of a socket", unit="KiB", product=kib, bare=peer_kib),
    ]


async def _watch_fresh(server: Server, chat: str, scale: Scale, *, stalled: int = 0) -> tuple[float, float, float]:
    """Watch sockets on an answer that has just begun: what came before they did would have to be sent first."""
    await download(server, post_chat("/background", chat, **ANSWER))
    follow = {"type": "subscribe", "stream": chat}
    stallers = [SocketListener(follow, reads=False) for _ in range(stalled)]
    figures = await _watch(server, scale, [follow] * scale.readers, stallers)
    await download(server, post(f"/background/{chat}/stop"))
    return figures


async def _watch(
    server: Server, scale: Scale, said: Iterable[dict[str, Any]], stallers: Sequence[SocketListener] = ()
) -> tuple[float, float, float]:
    """Return the share of a core in percent, the 99th percentile of the latency in ms, and KiB of each socket."""
    sockets = [SocketListener(frame) for frame in said]
    await download(server, bare("/tidy", count=0, size=0))
    before = server.memory_bytes()
    await begin_all(server, [*stallers, *sockets])
    await asyncio.sleep(scale.settling_seconds)
    cpu, latencies = await watch(server, sockets, scale.window_seconds)
    await download(server, bare("/tidy", count=0, size=0))
    held = server.memory_bytes() - before
    for socket in (*stallers, *sockets):
        socket.transport.abort()
    return cpu.app * 100, p99(latencies) * 1000, held / len(sockets) / 1024
