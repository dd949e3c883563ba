"""Retention, and giving back the space of what was trimmed or deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resumable_stream.backends.sqlite import SQLiteBackend, housekeeping
from resumable_stream.backends.sqlite.file import LogConnection, LogFile
from resumable_stream.backends.sqlite.housekeeping import expire, sweep
from resumable_stream.backends.state import now_ms
from resumable_stream.exceptions import FencingTokenMismatchError, RecordsTrimmedError
from resumable_stream.records import Record
from resumable_stream.testing import Probe, bodies, eventually, read_all, texts

from ..support.patience import PATIENCE_SECONDS

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
def connection(path: Path) -> Iterator[LogConnection]:
    with closing(LogFile(path, 5).connect()) as connection:
        yield connection


def rows(path: Path, table: str = "records") -> int:
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def add_stream(connection: LogConnection, name: str, timestamps: list[int], first: int = 0) -> int:
    stream_id = connection.execute(
        "INSERT INTO streams (name, created_at, tail, first, timestamp, fencing_token, changed) "
        "VALUES (?, 0, ?, ?, ?, 'owner', 1)",
        (name, len(timestamps), first, timestamps[-1]),
    ).lastrowid
    assert stream_id is not None
    connection.executemany(
        "INSERT INTO records VALUES (?, ?, ?, 'x', NULL)",
        [(stream_id, seq_num, timestamp) for seq_num, timestamp in enumerate(timestamps)][first:],
    )
    return stream_id


def first_of(connection: LogConnection, stream_id: int) -> int:
    (first,) = connection.execute("SELECT first FROM streams WHERE id = ?", (stream_id,)).fetchone()
    return int(first)


async def rows_are_gone(path: Path, left: int) -> None:
    async def look() -> bool | None:
        return (rows(path) == left and rows(path, "garbage") == 0) or None

    await eventually(look)


async def test_trimmed_and_deleted_records_give_their_space_back(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 0)
    monkeypatch.setattr(housekeeping, "SWEPT_RECORDS", 7)  # So that it takes several slices.
    await backend.append("a", texts(*["x"] * 50))
    await backend.append("b", texts(*["x"] * 50))
    await backend.append("c", texts("x"))
    await backend.append("a", [Record("y"), Record.trim(EVERYTHING), Record.fence("end")])
    await backend.delete_stream("b")
    await backend.append("b", texts("new"))

    await rows_are_gone(backend.path, left=3)
    assert bodies(await read_all(backend, "b")) == ["new"]
    assert bodies(await read_all(backend, "c")) == ["x"]
    assert [record.body for record in await read_all(backend, "a", 52)] == ["end"]


async def test_what_an_ended_process_left_is_swept_up_by_the_next(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 3_600_000)
    await backend.append("a", [Record("x"), Record.trim(EVERYTHING)])
    await backend.close()
    assert rows(backend.path) == 2

    monkeypatch.setattr(housekeeping, "GRACE_MS", 0)
    await backend.append("b", texts("y"))
    await rows_are_gone(backend.path, left=1)


@pytest.mark.parametrize("end", [[Record.trim(EVERYTHING)], [Record.trim(EVERYTHING), Record.fence("end")]])
async def test_a_follower_behind_swept_records_is_told(
    backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch, end: list[Record]
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 0)
    neighbour = SQLiteBackend("neighbour", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    await backend.append("a", texts(*["x" * 100] * 10))
    async with Probe(backend, "a") as probe:
        await probe.until_caught_up()
        for _ in range(12):  # More than waits for one follower.
            await backend.append("a", texts(*["x"] * 100))
        await neighbour.append("a", end)
        await rows_are_gone(path, left=len(end) - 1)
        with pytest.raises(RecordsTrimmedError) as caught:
            await probe.until(1212)
    await neighbour.close()
    assert caught.value.first_seq_num == 1211


async def test_records_past_their_retention_are_dropped_and_tail_and_token_stay(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 0)
    backend = SQLiteBackend("default", {"path": path, "retention_seconds": 0.1})
    await backend.append("a", [Record("x"), Record.fence("owner"), Record("y")])

    async def look() -> int | None:
        try:
            await backend.read("a", 0)
        except RecordsTrimmedError as error:
            return error.first_seq_num
        return None

    assert await eventually(look) == 3
    await rows_are_gone(path, left=0)
    tail = await backend.tail("a", last=10)
    assert (tail.seq_num, tail.records) == (3, ())
    with pytest.raises(FencingTokenMismatchError) as caught:
        await backend.append("a", texts("z"), fencing_token="")
    assert caught.value.actual == "owner"
    assert (await backend.append("a", texts("z"), match_seq_num=3)).start == 3
    await backend.close()


async def test_nothing_expires_unless_it_is_asked_for(backend: SQLiteBackend) -> None:
    await backend.append("a", texts("x"))
    assert backend._writer._retention_seconds is None


@pytest.mark.parametrize(("cutoff", "kept"), [(0, 0), (10, 0), (11, 1), (20, 1), (21, 4), (30, 4), (31, 5), (99, 5)])
def test_expiry_keeps_what_arrived_at_the_cutoff_or_later(connection: LogConnection, cutoff: int, kept: int) -> None:
    stream_id = add_stream(connection, "a", [10, 20, 20, 20, 30])
    assert expire(connection, cutoff, 0) is None
    assert first_of(connection, stream_id) == kept


def test_expiry_begins_at_what_is_kept(connection: LogConnection) -> None:
    stream_id = add_stream(connection, "a", [10, 20, 30, 40], first=2)
    expire(connection, 31, 0)
    assert first_of(connection, stream_id) == 3


def test_expiry_goes_through_all_streams_in_slices(connection: LogConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "EXAMINED_STREAMS", 3)
    ids = [add_stream(connection, f"s{number}", [10, 20]) for number in range(8)]
    after: int | None = 0
    slices = 0
    while after is not None:
        after = expire(connection, 15, after)
        slices += 1
    assert slices == 3
    assert [first_of(connection, stream_id) for stream_id in ids] == [1] * 8


def test_a_sweep_takes_one_slice_at_a_time(connection: LogConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "SWEPT_RECORDS", 4)
    stream_id = add_stream(connection, "a", list(range(10)))
    connection.execute("INSERT INTO garbage VALUES (?, 9, 0)", (stream_id,))
    left = []
    while connection.execute("SELECT count(*) FROM garbage").fetchone()[0]:
        sweep(connection)
        left.append(connection.execute("SELECT count(*) FROM records").fetchone()[0])
    assert left == [6, 2, 1]


def test_what_was_discarded_a_moment_ago_is_not_swept_yet(
    connection: LogConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 3_600_000)
    stream_id = add_stream(connection, "a", list(range(10)))
    garbage = [(stream_id, 3, 0), (stream_id, 5, now_ms() - 3_600_000), (stream_id, 8, now_ms())]
    connection.executemany("INSERT INTO garbage VALUES (?, ?, ?)", garbage)
    for _ in range(2):
        sweep(connection)
        assert connection.execute("SELECT min(seq_num) FROM records").fetchone() == (5,)
        assert connection.execute("SELECT before FROM garbage").fetchall() == [(8,)]


async def test_a_fault_puts_housekeeping_off_and_disturbs_no_append(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "GRACE_MS", 0)

    def fail(connection: LogConnection) -> None:
        raise sqlite3.OperationalError("a fault")

    monkeypatch.setattr(housekeeping, "sweep", fail)
    await backend.append("a", [Record("x"), Record.trim(EVERYTHING)])

    async def look() -> bool | None:
        return "Housekeeping was put off." in caplog.text or None

    assert await eventually(look)
    await backend.append("a", texts("y"))
    assert bodies(await read_all(backend, "a", 2)) == ["y"]
