"""How far apart the appends of one stream are, depending on how busy the process is.

An append costs about the same whether it carries one chunk or ten, so a busy process saves by letting chunks gather. A
process that has time to spare should not make anyone wait.
"""

from __future__ import annotations

import time

from .conf import settings

LEAST_SECONDS = 0.005
"""S2 takes 200 append batches a second per stream."""
MOST_SECONDS = 0.1
"""Text that appears ten times a second still reads as flowing."""
SAMPLE_SECONDS = 0.25
BUSY_FROM = 0.6
"""The share of one core, used by this thread, from which appends move apart."""


class Pacer:
    """Watches the load of the thread that it is used in; one for each event loop."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.thread_time()
        self._load = 0.0
        self._distance = self._asked_for()

    def distance_seconds(self) -> float:
        """Return the least time between the starts of two appends of one stream."""
        now = time.monotonic()
        if now - self._wall >= SAMPLE_SECONDS:
            self._sample(now)
        return self._distance

    def _sample(self, now: float) -> None:
        cpu = time.thread_time()
        # Half of it is the past, so that one busy moment does not slow everything down.
        self._load = (self._load + (cpu - self._cpu) / (now - self._wall)) / 2
        self._wall, self._cpu = now, cpu
        share = max(0.0, self._load - BUSY_FROM) / (1 - BUSY_FROM)
        self._distance = max(self._asked_for(), MOST_SECONDS * min(1.0, share))

    def _asked_for(self) -> float:
        return max(LEAST_SECONDS, settings.linger_ms / 1000)
