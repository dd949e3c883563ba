"""The one thread of this process that writes to the file.

Requests of all event loops meet in a queue. The thread takes all that wait, has them committed together, and then
answers everybody with one wake-up per event loop: however many streams are being written, the disk is flushed and the
loops are disturbed once per group. While one commit is on its way to the disk the next group gathers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from ..followers import Committed, Followers, call_soon
from .committer import Committer
from .file import LogFile
from .housekeeping import Housekeeper
from .requests import Request

GROUP_CHARACTERS = 8 * 1024 * 1024
GROUP_REQUESTS = 2000
"""Bounds of one commit; one request always fits."""

GATHER_SECONDS = 0.002
"""Pause after a commit of several requests: more are surely on their way, and a commit costs about the same for one as
for twenty. Who appends alone is never kept waiting."""

Queue = SimpleQueue[Request | None]
"""``None`` ends the thread."""


class LogWriter:
    """Starts its thread with the first request; may be stopped and used again at any time."""

    def __init__(
        self,
        file: LogFile,
        followers: Followers,
        *,
        retention_seconds: float | None,
        on_commit: Callable[[int], None],
    ) -> None:
        self._file = file
        self._followers = followers
        self._retention_seconds = retention_seconds
        self._on_commit = on_commit
        self.reset()

    def reset(self) -> None:
        """Begin anew, without a thread: a forked child has none of its parent's."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._queue: Queue = SimpleQueue()

    def submit(self, request: Request) -> None:
        """Queue a request; its future gets the outcome."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(self._queue,), name=f"log-writer-{self._file.path.name}", daemon=True
                )
                self._thread.start()
            self._queue.put(request)

    def stop(self) -> None:
        """Commit what is queued, close the file, end the thread."""
        with self._lock:
            thread = self._detach()
        if thread is not None:
            thread.join()

    def abandon(self) -> None:
        """Have the thread end without waiting for it; for finalizers, which may run anywhere."""
        self._queue.put(None)

    def pause(self) -> None:
        """Stop, and let nobody begin until :meth:`resume`."""
        self._lock.acquire()
        thread = self._detach()
        if thread is not None:
            thread.join()

    def resume(self) -> None:
        """Allow what :meth:`pause` forbade."""
        self._lock.release()

    def _detach(self) -> threading.Thread | None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            self._queue = SimpleQueue()
        return thread

    def _run(self, queue: Queue) -> None:
        housekeeper = Housekeeper(self._retention_seconds)
        committer = Committer(self._file, housekeeper)
        running = True
        while running:
            group, running = _take(queue, housekeeper.due_in())
            if group:
                number = committer.commit(group)
                if number is not None:
                    self._on_commit(number)
                self._answer(group)
            if len(group) > 1:
                time.sleep(GATHER_SECONDS)
            if housekeeper.due_in() == 0:
                committer.keep_house()
        committer.close()

    def _answer(self, group: Sequence[Request]) -> None:
        deliveries: list[Committed] = []
        by_loop: dict[asyncio.AbstractEventLoop, list[Request]] = {}
        for request in group:
            by_loop.setdefault(request.future.get_loop(), []).append(request)
            if request.error is None:
                committed = request.publish(self._followers)
                if committed is not None:
                    deliveries.append(committed)
        for loop, requests in by_loop.items():
            call_soon(loop, _settle, requests)
        self._followers.deliver(deliveries)


def _take(queue: Queue, timeout: float | None) -> tuple[list[Request], bool]:
    """Return the requests that wait, and whether to go on after them; wait for the first up to ``timeout`` seconds."""
    group: list[Request] = []
    characters = 0
    try:
        request = queue.get(timeout=timeout)
        while request is not None:
            group.append(request)
            characters += request.characters
            if characters > GROUP_CHARACTERS or len(group) >= GROUP_REQUESTS:
                return group, True
            request = queue.get_nowait()
    except Empty:
        return group, True
    return group, False


def _settle(requests: list[Request]) -> None:
    for request in requests:
        request.settle()
