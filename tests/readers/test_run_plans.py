"""Runs found by the ids that clients chose, on a log that fails and that others write to."""

from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.exceptions import BackendUnavailableError, CursorLostError, GenerationNotFoundError
from resumable_stream.protocol.layout import Chunk
from resumable_stream.readers.run_plans import Runs, find_run, note_run
from resumable_stream.records import Record

from ..support.logs import FaultyLog, lost_after, lost_before, unavailable
from ..support.producers import of
from ..support.readers import bodies, gather
from ..support.virtual_time import in_virtual_time, settle


async def tell(engine: ChatEngine, run_id: str, *items: str) -> None:
    await engine.start("s", of(*items), run_id=run_id)
    await settle()


@in_virtual_time
async def test_a_run_is_noted_once(log: FaultyLog) -> None:
    await note_run(log, "ann", "r", "c1")
    await note_run(log, "ann", "r", "c2")

    assert [await find_run(log, owner, run_id) for owner, run_id in [("ann", "r"), ("bob", "r"), ("ann", "q")]] == [
        "c1",
        None,
        None,
    ]
    assert len(log.records("run/ann/r")) == 1


@in_virtual_time
@pytest.mark.parametrize("fault", [unavailable, lost_before, lost_after])
async def test_a_note_stands_once_whatever_the_log_does(log: FaultyLog, fault: Any) -> None:
    log.then("append", fault)
    await note_run(log, "ann", "r", "c1")

    assert [record.body for record in log.records("run/ann/r")] == ["c1"]


@in_virtual_time
async def test_a_log_that_stays_away_is_told(log: FaultyLog) -> None:
    log.always("append", unavailable)
    with pytest.raises(BackendUnavailableError):
        await note_run(log, "ann", "r", "c1")


@in_virtual_time
async def test_a_generation_without_a_name_is_known_by_its_own_id(log: FaultyLog) -> None:
    engine = ChatEngine(format="text")
    started = await engine.start("s", of("1"))
    await settle()

    reader = await engine.reader_of_run("s", started.generation_id)

    assert bodies(await gather(reader)) == ['"1"']


@in_virtual_time
async def test_a_stream_that_is_not_there_has_no_runs(log: FaultyLog) -> None:
    runs = Runs(log, "s", ChatEngine(format="text").format)
    with pytest.raises(GenerationNotFoundError):
        await runs.passage("r", None)
    with pytest.raises(CursorLostError):
        await runs.passage("r", 3)


@in_virtual_time
async def test_a_run_of_another_program_cannot_be_named(log: FaultyLog) -> None:
    await log.append("s", [Record.fence("session-abcdefgh"), Record('"1"'), Record('"2"'), Record.fence("end-x")])
    engine = ChatEngine(format="text")
    for cursor, error in [(None, GenerationNotFoundError), (2, CursorLostError), (3, CursorLostError)]:
        with pytest.raises(error):
            await engine.reader_of_run("s", "r", cursor)
    await tell(engine, "r", "3")
    # Nor does the rest of it pass for one of ours.
    with pytest.raises(CursorLostError):
        await engine.reader_of_run("s", "q", 2)


@in_virtual_time
async def test_who_has_all_of_a_run_is_told_its_last_chunk_again(log: FaultyLog) -> None:
    engine = ChatEngine(format="tanstack")
    await tell(engine, "r", "1")
    whole = await gather(await engine.reader_of_run("s", "r"))
    *_, last = (entry for entry in whole if isinstance(entry, Chunk))

    for run_id in ("q", None):
        again = await gather(await engine.reader_of_run("s", "r", last.cursor))
        assert [entry for entry in again if isinstance(entry, Chunk)] == [Chunk(0, last.body)]
        # Also when others have followed.
        await tell(engine, run_id or "p", "2")
