"""A tiny run of every scenario: it gives its figures. What they are depends on the machine, and is not judged here."""

from __future__ import annotations

import pytest

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
    commits=10,
    generations=3,
    burst_generations=2,
    burst_chunks=50,
    readers=5,
    stalled_readers=2,
    reconnects=2,
)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_scenario_gives_figures_of_the_product_and_its_peer(name: str) -> None:
    figures = await SCENARIOS[name](TINY)

    assert figures
    assert all(figure.at_most is not None for figure in figures)
    assert any(figure.bare is not None for figure in figures)
    assert len({figure.name for figure in figures}) == len(figures)
    # How much is read from the log does not depend on the machine.
    assert all(figure.is_met for figure in figures if "records read" in figure.name)


def test_the_report_says_of_each_figure_whether_its_aim_is_met() -> None:
    cheap = Figure(name="cheap", unit="ms", product=2, bare=1, at_most=3, is_ratio=True)
    dear = Figure(name="dear", unit="KiB", product=50, at_most=40)
    plain = Figure(name="plain", unit="s", product=1)

    titles, _, *rows = table([cheap, dear, plain]).splitlines()

    assert [cell.strip() for cell in titles.split("|")][2:5] == ["product", "bare", "bare, 64 KiB"]
    assert [[cell.strip() for cell in row.split("|")][1:-1] for row in rows] == [
        ["cheap", "2.00 ms", "1.00 ms", "", "2.00x", "<= 3x", "met"],
        ["dear", "50.00 KiB", "", "", "", "<= 40 KiB", "MISSED"],
        ["plain", "1.00 s", "", "", "", "", ""],
    ]
