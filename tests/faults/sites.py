"""Where a run takes place: two backends that stand for two processes, and one that sees the log as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.chat import ResumableChat

from ..s2_lite import S2Lite
from .way import way
from .weather import Weather

GIVE_UP_SECONDS = 1.0
"""After this a request without an answer is given up."""
IMPATIENT = {
    "timeout": GIVE_UP_SECONDS,
    "connect_timeout": GIVE_UP_SECONDS,
    "stall_timeout": 2.5,
    "retry_seconds": 0.5,
    "follow_retry_seconds": 2.0,
}


class Chat(ResumableChat):
    """A chat engine on a backend of its own, rather than on one from the settings."""

    def __init__(self, backend: BaseBackend, **options: Any) -> None:
        super().__init__(**options)
        self._backend = backend

    @property
    def backend(self) -> BaseBackend:
        return self._backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One run's ways to the log."""

    backends: tuple[BaseBackend, BaseBackend]
    """Under names of their own: the hub and the registry take them for two logs, as two processes would."""
    witness: BaseBackend
    """Meets no faults."""
    weathers: tuple[Weather, ...] = ()

    def clear_up(self) -> None:
        """Let no more faults happen."""
        for weather in self.weathers:
            weather.clear_up()


SiteMaker = Callable[[str], AbstractAsyncContextManager[Site]]
"""Makes the site of a run from the run's seed."""


@dataclass(slots=True)
class S2Sites:
    """Sites on one s2-lite server."""

    server: S2Lite

    @asynccontextmanager
    async def __call__(self, seed: str) -> AsyncIterator[Site]:
        weathers = tuple(Weather(f"{seed} {side}", give_up_seconds=GIVE_UP_SECONDS) for side in ("here", "there"))
        async with AsyncExitStack() as stack:
            ways = [await stack.enter_async_context(way(self.server.port, weather)) for weather in weathers]
            backends = [
                S2Backend(f"{seed} {side}", self.server.options(**one.options, **IMPATIENT))
                for side, one in zip(("here", "there"), ways, strict=True)
            ]
            witness = S2Backend(f"{seed} witness", self.server.options())
            for backend in (*backends, witness):
                stack.push_async_callback(backend.close)
            yield Site(backends=(backends[0], backends[1]), witness=witness, weathers=weathers)


@dataclass(slots=True)
class SQLiteSites:
    """Sites on one file. Nothing lies between the app and it, so the only faults are the actors' own."""

    path: Path

    @asynccontextmanager
    async def __call__(self, seed: str) -> AsyncIterator[Site]:
        async with AsyncExitStack() as stack:
            backends = [SQLiteBackend(f"{seed} {side}", {"path": self.path}) for side in ("here", "there", "witness")]
            for backend in backends:
                stack.push_async_callback(backend.close)
            yield Site(backends=(backends[0], backends[1]), witness=backends[2])
