"""Where a run takes place: two backends that stand for two processes, and one that sees the log as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.chat.api import ResumableChat

from ..s2_lite import S2Lite
from ..support.patience import PATIENCE_SECONDS
from .way import Way, way
from .weather import Weather

Made = TypeVar("Made", bound=BaseBackend)

SIDES = ("here", "there")
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


class Sites(ABC):
    """Makes sites. Its backends are closed together, at the end: a run may leave work behind that still needs them."""

    def __init__(self) -> None:
        self._backends: list[BaseBackend] = []

    @abstractmethod
    def site(self, seed: str) -> AbstractAsyncContextManager[Site]:
        """Make the site of a run from the run's seed."""

    def _keep(self, backend: Made) -> Made:
        self._backends.append(backend)
        return backend

    async def close(self) -> None:
        """Close all backends."""
        for backend in self._backends:
            await backend.close()


class S2Sites(Sites):
    """Sites on one s2-lite server; on the ways to it, faults are drawn."""

    def __init__(self, server: S2Lite) -> None:
        super().__init__()
        self._server = server

    @asynccontextmanager
    async def site(self, seed: str) -> AsyncIterator[Site]:
        weathers = tuple(Weather(f"{seed} {side}", give_up_seconds=GIVE_UP_SECONDS) for side in SIDES)
        async with way(self._server.port, weathers[0]) as here, way(self._server.port, weathers[1]) as there:
            yield Site(
                backends=(self._backend(seed, "here", here), self._backend(seed, "there", there)),
                witness=self._keep(S2Backend(f"{seed} witness", self._server.options())),
                weathers=weathers,
            )

    def _backend(self, seed: str, side: str, taken: Way) -> S2Backend:
        return self._keep(S2Backend(f"{seed} {side}", self._server.options(**taken.options, **IMPATIENT)))


class SQLiteSites(Sites):
    """Sites on one file. Nothing lies between the app and it, so the only faults are the actors' own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        # Three writers and a slow disk may keep one waiting.
        options = {"path": path, "timeout_seconds": PATIENCE_SECONDS}
        here, there, witness = (self._keep(SQLiteBackend(name, options)) for name in (*SIDES, "witness"))
        self._site = Site(backends=(here, there), witness=witness)

    @asynccontextmanager
    async def site(self, seed: str) -> AsyncIterator[Site]:
        yield self._site
