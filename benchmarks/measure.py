"""How things are measured on a machine that is shared and noisy: in turn, several times, medians."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from statistics import median, quantiles
from typing import TypeVar

from .client import Listener
from .processes import Cpu, Server

T = TypeVar("T")
Measure = Callable[[], Awaitable[T]]


async def rounds(repeats: int, *measures: Measure[T]) -> list[list[T]]:
    """Take each measure ``repeats`` times, in turn, and return what each gave.

    There is one more round before, which is not counted: it fills everybody's caches.
    """
    taken = [[await measure() for measure in measures] for _ in range(repeats + 1)]
    return [list(values) for values in zip(*taken[1:], strict=True)]


async def medians(repeats: int, *measures: Measure[float]) -> list[float]:
    """Return the median of each measure; see :func:`rounds`."""
    return [median(values) for values in await rounds(repeats, *measures)]


async def watch(server: Server, listeners: Sequence[Listener], seconds: float) -> tuple[Cpu, list[float]]:
    """Watch a steady state: return the shares of one core, and the latencies of what arrives meanwhile."""
    loop = asyncio.get_running_loop()
    for listener in listeners:
        listener.is_listening = True
    before, began = server.cpu(), loop.time()
    await asyncio.sleep(seconds)
    used, took = server.cpu().since(before), loop.time() - began
    for listener in listeners:
        listener.is_listening = False
    share = Cpu(used.app / took, used.log / took)
    return share, [latency for listener in listeners for latency in listener.latencies]


def medians_of(rows: Iterable[Sequence[float]]) -> list[float]:
    """Return the median of each column."""
    return [median(values) for values in zip(*rows, strict=True)]


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return quantiles(values, n=100)[98]
