"""Generations as fast as they go, each with its reader: what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count

from ..client import bare, download, post_chat
from ..logs import Log
from ..measure import medians_of, rounds
from ..processes import Cpu, Server, serve_pair
from ..report import Figure
from ..scale import Scale

CHUNK_CHARACTERS = 80


async def run(scale: Scale, log: Log) -> list[Figure]:
    answer = {"count": scale.burst_chunks, "size": CHUNK_CHARACTERS}
    number = count()
    with serve_pair(log) as pair:
        product, peer = await rounds(
            scale.repeats,
            partial(_cpu, pair.product, scale, lambda: post_chat("/chat", f"c{next(number)}", **answer)),
            partial(_cpu, pair.bare, scale, lambda: bare("/frames", **answer)),
        )
    (app, own), (peer_app, _) = medians_of(product), medians_of(peer)
    return [
        Figure(
            name=f"{scale.burst_generations} generations of {scale.burst_chunks:,} chunks, as fast as they go: CPU",
            unit="s",
            product=app,
            log=own if log.is_apart else None,
            bare=peer_app,
            at_most=log.aims.burst_cpu,
            is_ratio=True,
        )
    ]


async def _cpu(server: Server, scale: Scale, request: Callable[[], bytes]) -> Cpu:
    before = server.cpu()
    await asyncio.gather(*(download(server, request()) for _ in range(scale.burst_generations)))
    return server.cpu().since(before)
