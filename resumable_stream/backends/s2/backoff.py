"""How long to wait before trying again, and when to stop trying."""

from __future__ import annotations

import asyncio
import random

LONGEST_ASKED_WAIT = 30.0
"""A server that asks for a longer pause, in seconds, gets none: the caller decides."""
STEADY_SECONDS = 5.0
"""After this long without a failure the next one counts as the first again."""


class RetryDelays:
    """Waits between tries: a little longer each time, never in step with others, and not for ever.

    Args:
        patience: Seconds since the first failure after which :meth:`wait` gives up.
        first: Seconds of the first wait, about.
        longest: Seconds of the longest wait.
    """

    def __init__(self, patience: float, *, first: float = 0.01, longest: float = 2.0) -> None:
        self._patience = patience
        self._first = first
        self._longest = longest
        self._tries = 0
        # In the time of the event loop, like every wait.
        self._failing_since: float | None = None
        self._last_try = 0.0

    async def wait(self, asked: float | None = None) -> bool:
        """Wait before the next try, at least the ``asked`` seconds; return ``False`` if there should be none."""
        clock = asyncio.get_running_loop().time
        now = clock()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._patience or (asked or 0) > LONGEST_ASKED_WAIT:
            return False
        await asyncio.sleep(max(self._next_delay(now), asked or 0))
        self._last_try = clock()
        return True

    def got_a_sign(self) -> None:
        """Note that trying makes sense: the patience starts anew.

        The length of the waits does not, until it has gone well for a while: what comes up for a moment and breaks
        again, over and over, is not to be tried a hundred times a second.
        """
        self._failing_since = None

    def got_on(self) -> None:
        """Note that something was achieved: the next failure counts as the first."""
        self._failing_since = None
        self._tries = 0

    def _next_delay(self, now: float) -> float:
        if now - self._last_try > STEADY_SECONDS:
            self._tries = 0
        delay = min(self._first * 2.0**self._tries, self._longest)
        self._tries = min(self._tries + 1, 30)  # Far beyond any longest wait, far below what a float holds.
        return delay * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
