"""Doubts about read sessions: which of them may have stopped working without a sign of it.

A server that is half dead, or no longer in charge of a stream, may ping the sessions it has open for ever and deliver
nothing more. Nothing in the session tells; that other requests have just failed does. Whatever was open or being opened
when a request failed is opened again, from its exact position:

- the sessions of the failed request's stream at once;
- all others in rounds, since one lost connection says little about them: each at most once in a round, at its own
  moment, and a bounded number a second.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx

T = TypeVar("T")

ROUND_SECONDS = 15.0
"""Least time between two rounds: as often as S2 itself pings every session."""
REOPENED_PER_SECOND = 200
"""Sessions that are opened again in a second of a round: a fifth of a processor's time, about."""


class SessionInDoubtError(Exception):
    """The session is to be opened again."""


class Session:
    """A read session, open or being opened."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.response: httpx.Response
        """Its body is to be read as events."""
        self._due: float | None = None
        self._waiting: asyncio.Timeout | None = None

    def end_by(self, when: float) -> None:
        """Let waiting for something new end at ``when``, in the loop's time, unless it ends before."""
        if self._due is not None and self._due <= when:
            return
        self._due = when
        if self._waiting is not None:
            self._waiting.reschedule(when)

    async def next_of(self, events: AsyncIterator[T]) -> T | None:
        """Wait for the next of the session's events; ``None`` after the last one.

        Raises:
            SessionInDoubtError: It is time to open the session again; what has come so far was handed out.
        """
        waiting = self._waiting = asyncio.timeout_at(self._due)
        try:
            async with waiting:
                return await anext(events, None)
        except TimeoutError:
            if not waiting.expired():
                raise
        finally:
            self._waiting = None
        raise SessionInDoubtError("other requests have failed")


class Doubts:
    """The read sessions of one event loop, and when they are to be opened again."""

    def __init__(self) -> None:
        self._sessions: dict[str, set[Session]] = {}
        self._trusted: set[Session] = set()
        """Those begun since the last failure. Each failure looks only at these, however many there are."""
        self._round = -ROUND_SECONDS
        """When the newest round began or, if that was too early for it, begins."""

    @contextmanager
    def session(self, stream: str) -> Iterator[Session]:
        """Make a session, and know of it inside the block."""
        session = Session(stream)
        self._sessions.setdefault(stream, set()).add(session)
        self._trusted.add(session)
        try:
            yield session
        finally:
            self._trusted.discard(session)
            self._sessions[stream].discard(session)
            if not self._sessions[stream]:
                del self._sessions[stream]

    def arise(self, stream: str) -> None:
        """Take note that a request about ``stream`` (empty for none) has failed."""
        now = asyncio.get_running_loop().time()
        for session in self._sessions.get(stream, ()):
            self._trusted.discard(session)
            session.end_by(now)
        if self._trusted:
            self._join_round(now)

    def _join_round(self, now: float) -> None:
        """Let all sessions that are still trusted be opened again in a round that has not begun yet."""
        if now >= self._round + ROUND_SECONDS:
            self._round = now
        elif now > self._round:
            self._round += ROUND_SECONDS
        spread = len(self._trusted) / REOPENED_PER_SECOND
        for session in self._trusted:
            session.end_by(self._round + random.uniform(0, spread))  # noqa: S311 - spreads load, guards nothing
        self._trusted.clear()
