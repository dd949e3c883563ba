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

from .read_session import ReadSession

ROUND_SECONDS = 15.0
"""Least time between two rounds: as often as S2 itself pings every session."""
REOPENED_PER_SECOND = 200
"""Sessions that are opened again in a second of a round: a fifth of a processor's time, about."""


class Doubts:
    """The read sessions of one event loop, and when they are to be opened again."""

    def __init__(self) -> None:
        self._sessions: dict[str, set[ReadSession]] = {}
        self._trusted: set[ReadSession] = set()
        """Those begun since the last failure. Each failure looks only at these, however many there are."""
        self._round = -ROUND_SECONDS
        """When the newest round began or, if that was too early for it, begins."""

    def session(self, stream: str) -> ReadSession:
        """Make a session, and know of it until it is closed."""
        session = ReadSession(stream, self._forget)
        self._sessions.setdefault(stream, set()).add(session)
        self._trusted.add(session)
        return session

    def _forget(self, session: ReadSession) -> None:
        self._trusted.discard(session)
        sessions = self._sessions.get(session.stream, set())
        sessions.discard(session)
        if not sessions:
            self._sessions.pop(session.stream, None)

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
