"""Modes and formats of an engine, where its readers begin, and what it leaves behind."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.core.exceptions import ImproperlyConfigured

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.formats.base import ChunkEncoder, GenerationFacts
from resumable_stream.formats.text import TextFormat
from resumable_stream.formats.text.format import TextEncoder
from resumable_stream.http.sse import frame_encoder
from resumable_stream.protocol.layout import Ended
from resumable_stream.records import Record
from resumable_stream.runtime import runtime

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.readers import bodies, ends, gather
from ..support.tasks import running_tasks
from ..support.virtual_time import in_virtual_time, settle
from .engines import make_engine

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


# -- modes and formats ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_shared_mode_keeps_the_newest_generation_only(log: FaultyLog) -> None:
    engine = make_engine(mode="shared")
    for text in ("First", "Second"):
        await engine.start("s", of(text))
        await settle()

    assert log.chunks("s") == ['"Second"']
    reader = await engine.locate("s", 0)
    assert reader is not None
    assert bodies(await gather(reader)) == ['"Second"']


@in_virtual_time
async def test_single_use_mode_takes_one_generation_for_each_stream(log: FaultyLog) -> None:
    engine = make_engine(mode="single-use")
    await engine.start("s", of("Only"))
    await settle()

    with pytest.raises(GenerationActiveError):
        await engine.start("s", of("Another"))
    assert (await engine.start("t", of("Elsewhere"))).is_new


def test_a_mode_that_is_none_is_refused_with_the_choices() -> None:
    with pytest.raises(ImproperlyConfigured, match="'single-use', 'shared', 'session'"):
        ChatEngine(mode="sesion")  # type: ignore[arg-type]


def test_engines_of_one_format_share_its_frames() -> None:
    first, second = (frame_encoder(ChatEngine(format="text").format) for _ in range(2))

    assert first is second


class BrokenEncoder(TextEncoder):
    """Cannot finish what it began."""

    def finish(self) -> list[str]:
        raise ZeroDivisionError

    def stop(self) -> list[str]:
        raise ZeroDivisionError

    def fail(self, text: str) -> list[str]:
        raise ZeroDivisionError


class BrokenFormat(TextFormat):
    name = "broken"

    def encoder(self, facts: GenerationFacts) -> BrokenEncoder:
        return BrokenEncoder()


@in_virtual_time
async def test_a_format_that_cannot_finish_ends_its_generations_all_the_same(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ChatEngine(format=BrokenFormat())
    assert isinstance(engine.format.encoder(GenerationFacts(generation_id="", message_id="")), ChunkEncoder)
    await engine.start("finishing", of("1"))
    await engine.start("stopped", Producer("1"))
    await settle()
    await engine.end("stopped")

    assert log.ends("finishing") == ["failed"]
    assert log.ends("stopped") == ["stopped"]
    assert "format could not close" in caplog.text


@in_virtual_time
async def test_an_item_that_the_format_cannot_encode_fails_the_generation(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    await make_engine().start("s", of("1", object(), "2"))
    await settle()

    assert log.chunks("s") == ['"1"']
    assert log.ends("s") == ["failed"]
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.ERROR]


@in_virtual_time
async def test_a_stranger_who_writes_beside_us_fails_the_answer_and_takes_nothing_away(log: FaultyLog) -> None:
    producer = Producer("1")
    await make_engine().start("s", producer)
    await settle()
    await log.append("s", [Record('"intruder"')])
    producer.give("2")
    await settle()

    assert log.chunks("s") == ['"1"', '"intruder"', '"2"']
    assert log.ends("s") == ["failed"]
    assert producer.is_closed


# -- finding a place to read from ----------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_read_depends_on_what_runs_and_on_the_cursor(log: FaultyLog) -> None:
    engine = make_engine()
    assert await engine.locate("s") is None
    assert await engine.locate("s", 0) is None
    await engine.start("s", of("1", "2"))
    await settle()
    tail = (await log.tail("s")).seq_num
    last_chunk = [entry.cursor for entry in log.entries("s") if not isinstance(entry, Ended)][-1]

    assert await engine.locate("s") is None
    assert await engine.locate("s", tail) is None
    assert await engine.locate("s", tail + 1) is None
    for cursor, expected in ((0, ['"1"', '"2"']), (last_chunk, [])):
        reader = await engine.locate("s", cursor)
        assert reader is not None
        entries = await gather(reader)
        assert (bodies(entries), ends(entries)) == (expected, ["finished"])


@in_virtual_time
async def test_a_cursor_whose_records_are_gone_gets_the_newest_answer_whole(log: FaultyLog) -> None:
    engine = make_engine()
    await engine.start("s", of("Old"))
    await settle()
    await engine.start("s", of("New"))
    await settle()
    head = await engine.head("s")
    assert head is not None
    await log.append("s", [Record.trim(head.start)])
    reader = await engine.locate("s", 1)

    assert reader is not None
    entries = await gather(reader)
    assert bodies(entries) == ['"New"']
    assert await engine.locate("s", entries[-1].cursor) is None


@in_virtual_time
async def test_a_stream_of_which_nothing_is_left_has_nothing_to_read(log: FaultyLog) -> None:
    engine = make_engine()
    await engine.start("s", of("Old"))
    await settle()
    await log.append("s", [Record.trim(2**60)])

    assert await engine.locate("s", 0) is None
    assert await engine.locate("s") is None
    assert await engine.messages("s") == []
    assert (await engine.start("s", of("New"))).is_new


@in_virtual_time
async def test_finding_the_place_costs_the_same_after_any_history(log: FaultyLog) -> None:
    engine = make_engine()
    costs = []
    for count in (1, 30):
        for _ in range(count):
            await engine.start("s", of(*["x"] * 50))
            await settle()
        log.calls.clear()
        await engine.locate("s", (await log.tail("s")).seq_num - 5)
        costs.append(log.calls["read"] + log.calls["tail"])

    assert costs[0] == costs[1]
    assert costs[1] <= 4


# -- nothing left over ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_nothing_is_left_of_generations_that_are_over(log: FaultyLog) -> None:
    engine = make_engine()
    before = len(running_tasks())
    for number in range(50):
        await engine.start(f"s{number}", of("x") if number % 2 else Producer("x"), owner=f"owner{number}")
        await asyncio.sleep(0.01)
        if not number % 2:
            await engine.end(f"s{number}")
    await asyncio.sleep(5)
    here = runtime()
    while here.registry._tasks:
        # Threads end when they end.
        await asyncio.wait(here.registry._tasks)

    assert len(here.registry) == len(here.hub) == log.following == 0
    assert here.registry._tasks == set()
    assert here.registry._starting == {}
    assert here.readers.taken == {}
    assert len(running_tasks()) == before
