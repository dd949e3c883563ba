"""The backend: options, and who does what."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name for it

from ...exceptions import BackendUnavailableError, InvalidBackendError
from ...records import AppendAck, FollowBatch, ReadBatch, Record, StreamList, StreamTail, validate_stream_name
from ..base import BaseBackend
from ..followers import Followers, RecordPage
from ..state import validate_append, validate_limit, validate_listing, validate_position
from . import reader
from .backup import Contents, back_up
from .file import LogFile
from .forking import close_before_fork
from .reader import Readers
from .requests import AppendRequest, Delete
from .restoring import Restored, restore
from .watcher import Watcher
from .writer import LogWriter

CHECK_UNWRITABLE = "resumable_stream.W102"
DEFAULT_NAME = "resumable_stream.sqlite3"
RETRY_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between a follower's tries to read a file that fails."""


class SQLiteBackend(BaseBackend):
    """Keeps all streams in one file, which the processes of a host share.

    Options:
        path: The file. Default: ``resumable_stream.sqlite3`` in the project's ``BASE_DIR``, or else in the directory
            that the process was started in. Made on first use, with its directory. Must be on a local disk.
        timeout_seconds: How long to wait for another process that writes. Default: 5.
        retention_seconds: Records older than this are dropped now and then, by processes that write; tails and fencing
            tokens stay. Default: ``None``, which keeps them.
    """

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        known = ("path", "timeout_seconds", "retention_seconds")
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise self._invalid(f"OPTIONS has unknown {', '.join(unknown)}. Known are {', '.join(known)}.")
        if "retention_seconds" not in options:
            self.unstated_retention = "for ever"
        file = LogFile(self._path(options), self._seconds(options, "timeout_seconds", 5.0))
        retention = self._seconds(options, "retention_seconds", None)
        self._file = file
        self.path = file.path
        """Where the log is."""
        self._followers = Followers()
        self._watcher = Watcher(file, self._followers)
        self._writer = LogWriter(file, self._followers, retention_seconds=retention, on_commit=self._watcher.committed)
        self._readers = Readers(file)
        close_before_fork(self._watcher, self._writer, self._readers)
        _open.add(self)
        weakref.finalize(self, _abandon, self._watcher, self._writer, self._readers).atexit = False

    def check(self) -> list[CheckMessage]:
        """Report a file that the current user cannot write."""
        path = self._file.unwritable()
        if path is None:
            return []
        return [
            Warning(
                f"The backend {self.alias!r} keeps its log in {self.path}, and this user cannot write to {path}.",
                hint="Give the server's user write permission for the file and its directory, or set OPTIONS['path']. "
                "If the server runs as another user, silence this.",
                id=CHECK_UNWRITABLE,
            )
        ]

    async def append(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        fencing_token: str | None = None,
        match_seq_num: int | None = None,
    ) -> AppendAck:
        """See :meth:`BaseBackend.append`."""
        validate_append(stream, records, fencing_token)
        request = AppendRequest(stream, records, fencing_token, match_seq_num)
        self._writer.submit(request)
        ack: AppendAck = await request.future
        return ack

    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        """See :meth:`BaseBackend.read`."""
        validate_stream_name(stream)
        validate_position(start)
        validate_limit(limit)
        return await self._readers.run(partial(reader.read, stream, start, limit))

    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        """See :meth:`BaseBackend.tail`."""
        validate_stream_name(stream)
        validate_limit(last, minimum=0)
        return await self._readers.run(partial(reader.tail, stream, last))

    def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        """See :meth:`BaseBackend.follow`."""
        validate_stream_name(stream)
        validate_position(start)
        return self._followers.follow(stream, start, self._read_page)

    async def list_streams(self, prefix: str = "", *, start_after: str = "", limit: int = 1000) -> StreamList:
        """See :meth:`BaseBackend.list_streams`."""
        validate_listing(prefix, start_after, limit)
        return await self._readers.run(partial(reader.list_streams, prefix, start_after, limit))

    async def delete_stream(self, stream: str) -> None:
        """See :meth:`BaseBackend.delete_stream`."""
        validate_stream_name(stream)
        request = Delete(stream)
        self._writer.submit(request)
        await request.future

    async def close(self) -> None:
        """Commit what is queued, close the file, end the threads. Those who still follow open it again."""
        await asyncio.to_thread(self.stop)
        self._followers.look()

    def stop(self) -> None:
        """Do what :meth:`close` does, for those who have no event loop any more."""
        self._watcher.stop()
        self._writer.stop()
        self._readers.stop()

    def back_up(self, target: Path, *, overwrite: bool = False) -> Contents:
        """Store a copy of the log in a file; others may go on writing. Blocks: this is for commands.

        Raises:
            BackupError: It cannot be; nothing was changed.
            ResumableStreamError: The log cannot be read.
        """
        return back_up(self._file, target, overwrite=overwrite)

    def restore(self, source: Path, *, filler: Record) -> Restored:
        """Replace the contents of the log by those of a backup. Blocks: this is for commands.

        Nobody may have the log open, nor this backend: :meth:`stop` it first. ``filler`` is a record that readers pass
        over.

        Raises:
            BackupError: It cannot be; nothing was changed.
            ResumableStreamError: The log cannot be opened.
        """
        return restore(self._file, source, filler=filler)

    async def _read_page(self, stream: str, position: int, stream_id: int | None) -> RecordPage:
        # Before reading, so that whatever is committed after it is noticed.
        self._watcher.start()
        query = partial(reader.read_page, stream, position, stream_id)
        for delay in RETRY_DELAYS:
            try:
                return await self._readers.run(query)
            except BackendUnavailableError:
                await asyncio.sleep(delay)
        return await self._readers.run(query)

    def _path(self, options: dict[str, Any]) -> Path:
        path = options.get("path")
        if path is None:
            return Path(getattr(django_settings, "BASE_DIR", ""), DEFAULT_NAME).absolute()
        if not isinstance(path, (str, PathLike)) or not isinstance(fspath(path), str):
            raise self._invalid(f"OPTIONS['path'] must be a path, not {path!r}.")
        if not fspath(path) or "\0" in fspath(path):
            raise self._invalid(f"OPTIONS['path'] cannot be {path!r}. Name a file.")
        if path == ":memory:":
            raise self._invalid(
                "OPTIONS['path'] must be a file. For a log in memory use "
                "'resumable_stream.backends.memory.MemoryBackend'."
            )
        return Path(path).absolute()

    def _seconds(self, options: dict[str, Any], name: str, default: Any) -> Any:
        value = options.get(name, default)
        if value is default:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise self._invalid(f"OPTIONS[{name!r}] must be a number of seconds above 0, not {value!r}.")
        return value

    def _invalid(self, problem: str) -> InvalidBackendError:
        return InvalidBackendError(f"Backend {self.alias!r}: {problem}")


_open: weakref.WeakSet[SQLiteBackend] = weakref.WeakSet()


def _abandon(watcher: Watcher, writer: LogWriter, readers: Readers) -> None:
    """End the threads of a backend that nobody can use any more."""
    watcher.abandon()
    writer.abandon()
    readers.abandon()


@atexit.register
def _stop_all() -> None:
    """Commit what is queued when the interpreter ends."""
    for backend in list(_open):
        backend.stop()
