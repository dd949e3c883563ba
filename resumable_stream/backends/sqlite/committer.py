"""Commits groups of requests, and tells the truth about those that could not be committed."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from ...exceptions import AppendOutcomeUnknownError, BackendUnavailableError, ResumableStreamError
from .file import LogConnection, LogFile, primary_code
from .housekeeping import Housekeeper
from .requests import Request
from .transaction import StreamCache, Transaction

logger = logging.getLogger(__name__)

UNDONE_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
"""Failures of COMMIT that surely leave nothing behind. A commit counts once its last page is whole in the WAL file;
here there was no lock to write it under, or no room for it. After any other failure that page may be there: unseen by
all, until the next commit overwrites it or a recovery after a crash finds it."""


class Committer:
    """The writing connection. Used by the writer thread alone."""

    def __init__(self, file: LogFile, housekeeper: Housekeeper) -> None:
        self._file = file
        self._housekeeper = housekeeper
        self._cache = StreamCache()
        self._connection: LogConnection | None = None

    def commit(self, group: Sequence[Request]) -> int | None:
        """Apply the requests in their order with one commit; each one then has its answer or its error.

        Returns the number of the commit; ``None`` if nothing changed.
        """
        committing = False
        try:
            connection = self._begin()
            transaction = Transaction(connection, self._cache)
            for request in group:
                request.apply(transaction)
            committing = transaction.store()
            connection.execute("COMMIT" if committing else "ROLLBACK")
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(group, error, committing)
            return None
        if not committing:
            return None
        transaction.committed()
        if transaction.makes_garbage:
            self._housekeeper.garbage_made()
        return transaction.number

    def keep_house(self) -> None:
        """Do one slice of housekeeping in a commit of its own."""
        try:
            connection = self._begin()
            self._housekeeper.step(connection)
            connection.execute("COMMIT")
        except (sqlite3.Error, ResumableStreamError) as error:
            logger.warning("Housekeeping was put off. path=%s error=%s", self._file.path, error)
            self._housekeeper.postpone()
            self.close()
        self._cache.clear()

    def close(self) -> None:
        """Undo what is uncommitted, and close the file."""
        connection, self._connection = self._connection, None
        self._cache.clear()
        if connection is not None:
            with suppress(sqlite3.Error):  # It may be what has just failed; closing undoes it too.
                connection.rollback()
            connection.close()

    def _begin(self) -> LogConnection:
        if self._connection is not None and not self._connection.is_current(self._file.path):
            self.close()
        if self._connection is None:
            self._connection = self._file.connect()
            # SQLite waits ever longer between its tries, up to 100 ms; a commit of another process takes a few.
            self._connection.execute("PRAGMA busy_timeout = 0")
        self._file.patiently(partial(self._connection.execute, "BEGIN IMMEDIATE"))
        return self._connection

    def _fail(self, group: Sequence[Request], error: Exception, committing: bool) -> None:
        self.close()
        unknown = committing and not (isinstance(error, sqlite3.Error) and primary_code(error) in UNDONE_CODES)
        for request in group:
            # A refusal is no longer true either: it may rest on an append of the same group.
            applied = unknown and request.error is None
            request.error = self._outcome_unknown(error) if applied else self._explain(error)
        if not isinstance(error, (sqlite3.Error, ResumableStreamError)):
            logger.error("Appends failed. path=%s appends=%d", self._file.path, len(group), exc_info=error)

    def _explain(self, error: Exception) -> ResumableStreamError:
        if isinstance(error, sqlite3.Error):
            explained = self._file.explain(error)
        elif isinstance(error, ResumableStreamError):
            explained = type(error)(*error.args)
        else:
            explained = BackendUnavailableError(f"The log {str(self._file.path)!r} failed ({error!r}).")
        explained.__cause__ = error
        return explained

    def _outcome_unknown(self, error: Exception) -> AppendOutcomeUnknownError:
        unknown = AppendOutcomeUnknownError(
            f"The log {str(self._file.path)!r} failed while it was being flushed to the disk ({error})."
        )
        unknown.__cause__ = error
        return unknown
