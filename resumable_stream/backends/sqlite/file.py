"""The file: how it is opened, what is in it, and what its errors mean.

``sqlite3 resumable_stream.sqlite3 'SELECT * FROM records'`` shows a log as it is. The tables may be read by anything;
what writes to them other than this package must not expect followers to notice.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...exceptions import BackendUnavailableError, InvalidBackendError, ResumableStreamError
from . import lineage

T = TypeVar("T")

APPLICATION_ID = 0x52735374
"""Marks the file as ours: "RsSt"."""
SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE log (                          -- one row; the first table, so that it has page 2 in every copy
    commits INTEGER NOT NULL,               -- how many commits have changed the log
    last_deletion INTEGER NOT NULL,         -- number of the commit that last deleted a stream
    log_id TEXT NOT NULL                    -- random; empty in a backup
);
INSERT INTO log VALUES (0, 0, '');
CREATE TABLE streams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, so that followers notice a successor of the same name
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,            -- milliseconds since the Unix epoch, like every time here
    tail INTEGER NOT NULL,                  -- seq_num of the next record
    first INTEGER NOT NULL,                 -- first seq_num that is kept; equals the tail if none is
    timestamp INTEGER NOT NULL,             -- arrival of the last record
    fencing_token TEXT NOT NULL,
    changed INTEGER NOT NULL                -- number of the commit that changed it last
);
CREATE INDEX streams_changed ON streams (changed);
CREATE TABLE records (
    stream_id INTEGER NOT NULL,
    seq_num INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    body TEXT NOT NULL,
    headers TEXT,                           -- JSON [["name", "value"], ...]; NULL for none
    PRIMARY KEY (stream_id, seq_num)
) WITHOUT ROWID;
CREATE TABLE garbage (                      -- trimmed and deleted records that still take space
    stream_id INTEGER NOT NULL,
    before INTEGER NOT NULL,                -- seq_num, exclusive
    since INTEGER NOT NULL,
    PRIMARY KEY (stream_id, before)
) WITHOUT ROWID;
"""

CONTENT = """
SELECT
    (SELECT application_id FROM pragma_application_id),
    (SELECT user_version FROM pragma_user_version),
    (SELECT count(*) FROM sqlite_master)
"""
"""What a file is, in one statement: another process may be making it right now."""

LOCK_POLL_SECONDS = 0.001
BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another process. End that process, or raise OPTIONS['timeout_seconds']",
    sqlite3.SQLITE_LOCKED: "is locked by another process. End that process, or raise OPTIONS['timeout_seconds']",
    sqlite3.SQLITE_READONLY: "cannot be written to. Give this user write permission for the file and its directory",
    sqlite3.SQLITE_PERM: "cannot be opened. Give this user permission for the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Give this user write permission for the file and its directory",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full. Free some space",
    sqlite3.SQLITE_IOERR: "cannot be read or written. Look at the disk, its quota and the system's log",
    # SQLite would apply a WAL that it finds beside a restored file, whose it is not.
    sqlite3.SQLITE_CORRUPT: (
        "is damaged. End all processes that use it, and move it away together with the files of its name that end in "
        "-wal and -shm. Only then restore a backup (manage.py resumable_stream restore); without one, a new log will "
        "be made"
    ),
}


class LogConnection(sqlite3.Connection):
    """A connection that knows which file it opened."""

    identity: tuple[int, int] | None = None

    def is_current(self, path: Path) -> bool:
        """Tell whether ``path`` still is the file that was opened; somebody may have deleted or replaced it."""
        return self.identity is not None and self.identity == _identity(path)


class LogFile:
    """Where the log is, and how to open it."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self.timeout_seconds = timeout_seconds
        """How long to wait for another process's lock."""

    def unwritable(self) -> Path | None:
        """Return the file, or the directory that it is to be made in, if this user cannot write there."""
        files = (self.path, *(self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm")))
        for path in files:
            if path.exists() and not _is_accessible(path, os.R_OK | os.W_OK):
                return path
        directory = next(parent for parent in self.path.absolute().parents if parent.exists())
        return None if directory.is_dir() and _is_accessible(directory, os.W_OK | os.X_OK) else directory

    def connect(self) -> LogConnection:
        """Open the file, make it if there is none.

        Raises:
            InvalidBackendError: The path leads to something that is not this version's log.
            BackendUnavailableError: The directory cannot be made.
            sqlite3.Error: See :meth:`explain`.
        """
        self._make_directory()
        self._make_file()
        self.require_own_wal()
        connection = sqlite3.connect(
            self.path,
            timeout=self.timeout_seconds,
            isolation_level=None,
            check_same_thread=False,  # Each is used by one thread at a time.
            factory=LogConnection,
        )
        try:
            # SQLite's own patience does not cover the switch to WAL mode: of several processes that make the file at
            # once, all but one may have to try again.
            self.patiently(lambda: self._prepare(connection))
            connection.identity = _identity(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def require_own_wal(self) -> None:
        """Refuse a file that was put beside the WAL of another one, before SQLite mixes the two.

        Raises:
            InvalidBackendError: So it is.
        """
        if self.patiently(lambda: lineage.has_foreign_wal(self.path, self.timeout_seconds)):
            raise InvalidBackendError(
                f"The log {str(self.path)!r} was replaced, and {str(lineage.wal_of(self.path))!r} still belongs to the "
                "former one. Nothing is lost yet. End all processes that use the log, and move the files of its name "
                "that end in -wal and -shm away; then what was put in its place will be used."
            )

    def patiently(self, action: Callable[[], T]) -> T:
        """Repeat ``action`` for as long as another process holds a lock that it needs, up to the timeout."""
        deadline = time.monotonic() + self.timeout_seconds
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if primary_code(error) not in BUSY_CODES or time.monotonic() > deadline:
                    raise
            time.sleep(LOCK_POLL_SECONDS)

    def explain(self, error: sqlite3.Error) -> ResumableStreamError:
        """Turn an error of SQLite's into one that names the file and says what to do."""
        code = primary_code(error)
        if code == sqlite3.SQLITE_NOTADB:
            return self._invalid("is not an SQLite database")
        return BackendUnavailableError(f"The log {str(self.path)!r} {ADVICE.get(code, 'failed')} ({error}).")

    def _make_directory(self) -> None:
        directory = self.path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackendUnavailableError(
                f"The directory {str(directory)!r} of the log cannot be made: {error.strerror}. Make it, or set "
                "OPTIONS['path']."
            ) from error
        if self.path.is_dir():
            raise self._invalid("is a directory")

    def _make_file(self) -> None:
        """Make an empty file that only this user can read, as it holds everybody's chats, unless there is one.

        SQLite gives the files beside it the same mode. The file is never opened here under its own name. To close it
        would take away the locks that this process's connections hold on it, and another program would then take itself
        for the last one and delete the WAL (sqlite.org/howtocorrupt.html, section 2.2).
        """
        if self.path.exists():
            return
        # Where this cannot be, SQLite says why.
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            os.close(descriptor)
            try:
                os.link(name, self.path)
            finally:
                os.unlink(name)

    def _prepare(self, connection: LogConnection) -> None:
        if not self._has_schema(connection):
            self._create(connection)
        lineage.name(connection)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise self._invalid("is in a place where SQLite cannot share memory; it must be on a local disk")
        connection.execute("PRAGMA synchronous = FULL")
        # What a burst has made of the WAL file is given back.
        connection.execute("PRAGMA journal_size_limit = 67108864")

    def _has_schema(self, connection: LogConnection) -> bool:
        application_id, version, tables = connection.execute(CONTENT).fetchone()
        if application_id == APPLICATION_ID and version == SCHEMA_VERSION:
            return True
        if application_id == APPLICATION_ID:
            raise self._invalid(
                f"has schema version {version}, and this release of resumable_stream knows {SCHEMA_VERSION}",
                "Install the release that wrote it, or",
            )
        if application_id or version or tables:
            raise self._invalid("is the database of another application")
        return False

    def _create(self, connection: LogConnection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._has_schema(connection):  # Another process may have been faster.
                for statement in SCHEMA.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _invalid(self, what: str, advice: str = "Please") -> InvalidBackendError:
        return InvalidBackendError(f"The log {str(self.path)!r} {what}. {advice} set OPTIONS['path'] to another file.")


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; the extended ones have more bits."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_accessible(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
