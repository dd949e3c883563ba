"""The SQLite log between processes: writing and following at once, forks, ends, kills, and full or read-only disks."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.exceptions import StreamNotFoundError
from resumable_stream.records import Record
from resumable_stream.testing import Probe, bodies, read_all, texts

from ..support.patience import PATIENCE_SECONDS
from .sqlite_programs import as_nobody, finished, started

EVERYTHING = 2**63 - 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite3"


@pytest.fixture
async def backend(path: Path) -> AsyncIterator[SQLiteBackend]:
    backend = SQLiteBackend("default", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    yield backend
    await backend.close()


@pytest.fixture
async def neighbour(path: Path) -> AsyncIterator[SQLiteBackend]:
    """A second backend on the same file shares nothing with the first, just like another process's."""
    backend = SQLiteBackend("neighbour", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    yield backend
    await backend.close()


async def test_processes_write_and_follow_one_stream_at_once(backend: SQLiteBackend) -> None:
    await backend.append("a", texts("begin"))
    with started("write", backend.path, "a", 60) as one, started("write", backend.path, "a", 60) as two:
        async with Probe(backend, "a") as probe:
            for number in range(30):
                await backend.append("a", texts(f"own:{number}"))
            found = bodies(await probe.until(151))
        assert [await asyncio.to_thread(process.wait) for process in (one, two)] == [0, 0]

    expected = [
        f"{name}:{number}" for name, count in (("own", 30), (one.pid, 60), (two.pid, 60)) for number in range(count)
    ]
    assert sorted(found) == sorted(["begin", *expected])
    for name in ("own", one.pid, two.pid):
        numbers = [int(body.partition(":")[2]) for body in found if body.startswith(f"{name}:")]
        assert numbers == sorted(numbers)
    assert bodies(await read_all(backend, "a")) == found


def test_processes_that_begin_at_once_make_one_log(path: Path) -> None:
    with (
        started("write", path, "a", 20) as one,
        started("write", path, "a", 20) as two,
        started("write", path, "a", 20) as three,
    ):
        for process in (one, two, three):
            assert process.communicate(timeout=60)[1] == ""
    assert len(asyncio.run(_read(path))) == 60


async def test_a_follower_hears_of_a_neighbours_records(backend: SQLiteBackend, neighbour: SQLiteBackend) -> None:
    await backend.append("a", texts("x"))
    async with Probe(backend, "a") as probe:
        await probe.until_caught_up()
        for number in range(5):
            await neighbour.append("a", texts(str(number)))
            await backend.append("a", texts("own"))
            await probe.until(3 + 2 * number)
    assert bodies(probe.records) == ["x", "0", "own", "1", "own", "2", "own", "3", "own", "4", "own"]


async def test_a_follower_that_keeps_up_gets_what_a_neighbour_trims(
    backend: SQLiteBackend, neighbour: SQLiteBackend
) -> None:
    await backend.append("a", texts("x"))
    async with Probe(backend, "a") as probe:
        await probe.until_caught_up()
        await neighbour.append("a", [Record("y"), Record.trim(EVERYTHING), Record.fence("end")])
        assert bodies(await probe.until(4)) == ["x", "y"]


async def test_a_follower_hears_of_a_neighbours_deletion(backend: SQLiteBackend, neighbour: SQLiteBackend) -> None:
    await backend.append("a", texts("x"))
    await backend.append("b", texts("x"))
    async with Probe(backend, "a") as probe, Probe(backend, "b") as other:
        await probe.until_caught_up()
        await other.until_caught_up()
        for position in (2, 3):  # The second record can only have been announced: the watcher has begun.
            await neighbour.append("a", texts("y"))
            await probe.until(position)
        await neighbour.delete_stream("a")
        with pytest.raises(StreamNotFoundError):
            await probe.next()
        await neighbour.append("b", texts("y"))
        assert bodies(await other.until(2)) == ["x", "y"]


async def test_what_a_writer_remembers_gives_way_to_what_a_neighbour_wrote(
    backend: SQLiteBackend, neighbour: SQLiteBackend
) -> None:
    for number in range(5):
        assert (await backend.append("a", texts("x"), match_seq_num=3 * number)).end == 3 * number + 1
        await neighbour.append("a", [Record("y"), Record.fence(str(number))])
        with pytest.raises(Exception, match=f"token is '{number}'"):
            await backend.append("a", texts("x"), fencing_token="x")
    await neighbour.delete_stream("a")
    assert (await backend.append("a", texts("x"), match_seq_num=0, fencing_token="")).start == 0


def test_both_sides_of_a_fork_write_on(path: Path) -> None:
    followed, inherited = finished("fork", path)

    parts = {"before": 20, "parent": 20, "child": 20}
    expected = sorted(["begin", *(f"{name} {number}" for name, count in parts.items() for number in range(count))])
    assert followed == expected
    assert inherited == 0, "SQLite forbids to carry its open files over a fork"
    assert sorted(asyncio.run(_read(path))) == expected


def test_what_is_queued_when_a_process_ends_is_committed(path: Path) -> None:
    finished("leave_without_waiting", path)
    assert asyncio.run(_read(path)) == ["begin", *map(str, range(20))]


def test_a_killed_process_loses_nothing_it_acknowledged(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for number in range(8):
        with started("write_for_ever", path, 5) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(1, 300)):
                stream, position = json.loads(process.stdout.readline())
                acknowledged[stream] = position
            process.kill()
            # What the process still said before it died counts too; the last line may be torn.
            for line in process.stdout.read().splitlines(keepends=True):
                if line.endswith("\n"):
                    stream, position = json.loads(line)
                    acknowledged[stream] = position
        for stream, position in acknowledged.items():
            found = asyncio.run(_read(path, stream))
            assert found == [str(index) for index in range(len(found))], f"after kill {number}"
            assert len(found) >= position
            acknowledged[stream] = len(found)


def test_a_full_disk_loses_nothing_it_acknowledged_and_is_recovered_from(path: Path) -> None:
    _, *outcomes = finished("fill_the_disk", path)
    found = [body.strip() for body in asyncio.run(_read(path))]

    by_outcome: dict[str, set[str]] = {}
    for number, outcome, _ in outcomes[:-1]:
        by_outcome.setdefault(outcome, set()).add(str(number))
    unknown = by_outcome.pop("AppendOutcomeUnknownError", set())
    assert by_outcome["ok"]
    assert len(by_outcome.pop("BackendUnavailableError", set()) | unknown) == 5
    assert (found[0], found[-1]) == ("begin", "end")
    assert by_outcome["ok"] <= set(found[1:-1]) <= by_outcome["ok"] | unknown
    assert len(set(found)) == len(found)
    for _, outcome, message in outcomes:
        assert outcome == "ok" or str(path) in message


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that an unprivileged user can reach, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_a_directory_that_cannot_be_written_to_is_named(public_directory: Path) -> None:
    public_directory.chmod(0o555)
    path = public_directory / "log.sqlite3"
    ((error, message),) = finished("append_once", path, **as_nobody())
    assert error == "BackendUnavailableError"
    assert str(path) in message
    assert "write permission" in message

    public_directory.chmod(0o777)
    assert finished("append_once", path, **as_nobody()) == ["ok"]


def test_a_file_that_cannot_be_written_to_can_still_be_read(public_directory: Path) -> None:
    public_directory.chmod(0o777)
    path = public_directory / "log.sqlite3"
    with started("write", path, "a", 1, **as_nobody()) as process:
        process.communicate(timeout=60)
    path.chmod(0o444)

    ((error, message),) = finished("append_once", path, **as_nobody())
    assert error == "BackendUnavailableError"
    assert str(path) in message
    assert "write permission" in message
    ((body,),) = finished("read_once", path, **as_nobody())
    assert body.endswith(":0")
    path.chmod(0o644)
    assert finished("append_once", path, **as_nobody()) == ["ok"]


async def _read(path: Path, stream: str = "a") -> list[str]:
    backend = SQLiteBackend("default", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    try:
        return bodies(await read_all(backend, stream))
    finally:
        await backend.close()
