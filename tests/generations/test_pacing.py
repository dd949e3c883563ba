from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resumable_stream.generations import pacing
from resumable_stream.generations.pacing import BUSY_FROM, BUSY_TO, LEAST_SECONDS, MOST_SECONDS, Pacer

Spend = Callable[[float, float], None]


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Spend:
    """Let time pass: seconds on the clock, and seconds of work in them."""
    wall = cpu = 100.0
    monkeypatch.setattr(pacing.time, "monotonic", lambda: wall)
    monkeypatch.setattr(pacing.time, "thread_time", lambda: cpu)
    monkeypatch.setattr(pacing.random, "uniform", lambda least, most: (least + most) / 2)

    def pass_by(seconds: float, work: float) -> None:
        nonlocal wall, cpu
        wall, cpu = wall + seconds, cpu + work

    return pass_by


def load(pacer: Pacer, spend: Spend, share: float, seconds: int = 20) -> float:
    for _ in range(seconds):
        spend(1, share)
        pacer.distance_seconds()
    return pacer.distance_seconds()


def test_a_process_with_time_to_spare_keeps_the_least_distance(spend: Spend) -> None:
    pacer = Pacer()

    assert pacer.distance_seconds() == LEAST_SECONDS
    assert load(pacer, spend, BUSY_FROM - 0.01) == LEAST_SECONDS


def test_the_distance_grows_with_the_load_up_to_what_people_do_not_notice(spend: Spend) -> None:
    steps = [BUSY_FROM + part * (BUSY_TO - BUSY_FROM) for part in (0.25, 0.5, 0.75, 1.0)]
    distances = [load(Pacer(), spend, share) for share in [*steps, 1.0]]

    assert distances == sorted(distances)
    assert distances[0] > LEAST_SECONDS
    assert distances[-2:] == [pytest.approx(MOST_SECONDS, rel=0.01)] * 2


def test_the_distance_shrinks_when_the_load_is_gone(spend: Spend) -> None:
    pacer = Pacer()
    load(pacer, spend, 1.0)

    assert load(pacer, spend, 0.1) == LEAST_SECONDS


def test_one_busy_moment_does_not_slow_everything_down(spend: Spend) -> None:
    pacer = Pacer()
    spend(0.3, 0.3)

    assert pacer.distance_seconds() == LEAST_SECONDS


def test_the_setting_asks_for_more_distance_and_never_for_less(spend: Spend, settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"LINGER_MS": 50}
    assert Pacer().distance_seconds() == 0.05
    settings.RESUMABLE_STREAM = {"LINGER_MS": 0}
    assert Pacer().distance_seconds() == LEAST_SECONDS


def test_a_loaded_process_spreads_its_distances_by_chance_around_the_same_mean(
    spend: Spend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = Pacer()
    usual = load(pacer, spend, (BUSY_FROM + BUSY_TO) / 2)
    bounds: list[tuple[float, float]] = []
    monkeypatch.setattr(pacing.random, "uniform", lambda *pair: bounds.append(pair) or max(pair))

    assert usual < pacer.distance_seconds() <= usual * 1.5
    assert sum(bounds[0]) / 2 == 1
