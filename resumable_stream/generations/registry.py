"""The generations that this process writes, without any model: owned here, found and stopped here."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import LimitExceededError, ShuttingDownError
from ..limits import require_room
from ..readers.hub import Hub
from ..utils.threads import context_of_request
from .generation import LAST_WORDS_SECONDS, Generation

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
        await self.settle(grace_seconds)
        self._is_closing = True
        for generation in self:
            generation.interrupt()
        await self.settle(LAST_WORDS_SECONDS)

    async def settle(self, seconds: float) -> bool:
        """Wait until every generation has ended and its ``on_end`` has returned; return whether that was in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # A claim that is granted meanwhile adds its generation.
                while self._tasks:
                    await asyncio.wait(self._tasks)
        return not self._tasks


def _log_failure(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.warning("failed after its caller had gone error=%s", error)
