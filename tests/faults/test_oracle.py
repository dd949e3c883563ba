"""The oracle finds what it is there to find: runs that were sound are spoilt afterwards, in one way each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from django.test import override_settings

from resumable_stream.records import SequencedRecord

from .oracle import LOST, OTHER, TWICE, WITHOUT_TERMINAL, Oracle
from .runner import SETTINGS
from .scenario import Scenario
from .sites import SQLiteSites

SEED = "sound"


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    """A run without faults: one turn that finishes, in session mode, read to its end."""
    sites = SQLiteSites(tmp_path / "streams.sqlite3")
    async with sites.site(SEED) as site:
        scenario = Scenario(SEED, site)
        scenario.mode = "session"
        with override_settings(RESUMABLE_STREAM=SETTINGS):
            await scenario.run()
    yield scenario
    await sites.close()


def found(scenario: Scenario) -> set[str]:
    oracle = Oracle(scenario)
    oracle.judge()
    return set(oracle.findings)


def renumbered(records: list[SequencedRecord]) -> list[SequencedRecord]:
    return [record._replace(seq_num=number) for number, record in enumerate(records)]


def last_chunk(scenario: Scenario) -> int:
    """Find the last chunk that a source has yielded."""
    return next(at for at in reversed(range(len(scenario.records))) if "éé" in scenario.records[at].body)


def drop_a_chunk(scenario: Scenario) -> None:
    del scenario.records[last_chunk(scenario)]
    scenario.records = renumbered(scenario.records)
    scenario.readings.clear()


def repeat_a_chunk(scenario: Scenario) -> None:
    at = last_chunk(scenario)
    scenario.records.insert(at, scenario.records[at])
    scenario.records = renumbered(scenario.records)
    scenario.readings.clear()


def swap_two_chunks(scenario: Scenario) -> None:
    at, records = last_chunk(scenario), scenario.records
    records[at - 1], records[at] = records[at], records[at - 1]
    scenario.records = renumbered(records)
    scenario.readings.clear()


def drop_the_last_fence(scenario: Scenario) -> None:
    scenario.records.pop()
    scenario.readings.clear()


def write_after_the_end(scenario: Scenario) -> None:
    stray = scenario.records[last_chunk(scenario)]
    scenario.records = renumbered([*scenario.records, stray])


def leave_a_gap(scenario: Scenario) -> None:
    scenario.records[-1] = scenario.records[-1]._replace(seq_num=len(scenario.records))
    scenario.readings.clear()


def skip_a_frame(scenario: Scenario) -> None:
    del next(reading for reading in scenario.readings if len(reading.chunks) > 2).frames[1]


def give_a_frame_twice(scenario: Scenario) -> None:
    frames = next(reading for reading in scenario.readings if len(reading.chunks) > 2).frames
    frames.insert(1, frames[1])


def end_a_body_early(scenario: Scenario) -> None:
    del next(reading for reading in scenario.readings if len(reading.chunks) > 2).frames[2:]


def run_a_source_twice(scenario: Scenario) -> None:
    scenario.attempts[0].opened += 1
    scenario.attempts[0].closed += 1


def leave_a_source_running(scenario: Scenario) -> None:
    scenario.attempts[0].closed -= 1


def never_start_again(scenario: Scenario) -> None:
    scenario.last = None


def test_a_sound_run_is_found_sound(scenario: Scenario) -> None:
    assert found(scenario) == set()
    assert scenario.readings


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (drop_a_chunk, LOST),
        (repeat_a_chunk, TWICE),
        (swap_two_chunks, LOST),
        (drop_the_last_fence, WITHOUT_TERMINAL),
        (write_after_the_end, OTHER),
        (leave_a_gap, OTHER),
        (skip_a_frame, LOST),
        (give_a_frame_twice, TWICE),
        (end_a_body_early, LOST),
        (run_a_source_twice, TWICE),
        (leave_a_source_running, OTHER),
        (never_start_again, OTHER),
    ],
)
def test_a_spoilt_run_is_found_out(scenario: Scenario, spoil: Callable[[Scenario], None], finding: str) -> None:
    spoil(scenario)
    assert finding in found(scenario)
