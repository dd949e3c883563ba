"""Backups: a consistent copy of the log, made while servers write, in one file that is whole or not there.

SQLite makes the copy, within one reading transaction (``VACUUM INTO``). It needs nothing beside it: no WAL, and nothing
of what was deleted. No file that may be in use is opened by other means: to close it would take away this process's
locks on it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...exceptions import BackupError
from .file import APPLICATION_ID, CONTENT, SCHEMA_VERSION, LogFile, primary_code

SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, by the ends of the names."""
WRITE_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
INSTRUCTIONS_BETWEEN_SIGNALS = 100_000

COUNT = """
SELECT
    (SELECT count(*) FROM streams),
    (SELECT count(*) FROM records JOIN streams ON id = stream_id WHERE seq_num >= first),
    (SELECT sum(length(CAST(body AS BLOB)) + coalesce(length(CAST(headers AS BLOB)), 0))
        FROM records JOIN streams ON id = stream_id WHERE seq_num >= first),
    (SELECT sum(tail - first) FROM streams),
    (SELECT max(timestamp) FROM streams)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a log holds."""

    streams: int
    records: int
    text_bytes: int
    """Of the records with their headers."""
    missing: int
    """Records that should be there: somebody has deleted them from the log by hand."""
    newest: int
    """When the last record arrived, in milliseconds since the Unix epoch; 0 if there is none."""


def back_up(file: LogFile, target: Path, *, overwrite: bool = False) -> Contents:
    """Store a copy of the log in ``target``; only this user can read the file.

    Raises:
        BackupError: It cannot be; nothing was changed.
        ResumableStreamError: The log cannot be read.
    """
    target = target.absolute()
    _require_place(file, target, overwrite=overwrite)
    with draft_beside(target) as draft:
        copy(file, draft)
        contents = check(draft)
        place(draft, target, overwrite=overwrite)
    return contents


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """Make an empty file in the target's directory, which is removed at the end."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise BackupError(f"Nothing can be written in {str(target.parent)!r}: {error.strerror}.") from error
    os.close(descriptor)
    draft = Path(name)
    try:
        yield draft
    finally:
        for path in (draft, *side_files(draft)):
            path.unlink(missing_ok=True)


def require_log(file: LogFile) -> None:
    """Refuse a file that is no log of this version.

    Raises:
        BackupError: So it is.
        ResumableStreamError: It cannot be read.
    """
    with _reading(file):
        pass


def copy(file: LogFile, draft: Path) -> None:
    """Copy the log into the empty file ``draft``, without the id that tells the log from its copies."""
    with _reading(file) as connection:
        try:
            connection.execute("VACUUM INTO ?", (str(draft),))
        except sqlite3.Error as error:
            if primary_code(error) not in WRITE_CODES:
                raise
            raise BackupError(
                f"{str(file.path)!r} cannot be copied to {str(draft.parent)!r} ({error}). Look at the permissions, the "
                "free space and the quota of both places."
            ) from error
    with writing(draft) as connection:
        connection.execute("UPDATE log SET log_id = ''")


def check(draft: Path) -> Contents:
    """Have SQLite check a copy, and count what is in it."""
    with writing(draft) as connection:
        problems = [problem for (problem,) in connection.execute("PRAGMA quick_check(1)")]
        if problems != ["ok"]:
            raise BackupError(f"The copy is damaged, and so is the log: {problems[0]}.")
        streams, records, text_bytes, expected, newest = connection.execute(COUNT).fetchone()
    return Contents(
        streams=streams,
        records=records,
        text_bytes=text_bytes or 0,
        missing=(expected or 0) - records,
        newest=newest or 0,
    )


def place(draft: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished copy its name, once it is on the disk."""
    try:
        _flush(draft, os.O_RDWR)
        if overwrite:
            os.replace(draft, target)
        else:
            os.link(draft, target)
        if os.name != "nt":
            _flush(target.parent, os.O_RDONLY)
    except FileExistsError:
        raise BackupError(f"{str(target)!r} has been made meanwhile. Name another file.") from None
    except OSError as error:
        raise BackupError(f"{str(target)!r} cannot be written: {error.strerror}.") from error


@contextmanager
def writing(draft: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy that nobody else knows of."""
    try:
        with closing(_open(draft.as_uri(), 0)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise_interrupt(error)
        raise BackupError(f"The copy in {str(draft.parent)!r} cannot be written or checked ({error}).") from error


def raise_interrupt(error: sqlite3.Error) -> None:
    """Raise what Ctrl-C has raised within SQLite, which turns it into an error of its own."""
    if primary_code(error) == sqlite3.SQLITE_INTERRUPT:
        raise KeyboardInterrupt from error


def side_files(path: Path) -> list[Path]:
    """Return where SQLite keeps what belongs to the database at ``path``."""
    return [path.with_name(path.name + suffix) for suffix in SIDE_FILES]


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether both paths lead to one file."""
    with suppress(OSError):
        return one.samefile(other)
    return False


def _require_place(file: LogFile, target: Path, *, overwrite: bool) -> None:
    if any(is_same_file(target, own) or target == own for own in (file.path, *side_files(file.path))):
        raise BackupError(f"{str(target)!r} is the log itself. Name another file.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no directory {str(target.parent)!r}.")
    if target.is_dir():
        raise BackupError(f"{str(target)!r} is a directory. Name a file in it.")
    if any(path.exists() for path in side_files(target)):
        raise BackupError(f"{str(target)!r} is a database in use: files of its name lie beside it. Name another file.")
    if target.exists() and not overwrite:
        raise BackupError(f"{str(target)!r} exists. Name another file, or use --force.")


@contextmanager
def _reading(file: LogFile) -> Iterator[sqlite3.Connection]:
    """Open a log without changing anything, not even by closing it as the last one."""
    if not file.path.is_file():
        raise BackupError(f"There is no file {str(file.path)!r}.")
    try:
        file.require_own_wal()
        with closing(_open(f"{file.path.absolute().as_uri()}?mode=ro", file.timeout_seconds)) as connection:
            application_id, version, _ = connection.execute(CONTENT).fetchone()
            if application_id != APPLICATION_ID:
                raise BackupError(f"{str(file.path)!r} is no log of resumable_stream.")
            if version != SCHEMA_VERSION:
                raise BackupError(
                    f"{str(file.path)!r} has schema version {version}, and this release of resumable_stream knows "
                    f"{SCHEMA_VERSION}. Use the release that wrote it."
                )
            yield connection
    except sqlite3.Error as error:
        raise_interrupt(error)
        if primary_code(error) == sqlite3.SQLITE_NOTADB:
            raise BackupError(f"{str(file.path)!r} is no log of resumable_stream ({error}).") from error
        raise file.explain(error) from error


def _open(uri: str, timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)
    watch_for_signals(connection)
    return connection


def watch_for_signals(connection: sqlite3.Connection) -> None:
    """Have Python called now and then while SQLite is busy: otherwise it would not see Ctrl-C."""
    connection.set_progress_handler(lambda: None, INSTRUCTIONS_BETWEEN_SIGNALS)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
