# ruff: noqa: ASYNC221, ASYNC240 - nothing else runs on the event loop of a test
"""Backups of the embedded log, their way back, and copies that lie beside a WAL of another file."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.backends.sqlite import backup as backup_module
from resumable_stream.backends.sqlite.file import SCHEMA_VERSION, LogFile
from resumable_stream.backends.sqlite.restoring import alone
from resumable_stream.exceptions import BackupError, InvalidBackendError, RecordsTrimmedError
from resumable_stream.records import Record
from resumable_stream.testing import bodies, read_all, texts

from .sqlite_programs import as_nobody, finished, started

FILLER = Record("", (("filler", ""),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "copy"


@pytest.fixture(autouse=True)
def backups(target: Path) -> None:
    target.parent.mkdir()


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    backend = SQLiteBackend("default", {"path": path})
    yield backend
    await backend.close()


def names(directory: Path) -> set[str]:
    return {found.name for found in directory.iterdir()}


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def kill_after_writing(path: Path, stream: str = "a") -> None:
    """Append in a process that is then killed, so that its WAL stays."""
    with started("write", path, stream, 10_000) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.kill()
        process.wait()
    assert wal_of(path).stat().st_size > 0


def kill_when(name: str, path: Path, copy: Path, condition: Callable[[], bool]) -> None:
    """Run a program, and kill it as soon as the condition holds, unless it has ended by then."""
    with started(name, path, copy) as process:
        while process.poll() is None and not condition():
            time.sleep(0)
        process.kill()
        process.wait()


def has_file(directory: Path, pattern: str) -> bool:
    """Return whether there is such a file with something in it."""
    for found in directory.glob(pattern):
        with suppress(FileNotFoundError):
            if found.stat().st_size:
                return True
    return False


async def contents_of(path: Path) -> dict[str, list[str]]:
    backend = SQLiteBackend("reading", {"path": path})
    try:
        listed = await backend.list_streams()
        return {found.name: await kept_in(backend, found.name) for found in listed.streams}
    finally:
        await backend.close()


async def kept_in(backend: SQLiteBackend, stream: str) -> list[str]:
    try:
        return bodies(await read_all(backend, stream))
    except RecordsTrimmedError as error:
        return bodies(await read_all(backend, stream, error.first_seq_num))


class TestBackup:
    async def test_backup_holds_what_the_log_holds(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts("1", "2", "3"))
        await backend.append("a", [Record.trim(1)])
        await backend.append("b", texts("4"), fencing_token="")

        contents = backend.back_up(target)

        assert (contents.streams, contents.records, contents.missing) == (2, 4, 0)
        assert contents.newest == (await backend.tail("b")).timestamp
        assert names(target.parent) == {"copy"}
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        restored = SQLiteBackend("other", {"path": target})
        assert bodies((await restored.read("a", 1)).records)[:2] == ["2", "3"]
        assert (await restored.tail("b")).seq_num == 1
        await restored.close()

    async def test_backup_while_a_server_writes_is_a_prefix_of_each_stream(self, path: Path, target: Path) -> None:
        backend = SQLiteBackend("default", {"path": path})
        with started("write_for_ever", path, 4) as process:
            assert process.stdout is not None
            acknowledged: dict[str, int] = {}
            for number in range(5):
                for _ in range(20):
                    stream, position = json.loads(process.stdout.readline())
                    acknowledged[stream] = position
                copied = target.with_name(str(number))
                assert backend.back_up(copied).missing == 0
                held = await contents_of(copied)
                for name, position in acknowledged.items():
                    assert held[name] == [str(seq_num) for seq_num in range(len(held[name]))]
                    assert len(held[name]) >= position
            # The writer has noticed nothing.
            assert json.loads(process.stdout.readline())

    async def test_backup_of_a_log_whose_writer_was_killed_changes_nothing_of_it(
        self, path: Path, target: Path
    ) -> None:
        kill_after_writing(path)
        before = path.read_bytes(), wal_of(path).read_bytes()

        SQLiteBackend("default", {"path": path}).back_up(target)

        assert (path.read_bytes(), wal_of(path).read_bytes()) == before
        assert await contents_of(target) == await contents_of(path)

    async def test_backup_leaves_out_what_was_deleted(self, backend: SQLiteBackend, path: Path, target: Path) -> None:
        await backend.append("a", texts("secret words"))
        await backend.append("b", texts("kept"))
        await backend.delete_stream("a")
        await backend.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM records WHERE body = 'secret words'")
            connection.commit()

        backend.back_up(target)

        assert b"secret words" not in target.read_bytes()

    async def test_killed_backup_leaves_no_file_of_that_name(self, backend: SQLiteBackend, target: Path) -> None:
        for number in range(20):
            await backend.append(f"s{number}", texts("x" * 100_000, "y" * 100_000))
        await backend.close()
        for _ in range(3):
            kill_when("back_up", backend.path, target, lambda: has_file(target.parent, ".copy.*.part"))
            if target.exists():
                assert len(await contents_of(target)) == 20
                target.unlink()
        backend.back_up(target)
        assert await contents_of(backend.path) == await contents_of(target)

    async def test_records_that_are_missing_are_counted(self, backend: SQLiteBackend, path: Path, target: Path) -> None:
        await backend.append("a", texts("1", "2", "3"))
        await backend.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM records WHERE seq_num = 1")
            connection.commit()

        assert backend.back_up(target).missing == 1


class TestRefusedBackups:
    async def test_existing_file_is_replaced_by_force_alone(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts("1"))
        target.write_text("precious")

        with pytest.raises(BackupError, match="--force"):
            backend.back_up(target)
        assert target.read_text() == "precious"
        assert names(target.parent) == {"copy"}

        backend.back_up(target, overwrite=True)
        assert await contents_of(target) == {"a": ["1"]}

    async def test_log_is_not_its_own_backup(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts("1"))
        target.symlink_to(backend.path)
        hard_link = target.with_name("hard")
        os.link(backend.path, hard_link)

        for path in (backend.path, wal_of(backend.path), target, hard_link):
            with pytest.raises(BackupError, match="the log itself"):
                backend.back_up(path, overwrite=True)
        assert bodies(await read_all(backend, "a")) == ["1"]

    async def test_another_log_that_is_in_use_is_not_replaced(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts("1"))
        other = SQLiteBackend("other", {"path": target})
        await other.append("b", texts("2"))

        with pytest.raises(BackupError, match="in use"):
            backend.back_up(target, overwrite=True)
        await other.close()

    async def test_directory_is_no_file(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts("1"))

        with pytest.raises(BackupError, match="is a directory"):
            backend.back_up(target.parent, overwrite=True)
        with pytest.raises(BackupError, match="no directory"):
            backend.back_up(target / "deeper")

    def test_log_that_is_not_there_is_not_made(self, path: Path, target: Path) -> None:
        with pytest.raises(BackupError, match="no file"):
            SQLiteBackend("default", {"path": path}).back_up(target)
        assert not path.exists()

    def test_file_of_another_application_is_refused(self, path: Path, target: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")

        with pytest.raises(BackupError, match="no log of"):
            SQLiteBackend("default", {"path": path}).back_up(target)
        assert names(target.parent) == set()

    def test_directory_that_cannot_be_written_is_named(self) -> None:
        # One that an unprivileged user can reach, unlike pytest's own.
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            directory.chmod(0o777)
            path, target = directory / "log.sqlite3", directory / "backups" / "copy"
            assert finished("append_once", path, **as_nobody()) == ["ok"]
            target.parent.mkdir(mode=0o555)

            [(kind, text)] = finished("back_up_once", path, target, **as_nobody())

            assert kind == "BackupError"
            assert str(target.parent) in text

    async def test_full_disk_leaves_nothing_behind(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts(*["x" * 10_000] * 50))
        await backend.close()

        [(kind, text)] = finished("back_up_once", backend.path, target, 100_000)

        assert kind == "BackupError"
        assert "free space" in text
        assert names(target.parent) == set()


class TestRestore:
    async def test_restored_log_is_the_backup(self, backend: SQLiteBackend, path: Path, target: Path) -> None:
        await backend.append("a", texts("1", "2"), fencing_token="")
        await backend.append("a", [Record.fence("owner")])
        backend.back_up(target)
        await backend.delete_stream("a")
        await backend.close()
        path.chmod(0o660)

        restored = backend.restore(target, filler=FILLER)

        assert bodies(await read_all(backend, "a"))[:2] == ["1", "2"]
        await backend.append("a", texts("3"), fencing_token="owner")
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert restored.former is not None
        assert restored.contents.streams == 1
        await backend.close()
        assert names(path.parent) == {path.name, restored.former.name, "backups"}
        assert await contents_of(restored.former) == {}

    async def test_log_that_is_gone_is_restored(self, backend: SQLiteBackend, path: Path, target: Path) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.close()
        kill_after_writing(path)
        path.unlink()  # Its WAL stays.

        assert backend.restore(target, filler=FILLER).former is None

        assert bodies(await read_all(backend, "a")) == ["1"]

    async def test_wal_of_a_killed_writer_goes_with_the_former_log(self, path: Path, target: Path) -> None:
        kill_after_writing(path)
        backend = SQLiteBackend("default", {"path": path})
        backend.back_up(target)
        kill_after_writing(path, "b")

        restored = backend.restore(target, filler=FILLER)

        assert not wal_of(path).exists()
        assert restored.former is not None
        assert set(await contents_of(restored.former)) == {"a", "b"}
        assert await contents_of(path) == {**await contents_of(target), "b": []}

    async def test_positions_that_clients_have_seen_are_not_used_again(
        self, backend: SQLiteBackend, target: Path
    ) -> None:
        await backend.append("rewound", texts("1", "2"))
        await backend.append("same", texts("1"))
        backend.back_up(target)
        await backend.append("rewound", texts("3", "4"))
        await backend.append("new", texts("1", "2", "3"))
        before = await backend.tail("rewound", last=1)
        await backend.close()

        restored = backend.restore(target, filler=FILLER)

        assert (restored.rewound, restored.lost) == (1, 1)
        records = await read_all(backend, "rewound")
        assert [record.body for record in records] == ["1", "2", "", ""]
        assert [record.headers for record in records] == [(), (), FILLER.headers, FILLER.headers]
        assert records[3].timestamp == records[1].timestamp < before.timestamp + 1
        assert (await backend.append("rewound", texts("5"))).start == 4
        assert (await backend.append("same", texts("2"))).start == 1
        assert (await backend.append("new", texts("4"))).start == 3

    async def test_backups_made_by_other_means_are_taken(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        await backend.close()
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copied:
            source.backup(copied)

        backend.restore(target, filler=FILLER)

        assert await contents_of(path) == {"a": ["1"]}

    async def test_killed_restore_leaves_the_one_log_or_the_other(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        for number in range(20):
            await backend.append(f"s{number}", texts("x" * 100_000))
        backend.back_up(target)
        for number in range(20):
            await backend.append(f"s{number}", texts("y" * 100_000))
        await backend.close()
        former = await contents_of(path)
        for pattern in (".log.*.part", "log.*.before-restore-*", "log.*-journal"):
            kill_when("restore", path, target, lambda pattern=pattern: has_file(path.parent, pattern))
            held = await contents_of(path)
            assert held == former or held == {name: [found[0], ""] for name, found in former.items()}
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        backend.restore(target, filler=FILLER)
        assert (await contents_of(path))["s0"][0] == "x" * 100_000

    async def test_process_that_opens_the_log_during_a_restore_waits_and_finds_the_backup(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.close()
        with ExitStack() as stack:
            with alone(LogFile(path, 5)) as log:
                process = stack.enter_context(started("append_patiently", path))
                while path not in [Path(found.path) for found in psutil.Process(process.pid).open_files()]:
                    assert process.poll() is None
                with closing(sqlite3.connect(target)) as copied:
                    copied.backup(log)
            output, errors = process.communicate(timeout=60)
        assert output == '"ok"\n', errors
        assert await contents_of(path) == {"a": ["1", "x"]}

    async def test_interrupted_backup_and_restore_leave_nothing_behind(
        self, backend: SQLiteBackend, path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await backend.append("a", texts(*["x" * 1000] * 500))
        backend.back_up(target)
        await backend.close()

        def interrupt() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(
            backup_module, "watch_for_signals", lambda connection: connection.set_progress_handler(interrupt, 1000)
        )
        with pytest.raises(KeyboardInterrupt):
            backend.back_up(target.with_name("other"))
        with pytest.raises(KeyboardInterrupt):
            backend.restore(target, filler=FILLER)

        assert names(target.parent) == {"copy"}
        assert names(path.parent) == {path.name, "backups"}
        assert len((await contents_of(path))["a"]) == 500


class TestRefusedRestores:
    @pytest.fixture
    async def copied(self, backend: SQLiteBackend, target: Path) -> Path:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.append("a", texts("2"))
        await backend.close()
        return target

    async def test_log_that_a_server_has_open_is_not_restored(
        self, backend: SQLiteBackend, path: Path, copied: Path
    ) -> None:
        with started("hold_open", path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(BackupError, match="is in use"):
                backend.restore(copied, filler=FILLER)
            process.communicate("\n")
        assert await contents_of(path) == {"a": ["1", "2"]}
        assert names(path.parent) == {path.name, "backups"}

    async def test_log_that_this_process_has_open_is_not_restored(self, backend: SQLiteBackend, copied: Path) -> None:
        await backend.read("a", 0)

        with pytest.raises(BackupError, match="is in use"):
            backend.restore(copied, filler=FILLER)

        await backend.append("a", texts("3"))
        assert bodies(await read_all(backend, "a")) == ["1", "2", "3"]

    async def test_files_that_are_no_backup_are_refused(self, backend: SQLiteBackend, copied: Path) -> None:
        text = copied.with_name("text")
        text.write_text("no database " * 1000)
        theirs = copied.with_name("theirs")
        with closing(sqlite3.connect(theirs)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        newer = copied.with_name("newer")
        shutil.copyfile(copied, newer)
        with closing(sqlite3.connect(newer)) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        empty = copied.with_name("empty")
        empty.touch()

        for wrong, message in (
            (text, "no log of"),
            (theirs, "no log of"),
            (empty, "no log of"),
            (newer, "Use the release that wrote it"),
            (copied.with_name("nothing"), "no file"),
            (copied.parent, "no file"),
            (backend.path, "the log itself"),
        ):
            with pytest.raises(BackupError, match=message):
                backend.restore(wrong, filler=FILLER)
        assert await contents_of(backend.path) == {"a": ["1", "2"]}

    async def test_damaged_backup_is_refused(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts(*["x" * 1000] * 100))
        backend.back_up(target)
        await backend.close()
        with target.open("r+b") as file:
            file.seek(8 * 4096)
            file.write(os.urandom(20 * 4096))

        with pytest.raises(Exception, match="damaged") as caught:
            backend.restore(target, filler=FILLER)

        assert str(target) in str(caught.value) or isinstance(caught.value, BackupError)
        assert len((await contents_of(backend.path))["a"]) == 100

    async def test_full_disk_leaves_the_log_as_it_was(self, backend: SQLiteBackend, target: Path) -> None:
        await backend.append("a", texts(*["x" * 10_000] * 50))
        backend.back_up(target)
        await backend.append("a", texts("end"))
        await backend.close()

        [(kind, _)] = finished("restore_once", backend.path, target, 100_000)

        assert kind == "BackupError"
        assert len((await contents_of(backend.path))["a"]) == 51
        assert names(backend.path.parent) == {backend.path.name, "backups"}


class TestForeignWal:
    async def test_backup_that_was_copied_beside_an_old_wal_is_not_mixed_with_it(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.close()
        kill_after_writing(path)
        shutil.copyfile(target, path)
        before = path.read_bytes(), wal_of(path).read_bytes()

        with pytest.raises(InvalidBackendError, match="-wal and -shm away"):
            await backend.read("a", 0)
        with pytest.raises(InvalidBackendError, match="-wal and -shm away"):
            await backend.append("a", texts("2"))
        with pytest.raises(InvalidBackendError, match="-wal and -shm away"):
            backend.back_up(target, overwrite=True)

        assert (path.read_bytes(), wal_of(path).read_bytes()) == before
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink()
        assert bodies(await read_all(backend, "a")) == ["1"]

    async def test_the_same_backup_is_recognised_when_it_is_copied_again(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.close()
        shutil.copyfile(target, path)
        kill_after_writing(path)
        shutil.copyfile(target, path)

        with pytest.raises(InvalidBackendError, match="-wal and -shm away"):
            await backend.read("a", 0)

    async def test_own_wal_of_a_killed_writer_is_taken(self, backend: SQLiteBackend, path: Path) -> None:
        kill_after_writing(path)
        path.with_name(path.name + "-shm").unlink()

        assert len(await read_all(backend, "a")) >= 4

    async def test_wal_that_holds_nothing_but_housekeeping_is_recognised(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        await backend.close()
        subprocess.run([sys.executable, "-c", KEEP_HOUSE, str(path)], check=False, timeout=60)
        assert wal_of(path).stat().st_size > 0
        shutil.copyfile(target, path)

        with pytest.raises(InvalidBackendError, match="-wal and -shm away"):
            await backend.read("a", 0)

    async def test_log_row_has_the_same_page_in_every_copy(
        self, backend: SQLiteBackend, path: Path, target: Path
    ) -> None:
        await backend.append("a", texts("1"))
        backend.back_up(target)
        for copied in (path, target):
            with closing(sqlite3.connect(copied)) as connection:
                found = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log'").fetchone()
            assert found == (2,)


KEEP_HOUSE = """
import os, signal, sys
from pathlib import Path
from resumable_stream.backends.sqlite.committer import Committer
from resumable_stream.backends.sqlite.file import LogFile
from resumable_stream.backends.sqlite.housekeeping import Housekeeper
committer = Committer(LogFile(Path(sys.argv[1]), 5), Housekeeper(None))
committer.keep_house()
os.kill(os.getpid(), signal.SIGKILL)
"""
