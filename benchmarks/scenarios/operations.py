"""What S2 is asked to do for an answer, which is what it bills, and how late its chunks are for that.

The peer waits as the npm package ``@s2-dev/resumable-stream`` does by default: for 50 ms from the first chunk of each
batch on.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import ExitStack, aclosing, suppress
from statistics import median

from ..bare_s2 import BareS2, connect
from ..client import Listener, begin, fetch_json, post_chat
from ..logs import Log, OpenLog
from ..processes import Server, serve
from ..report import Figure
from ..scale import Scale
from ..wire import STAMP_DIGITS, text

PACE = {"size": 80, "every_ms": 20}
PER_CHUNKS = 1_000
PEER_LINGER_SECONDS = 0.05
LINGERS: dict[str, dict[str, float]] = {"by default": {}, "LINGER_MS=50": {"LINGER_MS": 50}}
_STAMP = re.compile(rb'"body":"(\d{%d})' % STAMP_DIGITS)


async def run(scale: Scale, log: Log) -> list[Figure]:
    with ExitStack() as stack:
        opened = stack.enter_context(log.open())
        servers = [stack.enter_context(serve(log, opened, counts=True, settings=linger)) for linger in LINGERS.values()]
        told = (_answer(server, f"c{number}", scale) for number, server in enumerate(servers))
        *answers, peer = await asyncio.gather(*told, _peer(opened, scale))
    return [
        figure for name, answer in zip(LINGERS, answers, strict=True) for figure in _figures(name, answer, peer, log)
    ]


def _figures(name: str, answer: tuple[float, float], peer: tuple[float, float], log: Log) -> list[Figure]:
    who = f"{1000 // PACE['every_ms']} chunks/s, {name} (peer: the npm package's way)"
    operations, delay = f"{who}: S2 operations per {PER_CHUNKS:,} chunks", f"{who}: source to reader, p50"
    # By default chunks are not made to wait: only who asks for it pays and waits as the peer does.
    aim = log.aims.lingering if LINGERS[name] else None
    return [
        Figure(name=operations, unit="", product=answer[0], bare=peer[0], at_most=aim, is_ratio=True),
        Figure(name=delay, unit="ms", product=answer[1], bare=peer[1], at_most=aim, is_ratio=True),
    ]


async def _answer(server: Server, chat: str, scale: Scale) -> tuple[float, float]:
    """Return the operations, and the median delay in milliseconds."""
    before = (await fetch_json(server, "/counts"))["requests"]
    listener = Listener(post_chat("/chat", chat, count=scale.paced_chunks, **PACE))
    listener.is_listening = True
    await (await begin(server, listener)).over
    requests = (await fetch_json(server, "/counts"))["requests"] - before
    return requests * PER_CHUNKS / scale.paced_chunks, median(listener.latencies) * 1000


async def _peer(opened: OpenLog, scale: Scale) -> tuple[float, float]:
    async with connect(2) as session:
        client = BareS2(session, opened.options)
        position = await client.append("peer", ["claim"], 0)
        delays: list[float] = []
        reader = asyncio.create_task(_read(client, delays))
        queue: asyncio.Queue[str] = asyncio.Queue()
        source = asyncio.create_task(_produce(queue, scale.paced_chunks))
        written = 0
        while written < scale.paced_chunks:
            batch = [await queue.get()]
            await asyncio.sleep(PEER_LINGER_SECONDS)
            while not queue.empty():
                batch.append(queue.get_nowait())
            position = await client.append("peer", batch, position)
            written += len(batch)
        await client.append("peer", ["end"], position)
        await source
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
        return client.requests * PER_CHUNKS / scale.paced_chunks, median(delays)


async def _produce(queue: asyncio.Queue[str], count: int) -> None:
    clock = asyncio.get_running_loop().time
    due = clock()
    for _ in range(count):
        queue.put_nowait(text(PACE["size"]))
        due += PACE["every_ms"] / 1000
        await asyncio.sleep(due - clock())


async def _read(client: BareS2, delays: list[float]) -> None:
    async with aclosing(client.follow("peer")) as parts:
        async for data in parts:
            now = time.monotonic_ns()
            delays += [(now - int(stamp)) / 1e6 for stamp in _STAMP.findall(data)]
