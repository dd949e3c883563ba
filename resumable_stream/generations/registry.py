"""The generations that this process writes, without any model: owned here, found and stopped here.

One :class:`Runtime` for each event loop holds the registry, the hub of readers and the pacer; :func:`runtime` finds it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import LimitExceededError, ShuttingDownError
from ..limits import Place, Places, require_room
from ..readers.hub import Hub
from ..readers.sharing import Loads
from ..utils.threads import context_of_request
from . import shutdown
from .arrivals import Arrivals
from .generation import LAST_WORDS_SECONDS, Generation
from .listening import watch_listening
from .pacing import Pacer

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Registry:
    """The running generations of one event loop. It owns their tasks until they are done."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._generations: dict[tuple[str, str], Generation] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting: Counter[str] = Counter()
        self.is_draining = False
        self._is_closing = False

    def require_room(self, key: str, *, instead_of: Generation | None = None) -> None:
        """Check that one more generation may begin for ``key``; raises as :meth:`place`."""
        if self.is_draining:
            raise ShuttingDownError
        others = [generation for generation in self._generations.values() if generation is not instead_of]
        require_room(len(others) + self._starting.total(), settings.max_generations)
        limit = settings.max_generations_per_owner
        if limit is None or not key:
            return
        running = sum(generation.owner == key for generation in others)
        if running + self._starting[key] >= limit:
            raise LimitExceededError("Too many answers are being written for you at once. Wait for one to end.")

    @contextmanager
    def place(self, key: str, *, instead_of: Generation | None = None) -> Iterator[None]:
        """Hold a place for a generation while it is being started; ``key`` says for whom it counts, ``""`` for nobody.

        ``instead_of`` is what it may replace, which gives up its own place.

        Raises:
            ShuttingDownError: This process takes no new generations.
            ServerBusyError: It has ``MAX_GENERATIONS`` running.
            LimitExceededError: ``MAX_GENERATIONS_PER_OWNER`` of them are of this key.
        """
        self.require_room(key, instead_of=instead_of)
        self._starting[key] += 1
        try:
            yield
        finally:
            self._starting[key] -= 1
            self._starting += Counter()

    def start(self, backend: BaseBackend, generation: Generation) -> None:
        """Run a claimed generation in a task of its own, in the language and time zone of the starting request."""
        key = backend.alias, generation.stream
        follow = self._hub.attach(backend, generation.stream, generation.start)
        follow.listeners.append(generation.notice)
        follow.poke()
        self._generations[key] = generation

        def release() -> None:
            follow.listeners.remove(generation.notice)
            self._hub.detach(follow)
            if self._generations.get(key) is generation:
                del self._generations[key]

        task = asyncio.get_running_loop().create_task(
            generation.run(release), name=f"generation {generation.id}", context=context_of_request()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_closing:
            # Its claim was on the way when this process was told to end.
            generation.interrupt()

    async def carry_through(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await ``coroutine`` in a task of its own, which goes on if the caller is cancelled.

        It may outlive the request, and the thread that Django keeps for it; see
        :func:`~resumable_stream.utils.threads.context_of_request`.
        """
        task = asyncio.get_running_loop().create_task(coroutine, context=context_of_request())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The shield has let go of the task, and nobody else would take its error.
            task.add_done_callback(_log_failure)
            raise

    def keep(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run ``coroutine`` beside the caller, in a fresh context; a drain waits for it."""
        task = asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)

    def get(self, backend: BaseBackend, stream: str) -> Generation | None:
        """Return the generation that this process writes to ``stream``."""
        return self._generations.get((backend.alias, stream))

    def __iter__(self) -> Iterator[Generation]:
        return iter(tuple(self._generations.values()))

    def __len__(self) -> int:
        return len(self._generations)

    async def drain(self, grace_seconds: float) -> None:
        """Take no more starts, let what runs finish for ``grace_seconds``, and end the rest as ``interrupted``.

        Returns when all have their terminal record on the log, or five seconds after they were told.
        """
        self.is_draining = True
        await self._wait_for_tasks(grace_seconds)
        self._is_closing = True
        for generation in self:
            generation.interrupt()
        await self._wait_for_tasks(LAST_WORDS_SECONDS)

    async def _wait_for_tasks(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # A claim that is granted meanwhile adds its generation.
                while self._tasks:
                    await asyncio.wait(self._tasks)


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.warning("failed after its caller had gone error=%s", error)


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


def runtime() -> Runtime:
    """Return the runtime of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _runtimes.get(loop)
    if found is None:
        found = _runtimes[loop] = Runtime()
        shutdown.notice_signals(loop, drain)
    return found
