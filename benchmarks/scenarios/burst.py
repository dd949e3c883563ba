"""Generations as fast as they go, each with its reader: what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count

from ..client import bare, download, post_chat
from ..measure import medians
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

CHUNK_CHARACTERS = 80


async def run(scale: Scale) -> list[Figure]:
    answer = {"count": scale.burst_chunks, "size": CHUNK_CHARACTERS}
    number = count()
    with serve_pair() as pair:
        product, peer = await medians(
            scale.repeats,
            partial(_cpu, pair.product, scale, lambda: post_chat("/chat", f"c{next(number)}", **answer)),
            partial(_cpu, pair.bare, scale, lambda: bare("/frames", **answer)),
        )
    name = f"{scale.burst_generations} generations of {scale.burst_chunks:,} chunks, as fast as they go: CPU"
    return [Figure(name=name, unit="s", product=product, bare=peer, at_most=4, is_ratio=True)]


async def _cpu(server: Server, scale: Scale, request: Callable[[], bytes]) -> float:
    cpu = server.cpu_seconds()
    await asyncio.gather(*(download(server, request()) for _ in range(scale.burst_generations)))
    return server.cpu_seconds() - cpu
