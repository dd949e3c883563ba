"""A finished answer is read again: how long that takes, and how soon its first chunk comes."""

from __future__ import annotations

from functools import partial

from ..client import Exchange, bare, begin, download, get, post_chat
from ..logs import Log
from ..measure import medians
from ..processes import Pair, Server, serve_pair
from ..report import Figure
from ..scale import Scale

CHUNK_CHARACTERS = 80
"""About 100 bytes as a frame."""
BLOCK_BYTES = 64 * 1024
SHORT_CHUNKS = 100


async def run(scale: Scale, log: Log) -> list[Figure]:
    with serve_pair(log) as pair:
        counts = SHORT_CHUNKS, scale.replay_chunks, scale.long_replay_chunks
        for count in counts:
            await download(pair.product, post_chat("/chat", f"c{count}", count=count, size=CHUNK_CHARACTERS))
        figures = [await _first_chunk(pair, scale, log, count) for count in counts]
        return [await _whole(pair, scale, log), *figures]


async def _whole(pair: Pair, scale: Scale, log: Log) -> Figure:
    count = scale.replay_chunks
    product, one_by_one, joined = await medians(
        scale.repeats,
        partial(_seconds, pair.product, _replay(count)),
        partial(_seconds, pair.bare, bare("/frames", count=count, size=CHUNK_CHARACTERS)),
        partial(_seconds, pair.bare, bare("/frames", count=count, size=CHUNK_CHARACTERS, join=BLOCK_BYTES)),
    )
    return Figure(
        name=f"replay of {count:,} chunks: time",
        unit="ms",
        product=product * 1000,
        bare=one_by_one * 1000,
        joined=joined * 1000,
        at_most=log.aims.replay_time,
        is_ratio=True,
    )


async def _first_chunk(pair: Pair, scale: Scale, log: Log, count: int) -> Figure:
    product, peer = await medians(
        scale.repeats * 3,
        partial(_first_chunk_seconds, pair.product, _replay(count)),
        # However many follow, the first comes at once; a client that left would only make the bare app complain.
        partial(_first_chunk_seconds, pair.bare, bare("/frames", count=1, size=CHUNK_CHARACTERS)),
    )
    return Figure(
        name=f"replay of {count:,} chunks: first chunk",
        unit="ms",
        product=product * 1000,
        bare=peer * 1000,
        at_most=log.aims.first_chunk_ms,
    )


def _replay(count: int) -> bytes:
    return get(f"/chat/replay?id=c{count}&from=0")


async def _seconds(server: Server, request: bytes) -> float:
    return (await download(server, request)).seconds


async def _first_chunk_seconds(server: Server, request: bytes) -> float:
    exchange = await begin(server, Exchange(request))
    await exchange.has_frame
    exchange.transport.abort()
    await exchange.over
    assert exchange.first_frame_seconds is not None
    return exchange.first_frame_seconds
