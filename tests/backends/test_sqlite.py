"""What is special about the SQLite log within one process: its options, its file, and the file's faults."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resumable_stream.backends import state
from resumable_stream.backends.sqlite import SQLiteBackend, watcher, writer
from resumable_stream.backends.sqlite.file import Connection
from resumable_stream.backends.sqlite.transaction import Transaction
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    InvalidBackendError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from resumable_stream.records import Record
from resumable_stream.testing import BackendContract, Probe, bodies, eventually, read_all, texts


class TestSQLiteBackend(BackendContract):
    @pytest.fixture
    async def backend(self, path: Path) -> AsyncIterator[SQLiteBackend]:
        backend = SQLiteBackend("default", {"path": path})
        yield backend
        await backend.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "on first use" / "log.sqlite3"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    backend = SQLiteBackend("default", {"path": path, "timeout_seconds": 0.1})
    yield backend
    await backend.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that every writer needs."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def failing(
    monkeypatch: pytest.MonkeyPatch, statement: str, code: int, *, after: bool = False, passing: int = 0
) -> None:
    """Make SQLite fail once at ``statement``, before or after it has taken effect, and after some that pass."""
    execute = Connection.execute
    failures = iter([False] * passing + [True])

    def fail(connection: Connection, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql != statement or not next(failures, False):
            return execute(connection, sql, *parameters)
        if after:
            execute(connection, sql, *parameters)
        error = sqlite3.OperationalError("a fault")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(Connection, "execute", fail)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"file": "x", "paht": "y"}, "unknown file, paht. Known are path, timeout_seconds, retention_seconds"),
            ({"path": 7}, "must be a path, not 7"),
            ({"path": b"x"}, "must be a path"),
            ({"path": ""}, "Name a file"),
            ({"path": "a\0b"}, "Name a file"),
            ({"path": ":memory:"}, "MemoryBackend"),
            ({"timeout_seconds": 0}, "'timeout_seconds'.*above 0"),
            ({"timeout_seconds": "5"}, "'timeout_seconds'.*above 0"),
            ({"retention_seconds": -1}, "'retention_seconds'.*above 0"),
            ({"retention_seconds": True}, "'retention_seconds'.*above 0"),
            ({"retention_seconds": float("nan")}, "'retention_seconds'.*above 0"),
        ],
    )
    def test_a_wrong_option_is_named_with_its_fix(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidBackendError, match=rf"'other'.*{message}"):
            SQLiteBackend("other", options)

    def test_the_file_stands_beside_the_project_by_default(self, settings: Any, tmp_path: Path) -> None:
        settings.BASE_DIR = tmp_path
        assert SQLiteBackend("default", {}).path == tmp_path / "resumable_stream.sqlite3"

    def test_without_a_project_directory_it_stands_where_the_process_started(
        self, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert SQLiteBackend("default", {}).path == tmp_path / "resumable_stream.sqlite3"

    def test_nothing_is_made_before_it_is_used(self, path: Path) -> None:
        SQLiteBackend("default", {"path": path})
        assert not path.parent.exists()


class TestFile:
    async def test_records_can_be_looked_at_with_plain_sql(self, backend: SQLiteBackend) -> None:
        await backend.append("chat/1", [Record("hello", (("name", "é"),)), Record.fence("owner")])
        with sqlite3.connect(backend.path) as connection:
            rows = connection.execute(
                "SELECT name, fencing_token, seq_num, body, headers FROM streams JOIN records ON id = stream_id"
            ).fetchall()
            mode = connection.execute("PRAGMA journal_mode").fetchone()
        connection.close()
        assert rows == [
            ("chat/1", "owner", 0, "hello", '[["name","é"]]'),
            ("chat/1", "owner", 1, "owner", '[["","fence"]]'),
        ]
        assert mode == ("wal",)

    async def test_every_commit_is_flushed_to_the_disk(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x"))
        connection = backend._writer._file.connect()
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        connection.close()

    async def test_a_database_of_another_application_is_not_touched(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE auth_user (id INTEGER)")
        connection.close()
        await self._expect_invalid(path, "is the database of another application")

    async def test_a_newer_schema_is_not_touched(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x"))
        await backend.close()
        with sqlite3.connect(backend.path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        await self._expect_invalid(backend.path, "schema version 99.*Install the release that wrote it")

    def test_a_file_that_is_no_database_is_not_touched(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        path.write_text("Dear diary, " * 1000)
        asyncio.run(self._expect_invalid(path, "is not an SQLite database"))
        assert path.read_text() == "Dear diary, " * 1000

    def test_a_directory_is_no_log(self, path: Path) -> None:
        path.mkdir(parents=True)
        asyncio.run(self._expect_invalid(path, "is a directory"))

    async def test_a_place_without_shared_memory_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        execute = Connection.execute

        def refuse(connection: Connection, sql: str, *parameters: Any) -> sqlite3.Cursor:
            # What SQLite answers on a network's file system: the mode stays as it was.
            return execute(connection, sql.replace("= WAL", "= DELETE"), *parameters)

        monkeypatch.setattr(Connection, "execute", refuse)
        await self._expect_invalid(path, "must be on a local disk")

    async def test_a_directory_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        backend = SQLiteBackend("default", {"path": tmp_path / "file" / "log"})
        with pytest.raises(BackendUnavailableError, match=rf"{tmp_path}/file'.*OPTIONS\['path'\]"):
            await backend.append("a", texts("x"))
        (tmp_path / "file").unlink()
        await backend.append("a", texts("x"))
        await backend.close()

    async def test_a_damaged_file_is_reported_and_can_be_replaced(self, backend: SQLiteBackend) -> None:
        for _ in range(20):
            await backend.append("a", texts("x" * 1000))
        await backend.close()
        size = backend.path.stat().st_size
        with backend.path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))

        with pytest.raises(BackendUnavailableError, match=rf"{backend.path}.*damaged.*move it away"):
            await backend.append("a", texts("y"))
        with pytest.raises(BackendUnavailableError, match="damaged"):
            await backend.read("a", 0)
        backend.path.rename(backend.path.with_suffix(".damaged"))
        assert (await backend.append("a", texts("y"))).start == 0

    async def test_a_file_that_was_deleted_is_made_anew(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x", "y"))
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()
            for file in list(backend.path.parent.iterdir()):
                file.unlink()

            with pytest.raises(StreamNotFoundError):
                await probe.next()
        with pytest.raises(StreamNotFoundError):
            await backend.read("a", 0)
        assert (await backend.append("a", texts("z"))).start == 0
        assert bodies(await read_all(backend, "a")) == ["z"]

    async def _expect_invalid(self, path: Path, message: str) -> None:
        backend = SQLiteBackend("default", {"path": path})
        for _ in range(2):
            with pytest.raises(InvalidBackendError, match=rf"{path}.*{message}.*OPTIONS\['path'\]"):
                await backend.append("a", texts("x"))
            with pytest.raises(InvalidBackendError, match=message):
                await backend.read("a", 0)
        await backend.close()


class TestFaults:
    async def test_a_lock_that_is_held_too_long_is_reported(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x"))
        with locked(backend.path), pytest.raises(BackendUnavailableError, match="locked by another process"):
            await backend.append("a", texts("never"))

        await backend.append("a", texts("y"))
        assert bodies(await read_all(backend, "a")) == ["x", "y"]

    async def test_reading_goes_on_while_another_process_writes(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x"))
        with locked(backend.path):
            assert bodies(await read_all(backend, "a")) == ["x"]

    async def test_a_failed_statement_leaves_nothing_of_the_group(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await backend.append("a", texts("x"))
        failing(monkeypatch, "UPDATE log SET commits = ?", sqlite3.SQLITE_FULL)
        with pytest.raises(BackendUnavailableError, match="the disk is full"):
            await backend.append("a", texts("never"))

        assert (await backend.append("a", texts("y"), match_seq_num=1)).start == 1
        assert bodies(await read_all(backend, "a")) == ["x", "y"]

    @pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
    async def test_a_commit_that_surely_failed_is_reported_as_not_applied(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        await backend.append("a", texts("x"))
        failing(monkeypatch, "COMMIT", code)
        with pytest.raises(BackendUnavailableError):
            await backend.append("a", texts("never"))
        assert bodies(await read_all(backend, "a")) == ["x"]

    @pytest.mark.parametrize("applied", [False, True])
    async def test_a_commit_that_may_have_failed_is_reported_as_unknown_and_can_be_resolved(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, applied: bool
    ) -> None:
        await backend.append("a", texts("x"))
        failing(monkeypatch, "COMMIT", sqlite3.SQLITE_IOERR, after=applied)
        with pytest.raises(AppendOutcomeUnknownError, match=str(backend.path)):
            await backend.append("a", texts("y"), match_seq_num=1)

        if applied:
            with pytest.raises(SeqNumMismatchError):
                await backend.append("a", texts("y"), match_seq_num=1)
        else:
            await backend.append("a", texts("y"), match_seq_num=1)
        assert bodies(await read_all(backend, "a")) == ["x", "y"]

    async def test_each_append_of_a_failed_group_hears_the_truth(
        self, backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        patient = SQLiteBackend("default", {"path": path, "timeout_seconds": 30})
        await patient.append("a", texts("x"))
        with locked(path):
            first = asyncio.create_task(patient.append("a", texts("first")))
            await asyncio.sleep(0)
            await eventually(lambda: _is_taken(patient))
            group = [
                asyncio.create_task(patient.append("a", texts("second"), match_seq_num=2)),
                asyncio.create_task(patient.append("a", texts("refused"), match_seq_num=2)),
                asyncio.create_task(patient.append("b", texts("third"))),
            ]
            await asyncio.sleep(0)
            failing(monkeypatch, "COMMIT", sqlite3.SQLITE_IOERR, passing=1)
        await first
        # The refusal rested on the second append, which may not be there: what is sure is that nothing was applied.
        outcomes = [type(outcome) for outcome in await asyncio.gather(*group, return_exceptions=True)]
        await patient.close()
        assert outcomes == [AppendOutcomeUnknownError, BackendUnavailableError, AppendOutcomeUnknownError]

    async def test_a_follower_survives_passing_faults(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await backend.append("a", texts("x"))
        failing(monkeypatch, "BEGIN", sqlite3.SQLITE_IOERR)
        async with Probe(backend, "a") as probe:
            assert bodies(await probe.until_caught_up()) == ["x"]

    async def test_a_fault_while_watching_is_logged_and_then_forgotten(
        self, backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(watcher, "PAUSE_SECONDS", 0.01)
        await backend.append("a", texts("x"))
        failing(monkeypatch, "SELECT commits, last_deletion FROM log", sqlite3.SQLITE_IOERR)
        neighbour = SQLiteBackend("neighbour", {"path": path})
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()

            async def look() -> bool | None:
                return "Other processes' commits cannot be noticed." in caplog.text or None

            assert await eventually(look)
            for position in (2, 3):
                await neighbour.append("a", texts("y"))
                await probe.until(position)
        await neighbour.close()

    async def test_a_programming_error_is_logged_and_reaches_who_waits(
        self, backend: SQLiteBackend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as broken:
            broken.delattr(Transaction, "store")
            with pytest.raises(BackendUnavailableError, match="AttributeError"):
                await backend.append("a", texts("never"))
        assert "Appends failed." in caplog.text
        await backend.append("a", texts("x"))
        assert bodies(await read_all(backend, "a")) == ["x"]


async def _is_taken(backend: SQLiteBackend) -> bool | None:
    return backend._writer._queue.empty() or None


class TestLife:
    async def test_a_follower_hears_of_a_deletion_in_its_own_process_at_once(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watcher, "DELETIONS_SECONDS", float("inf"))
        await backend.append("a", texts("x"))
        neighbour = SQLiteBackend("neighbour", {"path": backend.path})
        async with Probe(backend, "a") as probe:
            for position in (2, 3):  # The second record can only have been announced: the watcher's first look is over.
                await neighbour.append("a", texts("y"))
                await probe.until(position)
            await neighbour.close()
            await backend.delete_stream("a")
            with pytest.raises(StreamNotFoundError):
                await probe.next()

    def test_one_backend_serves_one_event_loop_after_the_other(self, path: Path) -> None:
        backend = SQLiteBackend("default", {"path": path})

        async def run(number: int) -> list[str]:
            ack = await backend.append("a", texts(str(number)))
            abandoned = asyncio.create_task(backend.append("b", texts("x")))
            await asyncio.sleep(0)
            async with Probe(backend, "a") as probe:
                await probe.until(ack.end)
            del abandoned
            return bodies(await read_all(backend, "a"))

        assert [asyncio.run(run(number)) for number in range(3)] == [["0"], ["0", "1"], ["0", "1", "2"]]
        asyncio.run(backend.close())

    def test_event_loops_in_several_threads_share_the_log(self, path: Path) -> None:
        backend = SQLiteBackend("default", {"path": path})
        seen: list[list[str]] = []

        async def run() -> None:
            await backend.append("a", texts("begin"))
            async with Probe(backend, "a") as probe:
                for number in range(20):
                    await backend.append("a", texts(str(number)))
                seen.append(bodies(await probe.until(63)))

        threads = [threading.Thread(target=asyncio.run, args=(run(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(backend.close())
        assert len(seen) == 3
        assert seen[0] == seen[1] == seen[2]
        assert sorted(seen[0]) == sorted(["begin", *map(str, range(20))] * 3)

    async def test_closing_ends_all_threads(self, backend: SQLiteBackend) -> None:
        await backend.append("a", texts("x"))
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()
            assert _threads() != []
        await backend.close()
        assert _threads() == []

    async def test_closing_commits_what_is_queued(self, backend: SQLiteBackend) -> None:
        appends = [asyncio.create_task(backend.append("a", texts(str(number)))) for number in range(50)]
        await asyncio.sleep(0)
        await backend.close()
        await asyncio.gather(*appends)
        assert len(await read_all(backend, "a")) == 50

    async def test_a_follower_goes_on_when_the_backend_was_closed(self, backend: SQLiteBackend, path: Path) -> None:
        await backend.append("a", texts("x"))
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()
            await backend.close()
            other = SQLiteBackend("other", {"path": path})
            await other.append("a", texts("y"))
            await other.close()
            assert bodies(await probe.until(2)) == ["x", "y"]

    async def test_nobody_watches_when_nobody_follows_any_more(
        self, backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watcher, "LINGER_SECONDS", 0.01)
        neighbour = SQLiteBackend("neighbour", {"path": path})
        await backend.append("a", texts("x"))

        async def look() -> bool | None:
            return not any(name.startswith("log-watcher") for name in _threads()) or None

        for position in (2, 4):
            async with Probe(backend, "a") as probe:
                await probe.until_caught_up()
                for expected in (position, position + 1):
                    await neighbour.append("a", texts("y"))
                    await probe.until(expected)
            assert await eventually(look)
        await neighbour.close()

    async def test_many_appends_at_once_are_committed_in_several_groups(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "GROUP_REQUESTS", 3)
        acks = await asyncio.gather(*(backend.append("a", texts(str(number))) for number in range(20)))
        assert [ack.start for ack in acks] == list(range(20))
        with sqlite3.connect(backend.path) as connection:
            (commits,) = connection.execute("SELECT commits FROM log").fetchone()
        connection.close()
        assert commits >= 7

    async def test_a_forgotten_backend_ends_its_threads(self, path: Path) -> None:
        backend = SQLiteBackend("default", {"path": path})
        await backend.append("a", texts("x"))
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()
        del backend, probe
        gc.collect()

        async def look() -> bool | None:
            return not _threads() or None

        assert await eventually(look)

    async def test_a_clock_that_is_set_back_does_not_reorder_the_log(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await backend.append("a", texts("x"))
        before = (await read_all(backend, "a"))[0].timestamp
        monkeypatch.setattr(state.time, "time_ns", lambda: (before - 3_600_000) * 1_000_000)
        await backend.append("a", texts("y"))

        assert [record.timestamp for record in await read_all(backend, "a")] == [before, before]
        tail = await backend.tail("a")
        assert (tail.timestamp, tail.server_time) == (before, before)


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("log-")]
