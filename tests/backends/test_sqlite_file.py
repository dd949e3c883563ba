"""The SQLite log's options, and what it makes of the file that it finds."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.backends.sqlite.file import LogConnection, LogFile
from resumable_stream.exceptions import BackendUnavailableError, InvalidBackendError, StreamNotFoundError
from resumable_stream.records import Record
from resumable_stream.testing import Probe, bodies, read_all, texts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "on first use" / "log.sqlite3"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    backend = SQLiteBackend("default", {"path": path})
    yield backend
    await backend.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_for_a_group(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    path.chmod(0o660)


async def test_only_its_user_can_read_a_log_that_was_made_here(backend: SQLiteBackend, path: Path) -> None:
    await backend.append("s", [Record("secret")])

    made = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    assert len(made) > 1
    assert {mode_of(file) for file in made} == {0o600}
    assert mode_of(path.parent) == 0o700


async def test_a_log_that_was_there_keeps_its_mode(backend: SQLiteBackend, path: Path) -> None:
    make_for_a_group(path)
    await backend.append("s", [Record("shared")])

    assert mode_of(path) == 0o660


LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM sqlite_master")
connection.close()
"""


async def test_a_further_connection_leaves_the_locks_of_the_others_in_place(backend: SQLiteBackend, path: Path) -> None:
    await backend.append("s", [Record("1")])
    LogFile(path, 5).connect().close()

    # The last program to close the file deletes its WAL, and takes itself for the last one where no lock tells.
    looking = await asyncio.create_subprocess_exec(sys.executable, "-c", LOOK, str(path))
    assert await looking.wait() == 0

    assert path.with_name(path.name + "-wal").exists()
    await backend.append("s", [Record("2")])
    assert [record.body for record in (await backend.read("s", 0)).records] == ["1", "2"]


def test_advice_for_a_damaged_file_names_the_files_that_must_go_with_it(path: Path) -> None:
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    advice = str(LogFile(path, 5).explain(error))

    assert "-wal and -shm" in advice
    assert advice.index("move it away") < advice.index("restore a backup")


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
        execute = LogConnection.execute

        def refuse(connection: LogConnection, sql: str, *parameters: Any) -> sqlite3.Cursor:
            # What SQLite answers on a network's file system: the mode stays as it was.
            return execute(connection, sql.replace("= WAL", "= DELETE"), *parameters)

        monkeypatch.setattr(LogConnection, "execute", refuse)
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
            # All files at once, as the watcher may make new ones at any moment.
            backend.path.parent.rename(backend.path.parent.with_name("deleted"))

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
