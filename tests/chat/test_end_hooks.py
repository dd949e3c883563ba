"""What ``on_error`` and ``on_end`` are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End

from ..support.logs import FaultyLog, held, unavailable
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from .engines import Listener, abandon, make_engine

pytestmark = pytest.mark.log_settings(LEASE_SECONDS=10)


@in_virtual_time
async def test_on_error_words_the_failure_and_may_fail_itself(
    log: FaultyLog, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    async def on_error(context: Any, error: Exception) -> str:
        told.append((context, str(error)))
        if context == "worse":
            raise ValueError("no words")
        return "Sorry."

    engine = ChatEngine(format="text", on_error=on_error, on_end=listener.on_end)
    for context in ("bad", "worse"):
        producer = Producer("1")
        producer.fail(RuntimeError("boom"))
        await engine.start(context, producer, context=context)
    await settle()

    assert told == [("bad", "boom"), ("worse", "boom")]
    assert {end.context: end.text for end in listener.ends} == {"bad": "Sorry.", "worse": "An error occurred."}
    assert log.ends("bad") == log.ends("worse") == ["failed"]
    assert "on_error failed" in caplog.text


@in_virtual_time
async def test_an_on_end_that_raises_is_logged_and_harms_nothing(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_end(end: End) -> None:
        raise ValueError("no table")

    engine = ChatEngine(format="text", on_end=on_end)
    await engine.start("s", of("1"))
    await settle()
    await abandon(log, stream="t")
    assert await engine.end("t") is not None

    assert log.ends("s") == ["finished"]
    assert log.ends("t") == ["stopped"]
    # What was lost can be found again by these.
    assert "chat=c1 generation=dddddddddddddddddddd message=m-d reason=stopped" in caplog.text
    assert [record.getMessage().split(":")[0] for record in caplog.records if record.exc_info] == ["on_end failed"] * 2
    assert (await engine.start("s", Producer())).is_new


@in_virtual_time
async def test_on_end_comes_although_the_log_stumbles_just_then(log: FaultyLog, listener: Listener) -> None:
    log.then("read", unavailable, unavailable)
    await make_engine(listener).start("s", of("Hello"))
    await asyncio.sleep(5)

    (end,) = listener.ends
    assert end.message is not None
    assert end.message["content"] == "Hello"


@in_virtual_time
async def test_on_end_gets_the_answer_of_its_own_generation_or_none(log: FaultyLog, listener: Listener) -> None:
    """In shared mode the next start trims what came before, possibly before the app was told of it."""
    engine = make_engine(listener, mode="shared")
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("read", held(gate, arrived))
    first = await engine.start("s", of("First"))
    await arrived.wait()
    second = await engine.start("s", of("Second"))
    await settle()
    gate.set()
    await settle()

    heard = {end.generation_id: end.message and end.message["content"] for end in listener.ends}
    assert heard == {first.generation_id: None, second.generation_id: "Second"}
