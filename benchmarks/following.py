"""``python -m benchmarks.following WHO COUNT SECONDS OPTIONS``: open many follows at once, and print what they cost.

A process of its own, so that nothing else is in its processor time and its memory. WHO is ``product`` or ``bare``, the
streams are those of :func:`stream_name`, OPTIONS are the S2 backend's, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.records import Record

from .bare_s2 import BareS2, connect
from .tidying import tidy

OPENING_AT_ONCE = 100
APPENDS = 50

Follow = Callable[[str], AsyncGenerator[Any, None]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all the follows together."""

    open_cpu_seconds: float
    open_seconds: float
    idle_cpu: float
    """Share of a core."""
    memory_bytes: float
    delay_ms: float
    """From the beginning of an append to its reader, in the median."""


def stream_name(number: int) -> str:
    """Name a stream; it holds one record when the follows are opened."""
    return f"followed/{number}"


class Followed:
    """The follows, and what came last on each."""

    def __init__(self, follow: Follow, count: int) -> None:
        self._follow = follow
        self._count = count
        self._came = [asyncio.Event() for _ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open all, a hundred at a time, and return when each has had what its stream holds."""
        for start in range(0, self._count, OPENING_AT_ONCE):
            numbers = range(start, min(start + OPENING_AT_ONCE, self._count))
            self._tasks += [asyncio.create_task(self._read(number)) for number in numbers]
            for number in numbers:
                await self.next(number)

    async def next(self, number: int) -> None:
        """Wait for something on one of them that came since :meth:`forget`."""
        await self._came[number].wait()

    def forget(self, number: int) -> None:
        """Leave out of account what came so far, such as a ping."""
        self._came[number].clear()

    async def close(self) -> None:
        """Leave all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, number: int) -> None:
        async with aclosing(self._follow(stream_name(number))) as parts:
            async for _ in parts:
                self._came[number].set()


async def _measure(followed: Followed, count: int, seconds: float, writer: S2Backend) -> Cost:
    process = psutil.Process()
    await writer.append("warm", [Record("up")])
    tidy()
    memory, cpu, began = process.memory_full_info().uss, time.process_time(), time.perf_counter()
    await followed.open()
    open_cpu, open_seconds = time.process_time() - cpu, time.perf_counter() - began
    await asyncio.sleep(min(1, seconds))  # The rest of what opening brings.
    tidy()
    held = process.memory_full_info().uss - memory
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    idle = (time.process_time() - cpu) / (time.perf_counter() - began)
    delays = [await _delay(followed, number * count // APPENDS, writer) for number in range(APPENDS)]
    await followed.close()
    return Cost(open_cpu, open_seconds, idle, held, median(delays) * 1000)


async def _delay(followed: Followed, number: int, writer: S2Backend) -> float:
    followed.forget(number)
    began = time.perf_counter()
    append = asyncio.create_task(writer.append(stream_name(number), [Record("new")]))
    await followed.next(number)
    delay = time.perf_counter() - began
    await append
    return delay


async def _main(who: str, count: int, seconds: float, options: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        backend = S2Backend("default", options)
        stack.push_async_callback(backend.close)
        session = await stack.enter_async_context(connect(count))
        follow: Follow = BareS2(session, options).follow if who == "bare" else lambda name: backend.follow(name, 0)
        print(json.dumps(asdict(await _measure(Followed(follow, count), count, seconds, backend))))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])))
