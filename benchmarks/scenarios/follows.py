"""Many follows of S2 streams open at once, beside a bare aiohttp client that opens the same."""

from __future__ import annotations

import asyncio
import json
import sys

from ..bare_s2 import BareS2, connect
from ..following import Cost, stream_name
from ..logs import Log, OpenLog
from ..processes import REPOSITORY
from ..report import Figure
from ..scale import Scale

WRITERS = 50


async def run(scale: Scale, log: Log) -> list[Figure]:
    with log.open() as opened:
        await _make_streams(opened, max(scale.follows))
        return [figure for count in scale.follows for figure in await _at_once(count, scale, opened)]


async def _at_once(count: int, scale: Scale, opened: OpenLog) -> list[Figure]:
    product = await _cost("product", count, scale, opened)
    peer = await _cost("bare", count, scale, opened)
    who = f"{count:,} follows (peer: bare aiohttp)"
    values = {
        "CPU to open": ("s", product.open_cpu_seconds, peer.open_cpu_seconds),
        "time to open": ("s", product.open_seconds, peer.open_seconds),
        "CPU while idle": ("%", product.idle_cpu * 100, peer.idle_cpu * 100),
        "memory of each": ("KiB", product.memory_bytes / 1024 / count, peer.memory_bytes / 1024 / count),
        "append to reader, p50": ("ms", product.delay_ms, peer.delay_ms),
    }
    return [
        Figure(name=f"{who}: {name}", unit=unit, product=ours, bare=theirs)
        for name, (unit, ours, theirs) in values.items()
    ]


async def _cost(who: str, count: int, scale: Scale, opened: OpenLog) -> Cost:
    arguments = ["benchmarks.following", who, str(count), str(scale.idle_seconds), json.dumps(opened.options)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, "The follows failed; see the output above."
    return Cost(**json.loads(output))


async def _make_streams(opened: OpenLog, count: int) -> None:
    async with connect(WRITERS) as session:
        client = BareS2(session, opened.options)
        numbers = iter(range(count))

        async def write() -> None:
            for number in numbers:
                await client.append(stream_name(number), ["first"], 0)

        await asyncio.gather(*(write() for _ in range(WRITERS)))
