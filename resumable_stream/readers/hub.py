"""One follow per stream and process, shared by all its readers.

A :class:`SharedFollow` reads its stream once, decodes it once, and keeps the newest entries in a ring that is bounded
in bytes. Readers take what they have not seen; who falls behind the ring's beginning reads from the log at its own pace
and comes back, so a slow reader costs nobody else memory or time, and loses nothing.

Cursors: everywhere in this app a cursor is the ``seq_num`` a reader wants next. The cursor of a chunk is the position
after it, so resuming needs no arithmetic. Numbers increase but are not consecutive, since records that are no chunks
take numbers too.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import BackendUnavailableError, ResumableStreamError, ShuttingDownError, StreamNotFoundError
from ..protocol.layout import Decoder, Ended, Entry, promised_seconds
from ..protocol.perform import Backoff
from .frames import Frame, cursor_of

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
WAKE_AT_ONCE = 100
"""Readers of one stream that are woken in one turn of the event loop."""
SPARE_BYTES = 4 * 1024
"""What a ring keeps though all its readers have it: who reconnects after a short break need not read the log."""
FIRST_READER_SECONDS = 1.0
"""How long the ring of a new follow keeps everything for the reader that is on its way: a response takes a moment to
begin, and its answer may be complete by then."""
RETRY_SECONDS = 60.0
"""How long a follow that fails is tried again before its readers are told."""
LONGEST_WAIT_SECONDS = 60.0
"""A stream that does not exist is asked for at least this often."""
WAIT_FOR_STREAM_SECONDS = 900.0
"""How long readers wait for a stream that does not exist before they are sent away. Clients come again by themselves,
as after every broken connection; what holds a connection open for a chat that never begins is rarely a person."""

Guard = Callable[[str], Awaitable[bool]]
"""Looks whether the stream's owner is still alive, ends its generation if not; tells whether one (still) runs."""


class HasCursor(Protocol):
    """A reader, as far as the hub needs to know it."""

    cursor: int
    """What it wants next."""


class Ring:
    """The newest frames of a stream, in order; the older ones fall out when there are too many bytes."""

    def __init__(self, position: int, limit_bytes: int) -> None:
        self.start = position
        """Cursor from which on the ring has everything."""
        self.end = position
        """Cursor of a reader that has taken everything."""
        self._limit = limit_bytes
        self._frames: list[Frame] = []
        self._bytes = 0

    @property
    def has_spare(self) -> bool:
        """Whether it may be worth while to :meth:`forget`."""
        return self._bytes > SPARE_BYTES

    def extend(self, entries: Sequence[Entry], boundary: int) -> None:
        """Add what the stream has up to ``boundary``."""
        for entry in entries:
            frame = Frame(entry)
            self._frames.append(frame)
            self._bytes += frame.size
        self.end = boundary
        if self._bytes > self._limit:
            self._drop_oldest()

    def since(self, cursor: int) -> list[Frame]:
        """Return the frames after ``cursor``, which must not lie before :attr:`start`."""
        frames = self._frames
        # The common case: a reader that misses only the newest.
        if not frames or frames[-1].entry.cursor <= cursor:
            return []
        if len(frames) == 1 or frames[-2].entry.cursor <= cursor:
            return frames[-1:]
        return frames[bisect_right(frames, cursor, key=cursor_of) :]

    def forget(self, cursor: int) -> None:
        """Drop the frames up to ``cursor``, which everybody has taken, but for the newest few."""
        # Frame by frame as they come: what is let go of in bulk makes the garbage collector lose count, and run.
        self._drop(bisect_right(self._frames, cursor, key=cursor_of), down_to=SPARE_BYTES)

    def _drop_oldest(self) -> None:
        # Down to three quarters at once: dropping from a list's front costs as much for one as for many.
        self._drop(len(self._frames) - 1, down_to=self._limit * 3 // 4)

    def _drop(self, most: int, *, down_to: int) -> None:
        count = 0
        while self._bytes > down_to and count < most:
            self._bytes -= self._frames[count].size
            count += 1
        if count:
            self.start = self._frames[count - 1].entry.cursor
            del self._frames[:count]


class SharedFollow:
    """One stream as this process sees it. Made by the :class:`Hub`; ends when nobody is attached."""

    def __init__(self, backend: BaseBackend, stream: str, position: int, silent_since: float | None = None) -> None:
        self.backend = backend
        self.stream = stream
        self.ring = Ring(position, settings.ring_bytes)
        self.error: ResumableStreamError | None = None
        """Why the follow has ended for good."""
        self.listeners: list[Callable[[Sequence[Entry]], None]] = []
        """Called with new entries as they come, before the readers are woken. They must not raise."""
        self.readers: set[HasCursor] = set()
        """Those for whom the ring keeps what they have not taken, as far as its limit allows."""
        self.guard: Guard | None = None
        self.attached = 0
        self.failing_since: float | None = None
        """Since when the log has been out of reach, if it is."""
        self._loop = asyncio.get_running_loop()
        self._waiters: list[asyncio.Future[bool]] = []
        self._poked: asyncio.Event | None = None
        """While the follow waits before its next try."""
        self._is_quiet = False
        self._began = self._last_record = self._last_wake = self._loop.time()
        if silent_since is not None:
            self._last_record = silent_since
        self._guarding: asyncio.Task[None] | None = None
        self._task = _start_task(self._run(), f"follow {stream}")

    def wait(self) -> asyncio.Future[bool]:
        """Return what to await until there is something new.

        The result is ``False`` where it is merely time to show that the connection lives.
        """
        # No more than a future: a thousand readers ask for one with every chunk. One that was cancelled is dropped
        # with the next sign of life.
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def wake(self, *, has_news: bool = True) -> None:
        """Let every waiting reader look."""
        self._last_wake = self._loop.time()
        waiters, self._waiters = self._waiters, []
        self._wake(waiters, has_news)

    def _wake(self, waiters: Sequence[asyncio.Future[bool]], has_news: bool) -> None:
        # In portions: to wake a thousand at once holds up everybody else, and has the garbage collector look at what is
        # gone a moment later.
        for waiter in waiters[:WAKE_AT_ONCE]:
            if not waiter.done():
                waiter.set_result(has_news)
        if rest := waiters[WAKE_AT_ONCE:]:
            self._loop.call_soon(self._wake, rest, has_news)

    def poke(self) -> None:
        """Try again at once if the stream did not exist or the log failed."""
        if self._poked is not None:
            self._poked.set()

    def tick(self, keepalive_seconds: float, silence_seconds: float) -> None:
        """Do what is due while nothing comes: show readers a sign of life, look after a silent owner."""
        self._let_go()
        now = self._loop.time()
        if now - self._last_wake >= keepalive_seconds:
            self.wake(has_news=False)
        if self.guard is None or self._is_quiet or self._guarding is not None:
            return
        if now - self._last_record >= silence_seconds:
            self._guarding = _start_task(self._look_after(self.guard), f"guard {self.stream}")

    def fail(self, error: ResumableStreamError) -> None:
        """End the follow for good; its readers raise ``error``."""
        logger.info("follow ended stream=%s error=%s", self.stream, error)
        self.error = error
        self.wake()

    def close(self) -> None:
        """End the follow; whoever still waits is woken."""
        self._task.cancel()
        if self._guarding is not None:
            self._guarding.cancel()
        self.wake()

    async def _look_after(self, guard: Guard) -> None:
        seen = self._last_record
        try:
            is_running = await guard(self.stream)
            # If something came meanwhile, it has told more.
            if self._last_record == seen:
                self._is_quiet = not is_running
        except ResumableStreamError as error:
            logger.warning("owner could not be looked after stream=%s error=%s", self.stream, error)
        except Exception:  # for instance of an app's own format
            logger.exception("owner could not be looked after stream=%s", self.stream)
        finally:
            self._guarding = None

    async def _run(self) -> None:
        try:
            await self._follow()
        except Exception:  # whatever a backend raises, readers must not wait for ever
            logger.exception("follow broke stream=%s", self.stream)
            self.fail(BackendUnavailableError("The log's follow broke."))

    async def _follow(self) -> None:
        decoder = Decoder(self.ring.end, skips_messages=True)
        backoff = Backoff()
        while self.error is None:
            try:
                async with aclosing(self.backend.follow(self.stream, decoder.boundary)) as batches:
                    async for batch in batches:
                        backoff.reset()
                        self.failing_since = None
                        if batch.records:
                            self._publish(decoder.feed(batch.records), decoder.boundary)
            except StreamNotFoundError as error:
                if decoder.boundary == 0 and await self._appears(backoff):
                    continue
                self.fail(error)
            except BackendUnavailableError as error:
                self.failing_since = self.failing_since or self._loop.time()
                if self._loop.time() - self.failing_since > RETRY_SECONDS:
                    self.fail(error)
            except ResumableStreamError as error:
                self.fail(error)
            decoder = Decoder(decoder.boundary, skips_messages=True)
            await self._pause(backoff.next())

    async def _appears(self, backoff: Backoff) -> bool:
        """Wait until the stream may exist: it comes with its first generation, and a start in this process pokes.

        Other processes' starts are found by asking: the longer it has been waited, the less often, each time after a
        tenth of that. Returns ``False`` if it has not come after :data:`WAIT_FOR_STREAM_SECONDS`.
        """
        while (waited := self._loop.time() - self._began) < WAIT_FOR_STREAM_SECONDS:
            await self._pause(max(backoff.next(), min(waited / 10, LONGEST_WAIT_SECONDS)))
            try:
                await self.backend.tail(self.stream)
            except StreamNotFoundError:
                continue
            except ResumableStreamError:
                return True  # The follow meets it as well, and knows what to do.
            return True
        return False

    async def _pause(self, delay: float) -> None:
        if self.error is not None:
            return
        self._poked = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._poked.wait()
        self._poked = None

    def _let_go(self) -> None:
        """Drop from memory what every reader has taken."""
        is_awaited = not self.readers and self._loop.time() < self._began + FIRST_READER_SECONDS
        if self.ring.has_spare and not is_awaited:
            self.ring.forget(min((reader.cursor for reader in self.readers), default=self.ring.end))

    def _publish(self, entries: list[Entry], boundary: int) -> None:
        self._last_record = self._loop.time()
        self._is_quiet = bool(entries) and isinstance(entries[-1], Ended)
        self._let_go()
        self.ring.extend(entries, boundary)
        if entries:
            for listener in tuple(self.listeners):
                listener(entries)
            self.wake()


def _start_task(coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run ``coroutine`` for everybody: nothing of the request that happens to be the first goes with it."""
    return asyncio.get_running_loop().create_task(coroutine, name=name, context=contextvars.Context())


class Hub:
    """The follows of one event loop."""

    def __init__(self) -> None:
        self._follows: dict[tuple[str, str], SharedFollow] = {}
        self._ticker: asyncio.Task[None] | None = None
        self.is_closed = False

    def close(self) -> None:
        """End every reader with :exc:`ShuttingDownError`, now and from now on."""
        self.is_closed = True
        for follow in self._follows.values():
            follow.fail(ShuttingDownError())

    def find(self, backend: BaseBackend, stream: str) -> SharedFollow | None:
        """Return the follow of ``stream`` if there is one that works."""
        follow = self._follows.get((backend.alias, stream))
        return follow if follow is not None and follow.error is None else None

    def attach(
        self,
        backend: BaseBackend,
        stream: str,
        position: int,
        *,
        guard: Guard | None = None,
        silent_since: float | None = None,
    ) -> SharedFollow:
        """Join the follow of ``stream``, or begin one at ``position``. Every attach needs its :meth:`detach`.

        ``guard`` is asked to look after the stream's owner when it has been silent for as long as owners may: since
        ``silent_since``, on the event loop's clock, for a follow that begins at the tail.
        """
        follow = self.find(backend, stream)
        if self.is_closed:
            raise ShuttingDownError
        if follow is None:
            follow = self._follows[backend.alias, stream] = SharedFollow(backend, stream, position, silent_since)
        if self._ticker is None:
            self._ticker = _start_task(self._tick(), "hub ticker")
        follow.guard = guard or follow.guard
        follow.attached += 1
        return follow

    def detach(self, follow: SharedFollow) -> None:
        """Leave a follow; the last one to leave ends it."""
        follow.attached -= 1
        if follow.attached:
            return
        follow.close()
        key = (follow.backend.alias, follow.stream)
        if self._follows.get(key) is follow:
            del self._follows[key]

    def __len__(self) -> int:
        return len(self._follows)

    async def _tick(self) -> None:
        try:
            while self._follows:
                await asyncio.sleep(TICK_SECONDS)
                keepalive, silence = settings.keepalive_seconds, promised_seconds(settings.lease_seconds)
                for follow in tuple(self._follows.values()):
                    follow.tick(keepalive, silence)
        finally:
            self._ticker = None
