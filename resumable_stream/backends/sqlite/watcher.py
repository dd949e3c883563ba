"""Notices what other processes write, while somebody in this process follows.

SQLite tells nobody about commits, but it is cheap to ask: one thread looks at the number of the last commit fifty times
a second. What this process commits itself needs no looking: the writer hands it over.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from ...exceptions import ResumableStreamError
from ..followers import Followers, StreamGrowth
from .file import LogConnection, LogFile

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.02
DELETIONS_SECONDS = 1.0
"""How often, at most, followed streams are looked for after a deletion somewhere."""
LINGER_SECONDS = 2.0
"""How long the thread stays when nobody follows, since somebody usually does so again."""
PAUSE_SECONDS = 1.0
"""How long a file that fails is left alone."""

CHANGED = "SELECT name, id, tail FROM streams WHERE changed > ?"


class Watcher:
    """Starts its thread with the first follower; may be stopped and used again at any time."""

    def __init__(self, file: LogFile, followers: Followers) -> None:
        self._file = file
        self._followers = followers
        self.reset()

    def reset(self) -> None:
        """Begin anew, without a thread: a forked child has none of its parent's."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        # A lock of its own, held for a moment only: the writer must get it even while the other one is held by pause().
        self._seen_lock = threading.Lock()
        self._seen: int | None = None

    def start(self) -> None:
        """Watch, unless it already does. Called by followers who are already registered."""
        with self._lock:
            if self._thread is not None:
                return
            with self._seen_lock:
                self._seen = None
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopping,), name=f"log-watcher-{self._file.path.name}", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._lock:
            thread, stopping = self._thread, self._stopping
            self._thread = None
        if thread is not None:
            stopping.set()
            thread.join()

    def abandon(self) -> None:
        """Have the thread end without waiting for it; for finalizers, which may run anywhere."""
        self._stopping.set()

    def pause(self) -> None:
        """Stop, and let nobody begin until :meth:`resume`."""
        self._lock.acquire()
        while self._thread is not None:  # It needs the lock to end.
            self._lock.release()
            self.stop()
            self._lock.acquire()

    def resume(self) -> None:
        """Allow what :meth:`pause` forbade, and go on for those who follow."""
        self._lock.release()
        if self._followers:
            self.start()

    def committed(self, number: int) -> None:
        """Take note of this process's own commit, whose records are being delivered."""
        with self._seen_lock:
            if self._seen == number - 1:  # Otherwise somebody else's lies in between, and has to be looked at.
                self._seen = number

    def _run(self, stopping: threading.Event) -> None:
        watch = _Watch(self._file, self._followers)
        followed_at = time.monotonic()
        while not stopping.wait(POLL_SECONDS):
            if self._followers:
                followed_at = time.monotonic()
            elif time.monotonic() - followed_at > LINGER_SECONDS and self._leave():
                break
            try:
                self._poll(watch)
            except (sqlite3.Error, ResumableStreamError) as error:
                logger.warning("Other processes' commits cannot be noticed. path=%s error=%s", self._file.path, error)
                watch.close()
                self._followers.look()  # They hear of the fault, or of its end, by reading themselves.
                stopping.wait(PAUSE_SECONDS)
        watch.close()

    def _leave(self) -> bool:
        with self._lock:
            if self._followers or self._thread is not threading.current_thread():
                return False
            self._thread = None
            return True

    def _poll(self, watch: _Watch) -> None:
        commits, just_opened = watch.commits()
        with self._seen_lock:
            seen = None if just_opened else self._seen
        if seen is None:
            self._followers.look()  # What was committed before the first look is not announced by the next ones.
        elif commits > seen:
            watch.announce(seen)
        with self._seen_lock:
            self._seen = commits if seen is None else max(commits, self._seen or 0)
        watch.look_for_deleted()


class _Watch:
    """The watching connection. Used by the watcher thread alone."""

    def __init__(self, file: LogFile, followers: Followers) -> None:
        self._file = file
        self._followers = followers
        self._connection: LogConnection | None = None
        self._last_deletion = 0
        self._known_deletion = 0
        self._looked_at = 0.0

    def commits(self) -> tuple[int, bool]:
        """Return the number of the last commit, and whether the count is that of another file than last time."""
        just_opened = self._connection is None or not self._connection.is_current(self._file.path)
        if just_opened:
            self.close()
            self._connection = self._file.connect()
        assert self._connection is not None
        commits, self._last_deletion = self._connection.execute("SELECT commits, last_deletion FROM log").fetchone()
        return commits, just_opened

    def announce(self, seen: int) -> None:
        """Tell followers of the streams that changed after commit ``seen``."""
        assert self._connection is not None
        changed = self._connection.execute(CHANGED, (seen,)).fetchall()
        self._followers.announce(StreamGrowth(*row) for row in changed)

    def look_for_deleted(self) -> None:
        """Tell followers whose stream is gone, now and then."""
        assert self._connection is not None
        now = time.monotonic()
        if self._last_deletion == self._known_deletion or now - self._looked_at < DELETIONS_SECONDS:
            return
        self._known_deletion, self._looked_at = self._last_deletion, now
        gone = []
        for name, known_ids in self._followers.followed().items():
            row = self._connection.execute("SELECT id FROM streams WHERE name = ?", (name,)).fetchone()
            if row is None or known_ids - {None, row[0]}:
                gone.append(name)
        self._followers.look(gone)

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
