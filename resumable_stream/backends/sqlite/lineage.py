"""Whether the WAL file beside a log is that log's own.

SQLite applies any valid WAL that it finds under the right name. Where somebody has copied a backup over a log and left
the old ``-wal`` in place, it would mix the pages of both into a file that is neither. So every log has a random id of
its own, in the one row of ``log`` that each commit writes anew, and that therefore stands in every WAL: the database
file alone and the file with its WAL applied must show the same id. (That row is on page 2 of each log: ``log`` is the
schema's first table, and VACUUM, which makes the copies, numbers tables in their order before it fills them.)

A backup that this package makes has an empty id, and gets one when it is first opened as a log. A copy that was made
by other means has the id of its original, and cannot be told from it.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

READ = "SELECT log_id FROM log"
HAS_LOG = "SELECT count(*) FROM pragma_table_info('log') WHERE name = 'log_id'"
TRIES = 5
PAUSE_SECONDS = 0.02


def wal_of(path: Path) -> Path:
    """Return where SQLite keeps the WAL of the database at ``path``."""
    return path.with_name(path.name + "-wal")


def has_foreign_wal(path: Path, timeout_seconds: float) -> bool:
    """Return whether the WAL beside the log belongs to another database.

    Nothing is changed: neither of the connections may write, not even when it is closed as the last one.

    Raises:
        sqlite3.Error: The file cannot be read.
    """
    for attempt in range(TRIES):
        if _is_empty(wal_of(path)):
            return False
        # Another process may be writing into the database file just now.
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            log_id = _read(path, "immutable=1", timeout_seconds)
        except sqlite3.DatabaseError:
            # What a crash or a full disk has left half copied from the WAL may make no sense without it.
            return False
        if log_id == _read(path, "mode=ro", timeout_seconds):
            return False
    return True


def name(connection: sqlite3.Connection) -> None:
    """Give the log an id, unless it has one.

    That must stand in the database file before there is a WAL.
    """
    if connection.execute(READ).fetchone() != ("",):
        return
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("UPDATE log SET log_id = ? WHERE log_id = ''", (secrets.token_hex(16),))


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def _read(path: Path, mode: str, timeout_seconds: float) -> str | None:
    """Read the id; ``None`` if the file has no such table."""
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None)) as connection:
        if not connection.execute(HAS_LOG).fetchone()[0]:
            return None
        (log_id,) = connection.execute(READ).fetchone()
        return str(log_id)
