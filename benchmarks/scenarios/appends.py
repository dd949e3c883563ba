"""What an append to S2 costs, beside a bare aiohttp client that does the same appends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.records import Record

from ..bare_s2 import BareS2, connect
from ..logs import Log
from ..measure import medians
from ..report import Figure
from ..scale import Scale

RECORDS = 10
"""In each append."""
BODY = "x" * 60

Append = Callable[[str, int], Awaitable[int]]
"""``(stream, position)`` -> where the stream ends then."""


async def run(scale: Scale, log: Log) -> list[Figure]:
    figures = []
    number = count()
    with log.open() as opened:
        for writers in scale.writers:
            backend = S2Backend("default", opened.options)
            async with connect(writers) as session:
                peer = BareS2(session, opened.options)
                cpu, peer_cpu = await medians(
                    scale.repeats,
                    partial(_cpu, partial(_append, backend), writers, scale, number),
                    partial(_cpu, partial(_append_bare, peer), writers, scale, number),
                )
            await backend.close()
            who = f"{writers} writer{'s' if writers > 1 else ''}, {RECORDS} records in each append (peer: bare aiohttp)"
            figures.append(Figure(name=f"{who}: CPU per append", unit="ms", product=cpu, bare=peer_cpu))
    return figures


async def _append(backend: S2Backend, stream: str, position: int) -> int:
    ack = await backend.append(stream, [Record(BODY)] * RECORDS, fencing_token="", match_seq_num=position)
    return ack.end


async def _append_bare(client: BareS2, stream: str, position: int) -> int:
    return await client.append(stream, [BODY] * RECORDS, position)


async def _cpu(append: Append, writers: int, scale: Scale, number: count[int]) -> float:
    """Return the processor time of one append in milliseconds: that of this process, which does nothing else."""
    appends = scale.appends // writers
    streams = [f"s{next(number)}" for _ in range(writers)]
    await asyncio.gather(*(append(stream, 0) for stream in streams))
    before = time.process_time()
    await asyncio.gather(*(_write(append, stream, appends) for stream in streams))
    return (time.process_time() - before) * 1000 / (appends * writers)


async def _write(append: Append, stream: str, appends: int) -> None:
    """Append again and again, one at a time."""
    position = RECORDS
    for _ in range(appends):
        position = await append(stream, position)
