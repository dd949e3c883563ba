"""How far apart the appends of one stream are, depending on how busy the process is.

An append costs about the same whether it carries one chunk or ten, so a busy process saves by letting chunks gather. A
process that has time to spare should not make anyone wait.
"""

from __future__ import annotations

import random
import time

from ..conf import settings

LEAST_SECONDS = 0.005
"""S2 takes 200 append batches a second per stream."""
MOST_SECONDS = 0.1
"""Text that appears ten times a second still reads as flowing."""
SAMPLE_SECONDS = 0.25
BUSY_FROM = 0.4
BUSY_TO = 0.9
"""The shares of one core, used by this thread, from which on appends move apart, and at which they are at the most."""
SPREAD = 0.4
"""How much of the load's part of a distance is chance. Models of one pace would otherwise all change at once, with the
next sample, from an append for each chunk to one for two, and back."""


class Pacer:
    """Watches the load of the thread that it is used in; one for each event loop."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._cpu = time.thread_time()
        self._load = 0.0
        self._asked_for = _asked_for()
        self._needed = 0.0

    def distance_seconds(self) -> float:
        """Return the least time between the starts of two appends of one stream."""
        now = time.monotonic()
        if now - self._wall >= SAMPLE_SECONDS:
            self._sample(now)
        return max(self._asked_for, self._needed * random.uniform(1 - SPREAD, 1 + SPREAD))  # noqa: S311 - no secret

    def _sample(self, now: float) -> None:
        cpu = time.thread_time()
        # Most of it is the past, so that one busy moment does not slow everything down.
        self._load += ((cpu - self._cpu) / (now - self._wall) - self._load) / 4
        self._wall, self._cpu = now, cpu
        share = (self._load - BUSY_FROM) / (BUSY_TO - BUSY_FROM)
        self._needed = MOST_SECONDS * min(1.0, max(0.0, share))
        self._asked_for = _asked_for()


def _asked_for() -> float:
    return max(LEAST_SECONDS, settings.linger_ms / 1000)
