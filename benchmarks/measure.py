"""How things are measured on a machine that is shared and noisy: in turn, several times, medians."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from statistics import median, quantiles

from .client import Listener
from .processes import Server

Measure = Callable[[], Awaitable[float]]


async def medians(repeats: int, *measures: Measure) -> list[float]:
    """Take each measure ``repeats`` times, in turn, and return the median of each.

    There is one more round before, which is not counted: it fills everybody's caches.
    """
    rounds = [[await measure() for measure in measures] for _ in range(repeats + 1)]
    return [median(values) for values in zip(*rounds[1:], strict=True)]


async def watch(server: Server, listeners: Sequence[Listener], seconds: float) -> tuple[float, list[float]]:
    """Watch a steady state: return the server's share of one core, and the latencies of what arrives meanwhile."""
    loop = asyncio.get_running_loop()
    for listener in listeners:
        listener.is_listening = True
    cpu, clock = server.cpu_seconds(), loop.time()
    await asyncio.sleep(seconds)
    cpu, clock = server.cpu_seconds() - cpu, loop.time() - clock
    for listener in listeners:
        listener.is_listening = False
    return cpu / clock, [latency for listener in listeners for latency in listener.latencies]


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(values, n=100)[98]
