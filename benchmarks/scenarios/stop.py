"""A generation is stopped through another process than the one that writes it: when is its source cancelled?"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from ..client import Exchange, begin, download, fetch_json, get, post, post_chat
from ..logs import Log
from ..processes import Server, serve
from ..report import Figure
from ..scale import Scale

ANSWERS: dict[str, dict[str, Any]] = {
    "of 20 chunks/s": {"count": 1_000_000, "size": 80, "every_ms": 50},
    "that is silent": {"count": 1, "size": 80, "hold": 1},
}
LOOK_SECONDS = 0.02


async def run(scale: Scale, log: Log) -> list[Figure]:
    with log.open() as opened, serve(log, opened) as writing, serve(log, opened) as other:
        return [figure for who in ANSWERS for figure in await _stops(writing, other, who, scale, log)]


async def _stops(writing: Server, other: Server, who: str, scale: Scale, log: Log) -> list[Figure]:
    kind = who.replace(" ", "-").replace("/", "-")
    seconds = [
        await _stop(writing, other, f"{kind}-{number}", ANSWERS[who])
        # The first one is what it takes to open connections.
        for number in range(scale.stops + 1)
    ][1:]
    request = await _round_trip(other, scale)
    return [
        Figure(
            name=f"generation {who}, stopped elsewhere (peer: a request): source cancelled, {which}",
            unit="ms",
            product=value * 1000,
            bare=request * 1000,
            at_most=log.aims.stop_ms,
        )
        for which, value in (("p50", median(seconds)), ("last", max(seconds)))
    ]


async def _stop(writing: Server, other: Server, chat: str, answer: dict[str, Any]) -> float:
    """Return how long after the request the source was cancelled."""
    await download(writing, post_chat("/background", chat, **answer))
    reader = await begin(other, Exchange(get(f"/background/{chat}/stream")))
    await reader.has_frame
    asked = time.monotonic_ns()
    await download(other, post(f"/background/{chat}/stop"))
    # The time is the source's own, however late it is asked for.
    while (ended := (await fetch_json(writing, f"/ended?chat={chat}"))["at"]) is None:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    await reader.over
    return float(ended - asked) / 1e9


async def _round_trip(server: Server, scale: Scale) -> float:
    return median([(await download(server, get("/ended?chat=none"))).seconds for _ in range(scale.stops)])
