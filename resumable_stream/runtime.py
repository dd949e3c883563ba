"""What one event loop shares: one :class:`Runtime` for each, found by :func:`runtime` and ended by :func:`drain`."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from contextlib import suppress

from .conf import settings
from .exceptions import ShuttingDownError
from .generations import shutdown
from .generations.arrivals import Arrivals
from .generations.generation import LAST_WORDS_SECONDS
from .generations.listening import watch_listening
from .generations.pacing import Pacer
from .generations.registry import Registry
from .limits import Place, Places
from .readers.hub import Hub
from .readers.sharing import Loads

logger = logging.getLogger(__name__)


class Runtime:
    """What one event loop shares: the hub of readers, the registry of generations, the pacer of appends."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.registry = Registry(self.hub)
        self.pacer = Pacer()
        self.arrivals = Arrivals()
        self.departures: set[Callable[[], None]] = set()
        """Called when readers are sent away; for those who hold a connection open without reading."""
        self.readers = Places(
            "You have too many connections open to your chats. Close a tab and try again.", self._reader_left
        )
        self.sockets = Places("You have too many pages open. Close one and try again.", self._reader_left)
        self.loads = Loads()
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self._is_server_watched = False
        self._last_has_left: asyncio.Event | None = None

    def reader_place(self, key: str) -> Place:
        """Take a reader's place; ``key`` says for whom it counts, ``""`` for nobody.

        Raises:
            ShuttingDownError: This process is about to end.
            ServerBusyError: It has ``MAX_READERS`` open.
            LimitExceededError: ``MAX_READERS_PER_OWNER`` of them are of this key.
        """
        if self.hub.is_closed:
            raise ShuttingDownError
        return self.readers.take(key, limit=settings.max_readers, limit_per_key=settings.max_readers_per_owner)

    def socket_place(self, key: str) -> Place:
        """Take a websocket's place; raises as :meth:`reader_place`, for ``MAX_SOCKETS``."""
        if self.hub.is_closed:
            raise ShuttingDownError
        return self.sockets.take(key, limit=settings.max_sockets, limit_per_key=settings.max_sockets_per_owner)

    def _reader_left(self) -> None:
        # A response that was never begun gives its place back from the thread that closes it.
        if self._last_has_left is not None and not self._is_held_open and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._last_has_left.set)

    @property
    def _is_held_open(self) -> bool:
        return bool(self.readers) or bool(self.sockets)

    async def drain(self, grace_seconds: float) -> None:
        """End this loop's work: generations first, then readers, which will reconnect elsewhere by cursor.

        Returns when the readers have been sent what the log has for them, or after five seconds. This is done once,
        with the grace of whoever asks first, however many ask.
        """
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(grace_seconds), name="drain")
        await asyncio.shield(self._draining)

    @property
    def is_drained(self) -> bool:
        """Whether all of its work has been ended."""
        return self._draining is not None and self._draining.done()

    def watch_server(self, address: object) -> None:
        """Drain when the server that listens at ``address`` (as ASGI's ``scope["server"]``) closes its socket.

        Servers that recycle a worker do so without any signal, and then wait for its connections to end.
        """
        if self._is_server_watched:
            return
        self._is_server_watched = True
        watch_listening(self._loop, address, self._server_has_left)

    def _server_has_left(self) -> None:
        grace = settings.shutdown_grace_seconds
        logger.info("server listens no more: draining, grace=%s s", grace)
        if self._draining is None:
            self._draining = self._loop.create_task(self._drain(grace), name="drain")

    async def _drain(self, grace_seconds: float) -> None:
        await self.registry.drain(grace_seconds)
        self.hub.close()
        for depart in tuple(self.departures):
            depart()
        if self._is_held_open:
            self._last_has_left = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await self._last_has_left.wait()


_runtimes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = weakref.WeakKeyDictionary()


async def drain(grace_seconds: float | None = None) -> None:
    """End the running event loop's work as at SIGTERM, if there is any: see :meth:`Runtime.drain`.

    ``grace_seconds``: how long running generations may go on; default ``SHUTDOWN_GRACE_SECONDS``.
    """
    found = _runtimes.get(asyncio.get_running_loop())
    if found is not None:
        await found.drain(settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds)


def begin_anew() -> None:
    """Forget that the running event loop was drained: a server starts in it, as one does for each test of a suite."""
    loop = asyncio.get_running_loop()
    found = _runtimes.get(loop)
    if found is not None and found.is_drained:
        del _runtimes[loop]


async def abandon() -> None:
    """End the running event loop's work at once, wait for no reader, and forget it: a test has ended."""
    found = _runtimes.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.registry.drain(0)
        found.hub.close()


def runtime() -> Runtime:
    """Return the runtime of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _runtimes.get(loop)
    if found is None:
        found = _runtimes[loop] = Runtime()
        shutdown.notice_signals(loop, drain)
    return found
