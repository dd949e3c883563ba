"""The process that writes is killed: when do readers in another process see the end?"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from ..client import Collector, begin, get, post_chat
from ..logs import Log
from ..processes import Server, serve
from ..report import Figure
from ..scale import Scale

ANSWER = {"count": 1_000_000, "size": 80, "every_ms": 50}
LAST_CHUNK = b"0\r\n\r\n"
"""What only a response that has ended properly ends with."""


async def run(scale: Scale, log: Log) -> list[Figure]:
    with log.open() as opened:
        lease = {"LEASE_SECONDS": scale.lease_seconds}
        with serve(log, opened, settings=lease) as writing, serve(log, opened, settings=lease) as reading:
            seconds = await _crash(writing, reading, scale)
    who = f"writer killed: {scale.crashed_generations} waiting readers elsewhere see the end (peer: the lease)"
    return [
        Figure(name=f"{who}, {name}", unit="s", product=value, bare=scale.lease_seconds)
        for name, value in (("p50", median(seconds)), ("last", max(seconds)))
    ]


async def _crash(writing: Server, reading: Server, scale: Scale) -> list[float]:
    """Return how long after the crash each reader's response ended."""
    chats = [f"c{number}" for number in range(scale.crashed_generations)]
    writers = [await begin(writing, Collector(post_chat("/chat", chat, **ANSWER))) for chat in chats]
    await asyncio.gather(*(writer.has_frame for writer in writers))
    readers = [await begin(reading, Collector(get(f"/chat/{chat}/stream"))) for chat in chats]
    await asyncio.gather(*(reader.has_frame for reader in readers))
    await asyncio.sleep(scale.settling_seconds)
    crashed = time.perf_counter()
    writing.process.kill()
    await asyncio.gather(*(reader.over for reader in readers))
    assert all(b"".join(reader.parts).endswith(LAST_CHUNK) for reader in readers), "A reader was cut off."
    return [reader.began + reader.seconds - crashed for reader in readers]
