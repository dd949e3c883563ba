"""The SQLite log within one process: the contract, faults of the file, and the life of threads and followers."""

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
from resumable_stream.backends.sqlite.file import LogConnection, LogFile
from resumable_stream.backends.sqlite.housekeeping import Housekeeper
from resumable_stream.backends.sqlite.transaction import Transaction
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from resumable_stream.testing import BackendContract, Probe, bodies, eventually, read_all, texts

from ..support.patience import PATIENCE_SECONDS


class TestSQLiteBackend(BackendContract):
    @pytest.fixture
    async def backend(self, path: Path) -> AsyncIterator[SQLiteBackend]:
        backend = SQLiteBackend("default", {"path": path})
        yield backend
        await backend.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # Under a name of its own, by which the log's threads are told from those that other tests have left.
    return tmp_path / "made" / "on first use" / f"{tmp_path.name}.sqlite3"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    backend = SQLiteBackend("default", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    yield backend
    await backend.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that every writer needs."""
    connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def failing(
    monkeypatch: pytest.MonkeyPatch, statement: str, code: int, *, after: bool = False, passing: int = 0
) -> None:
    """Make SQLite fail once at ``statement``, before or after it has taken effect, and after some that pass."""
    execute = LogConnection.execute
    failures = iter([False] * passing + [True])

    def fail(connection: LogConnection, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql != statement or not next(failures, False):
            return execute(connection, sql, *parameters)
        if after:
            execute(connection, sql, *parameters)
        error = sqlite3.OperationalError("a fault")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(LogConnection, "execute", fail)


@pytest.fixture
def no_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transactions would come between, and take the fault that is meant for an append."""
    monkeypatch.setattr(Housekeeper, "due_in", lambda self: None)


def begin_of_a_commit(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Tell when a group has been taken from the queue and waits for the lock: what comes now is in the next one."""
    begins, patiently = threading.Event(), LogFile.patiently

    def begin(file: LogFile, *arguments: Any) -> Any:
        begins.set()
        return patiently(file, *arguments)

    monkeypatch.setattr(LogFile, "patiently", begin)
    return begins


class TestFaults:
    async def test_a_lock_that_is_held_too_long_is_reported(self, backend: SQLiteBackend) -> None:
        impatient = SQLiteBackend("impatient", {"path": backend.path, "timeout_seconds": 0.1})
        await impatient.append("a", texts("x"))
        with locked(backend.path), pytest.raises(BackendUnavailableError, match="locked by another process"):
            await impatient.append("a", texts("never"))
        await impatient.close()

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

    @pytest.mark.usefixtures("no_housekeeping")
    @pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
    async def test_a_commit_that_surely_failed_is_reported_as_not_applied(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        await backend.append("a", texts("x"))
        failing(monkeypatch, "COMMIT", code)
        with pytest.raises(BackendUnavailableError):
            await backend.append("a", texts("never"))
        assert bodies(await read_all(backend, "a")) == ["x"]

    @pytest.mark.usefixtures("no_housekeeping")
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

    @pytest.mark.usefixtures("no_housekeeping")
    async def test_each_append_of_a_failed_group_hears_the_truth(
        self, backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await backend.append("a", texts("x"))
        with locked(path):
            begins = begin_of_a_commit(monkeypatch)
            first = asyncio.create_task(backend.append("a", texts("first")))
            await asyncio.to_thread(begins.wait)
            group = [
                asyncio.create_task(backend.append("a", texts("second"), match_seq_num=2)),
                asyncio.create_task(backend.append("a", texts("refused"), match_seq_num=2)),
                asyncio.create_task(backend.append("b", texts("third"))),
            ]
            await asyncio.sleep(0)
            failing(monkeypatch, "COMMIT", sqlite3.SQLITE_IOERR, passing=1)
        await first
        # The refusal rested on the second append, which may not be there: what is sure is that nothing was applied.
        outcomes = [type(outcome) for outcome in await asyncio.gather(*group, return_exceptions=True)]
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
        neighbour = SQLiteBackend("neighbour", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
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


class TestLife:
    async def test_a_follower_hears_of_a_deletion_in_its_own_process_at_once(
        self, backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watcher, "DELETIONS_SECONDS", float("inf"))
        await backend.append("a", texts("x"))
        neighbour = SQLiteBackend("neighbour", {"path": backend.path, "timeout_seconds": PATIENCE_SECONDS})
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

    async def test_closing_ends_all_threads(self, backend: SQLiteBackend, path: Path) -> None:
        await backend.append("a", texts("x"))
        async with Probe(backend, "a") as probe:
            await probe.until_caught_up()
            assert _threads(path) != []
        await backend.close()
        assert _threads(path) == []

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
        neighbour = SQLiteBackend("neighbour", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
        await backend.append("a", texts("x"))

        async def look() -> bool | None:
            return not any(name.startswith("log-watcher") for name in _threads(path)) or None

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
            return not _threads(path) or None

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


def _threads(path: Path) -> list[str]:
    return [
        thread.name for thread in threading.enumerate() if thread.name.startswith("log-") and path.name in thread.name
    ]
