"""A tiny run of every scenario: it gives its figures. What they are depends on the machine, and is not judged here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.logs import LOGS
from benchmarks.report import Figure, table
from benchmarks.scale import Scale
from benchmarks.scenarios import SCENARIOS

pytestmark = pytest.mark.integration

TINY = Scale(
    repeats=1,
    window_seconds=0.5,
    settling_seconds=0.1,
    replay_chunks=300,
    long_replay_chunks=3_000,
    turns=3,
    commits=10,
    generations=3,
    burst_generations=2,
    burst_chunks=50,
    readers=5,
    earlier_chunks=5,
    stalled_readers=2,
    reconnects=2,
    crashed_generations=2,
    lease_seconds=1,
    stops=1,
    paced_chunks=10,
    writers=(1, 2),
    appends=10,
    follows=(2, 3),
    idle_seconds=0.1,
)
EVERYWHERE = set(SCENARIOS["sqlite"])


@pytest.mark.parametrize("name", SCENARIOS["sqlite"])
async def test_a_scenario_gives_figures_of_the_embedded_log_and_its_peer(name: str) -> None:
    figures = await SCENARIOS["sqlite"][name](TINY, LOGS["sqlite"])

    assert_complete(figures)
    # How much is read from the log does not depend on the machine.
    assert all(figure.is_met for figure in figures if "records read" in figure.name)
    assert all(figure.log is None for figure in figures)


@pytest.mark.usefixtures("s2_lite")
@pytest.mark.parametrize("name", ["live", *sorted(set(SCENARIOS["s2-lite"]) - EVERYWHERE)])
async def test_a_scenario_gives_figures_of_s2_lite_and_its_peer(name: str) -> None:
    figures = await SCENARIOS["s2-lite"][name](TINY, LOGS["s2-lite"])

    assert_complete(figures)
    # The log's own processor time is told, and told apart.
    assert all(figure.log is not None for figure in figures if name == "live" and "CPU" in figure.name)


def assert_complete(figures: Sequence[Figure]) -> None:
    assert figures
    assert any(figure.bare is not None for figure in figures)
    assert len({figure.name for figure in figures}) == len(figures)


def test_the_report_says_of_each_figure_whether_its_aim_is_met() -> None:
    cheap = Figure(name="cheap", unit="ms", product=2, log=5, bare=1, at_most=3, is_ratio=True)
    dear = Figure(name="dear", unit="KiB", product=50, at_most=40)
    plain = Figure(name="plain", unit="s", product=1)

    titles, _, *rows = map(cells, table([cheap, dear, plain]).splitlines())

    assert titles == ["", "product", "log, apart", "peer", "ratio", "aim", ""]
    assert rows == [
        ["cheap", "2.00 ms", "5.00 ms", "1.00 ms", "2.00x", "<= 3x", "met"],
        ["dear", "50.00 KiB", "", "", "", "<= 40 KiB", "MISSED"],
        ["plain", "1.00 s", "", "", "", "", ""],
    ]


def test_the_report_has_no_column_that_says_nothing() -> None:
    titles, *_ = map(cells, table([Figure(name="plain", unit="s", product=1)]).splitlines())

    assert titles == ["", "product"]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.split("|")][1:-1]
