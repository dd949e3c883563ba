"""Hundreds of seeded runs: each accepted chunk once and in order for every reader, one terminal per generation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..s2_lite import S2Lite
from .runner import Totals, run_all
from .sites import S2Sites, SQLiteSites

RecordProperty = Callable[[str, object], None]

RUNS_ON_S2 = 300
RUNS_ON_SQLITE = 60


def report(totals: Totals, record_property: RecordProperty, backend: str) -> None:
    for line in totals.lines:
        record_property("faults", f"{backend}: {line}")
    assert not totals.failures, "\n".join(totals.lines)


async def test_whatever_breaks_on_the_way_to_s2_nothing_is_lost_or_twice_or_without_an_end(
    s2_server: S2Lite, record_property: RecordProperty
) -> None:
    totals = await run_all([f"ci.{number}" for number in range(RUNS_ON_S2)], S2Sites(s2_server))
    report(totals, record_property, "s2")
    assert totals.runs == RUNS_ON_S2
    assert totals.faults.total() > RUNS_ON_S2


async def test_writers_that_die_on_the_embedded_log_lose_nothing_and_lock_nothing(
    tmp_path: Path, record_property: RecordProperty
) -> None:
    seeds = [f"ci.{number}" for number in range(RUNS_ON_SQLITE)]
    totals = await run_all(seeds, SQLiteSites(tmp_path / "streams.sqlite3"))
    report(totals, record_property, "sqlite")
    assert totals.runs == RUNS_ON_SQLITE
    assert totals.endings["interrupted"]
