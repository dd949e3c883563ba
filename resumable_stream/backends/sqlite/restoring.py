"""Restoring a backup: the contents of the log are replaced in one transaction, while nobody else has it open.

The file itself stays. So its mode and owner stay, a process that opens the log at the wrong moment waits or sees the
one content or the other, and whatever interrupts the replacement, SQLite rolls it back.

Positions are promises: a client may hold a cursor that the former log gave it, and must not be led into the middle of a
later answer. So no position that the former log has used is used again. A stream that has lost records gets fillers in
their places, which readers pass over; of a stream that the backup does not know, the position is kept.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...exceptions import BackupError
from ...records import Record
from .backup import Contents, check, copy, draft_beside, is_same_file, place, raise_interrupt, require_log, writing
from .file import BUSY_CODES, LogFile, primary_code
from .transaction import INSERT_RECORD, encode_headers

PAGES = 1000
POSITIONS = "SELECT name, created_at, tail, timestamp FROM streams"
FIND = "SELECT id, tail, timestamp FROM streams WHERE name = ?"
KEEP_POSITION = "INSERT INTO streams (name, created_at, tail, first, timestamp, fencing_token, changed) "
KEEP_POSITION += "VALUES (?, ?, ?, ?, ?, '', 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restoration has done."""

    contents: Contents
    """What was in the backup."""
    former: Path | None
    """Where the former log is kept; ``None`` if there was none, or nothing in it."""
    rewound: int
    """Streams that had more records than the backup has of them."""
    lost: int
    """Streams that the backup does not have."""


def restore(file: LogFile, source: Path, *, filler: Record) -> Restored:
    """Replace the contents of the log by those of the backup ``source``.

    ``filler`` is a record that readers pass over.

    Raises:
        BackupError: It cannot be; nothing was changed.
        ResumableStreamError: The log cannot be opened.
    """
    source = source.absolute()
    if is_same_file(source, file.path):
        raise BackupError(f"{str(source)!r} is the log itself.")
    backup = LogFile(source, file.timeout_seconds)
    require_log(backup)
    with alone(file) as log, draft_beside(file.path) as draft:
        copy(backup, draft)
        contents = check(draft)
        former = _keep(log, file.path)
        with writing(draft) as connection:
            positions = _Positions(log, connection, filler)
            positions.carry_over()
            connection.backup(log, pages=PAGES, progress=lambda *_: None)
    return Restored(contents=contents, former=former, rewound=positions.rewound, lost=positions.lost)


@contextmanager
def alone(file: LogFile) -> Iterator[sqlite3.Connection]:
    """Open the log, and let no other process open it until the end; it has no WAL meanwhile."""
    try:
        file.connect().close()
        with closing(sqlite3.connect(file.path, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")  # In this mode the lock stays.
            yield connection
    except sqlite3.Error as error:
        raise_interrupt(error)
        if primary_code(error) in BUSY_CODES:
            raise BackupError(
                f"The log {str(file.path)!r} is in use. End all servers, workers and commands that have it open, and "
                "restore again."
            ) from error
        raise file.explain(error) from error


def _keep(log: sqlite3.Connection, path: Path) -> Path | None:
    """Store the log beside itself, page by page: it may be damaged."""
    if log.execute("SELECT commits FROM log").fetchone() == (0,):
        return None
    now = datetime.now(UTC)
    former = path.with_name(f"{path.name}.before-restore-{now:%Y%m%dT%H%M%S.%fZ}")
    with draft_beside(path) as draft:
        with writing(draft) as connection:
            log.backup(connection, pages=PAGES, progress=lambda *_: None)
        os.chmod(draft, path.stat().st_mode & 0o777)
        place(draft, former, overwrite=False)
    return former


@dataclass(slots=True)
class _Positions:
    """Carries the former log's positions over into a copy of the backup."""

    log: sqlite3.Connection
    draft: sqlite3.Connection
    filler: Record
    rewound: int = 0
    lost: int = 0

    def carry_over(self) -> None:
        """Make the copy go on where the former log has ended."""
        self.draft.execute("BEGIN")
        for name, created_at, tail, timestamp in self.log.execute(POSITIONS):
            found = self.draft.execute(FIND, (name,)).fetchone()
            if found is None:
                self.lost += 1
                self.draft.execute(KEEP_POSITION, (name, created_at, tail, tail, timestamp))
                continue
            stream_id, kept_tail, kept_timestamp = found
            if kept_tail < tail:
                self.rewound += 1
                self._fill(stream_id, range(kept_tail, tail), kept_timestamp)
        (stream_id,) = self.log.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence").fetchone()
        self.draft.execute("UPDATE sqlite_sequence SET seq = max(seq, ?)", (stream_id,))
        (commits,) = self.log.execute("SELECT commits FROM log").fetchone()
        self.draft.execute("UPDATE log SET commits = max(commits, ?) + 1", (commits,))
        self.draft.execute("COMMIT")

    def _fill(self, stream_id: int, positions: range, timestamp: int) -> None:
        # As old as the last record that is left, so that nobody takes that one's writer to be alive.
        headers = encode_headers(self.filler.headers) if self.filler.headers else None
        body = self.filler.body
        rows = ((stream_id, seq_num, timestamp, body, headers) for seq_num in positions)
        self.draft.executemany(INSERT_RECORD, rows)
        self.draft.execute("UPDATE streams SET tail = ? WHERE id = ?", (positions.stop, stream_id))
