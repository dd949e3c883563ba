"""Limits of an owner, logs out of reach, processes that end and hooks that fail."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from resumable_stream.chat.turn import Turn
from resumable_stream.conf import known_settings
from resumable_stream.exceptions import GenerationLostError, StreamNotFoundError
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView

from ..support.logs import SECRET, FaultyLog, lost_before, raising, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor
from .chats import REQUESTS, Answer, Chat, question, streams

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


@in_virtual_time
async def test_an_owner_may_have_so_many_answers_at_once_and_no_more(settings: Any, answer_with: Answer) -> None:
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=1)
    producer = Producer()
    answer_with(producer)
    visitor, other = Visitor(), Visitor()
    first = await visitor.begin("POST", "/api/chat", question()).begun()
    refused = await visitor.post("/api/chat", question("c2"))
    assert (await other.begin("POST", "/api/chat", question()).begun()).status == 200
    producer.finish()
    producer.finish()
    await first.done()
    await settle()

    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    assert producer.calls == 2
    answer_with(lambda turn: of()())
    assert (await visitor.post("/api/chat", question("c2"))).status == 200


@in_virtual_time
async def test_an_owner_may_have_so_many_readers_at_once_and_no_more(settings: Any, answer_with: Answer) -> None:
    use_faulty_log(settings, MAX_READERS_PER_OWNER=1)
    answer_with(Producer("one"))
    visitor = Visitor()
    first = await visitor.begin("POST", "/api/chat", question()).begun()
    refused = await visitor.get("/api/chat/c1/stream")
    refused_start = await visitor.post("/api/chat", question("c2"))
    first.leave()
    await first.done()
    second = await visitor.begin("GET", "/api/chat/c1/stream").begun()

    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    assert refused_start.status == 429
    assert len(streams()) == 1
    assert second.status == 200


@in_virtual_time
async def test_a_process_that_is_about_to_end_takes_no_starts(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    await runtime().drain(0)
    started = await visitor.post("/api/chat", question())
    read = await visitor.get("/api/chat/replay?id=c1&from=0")

    assert (started.status, started.headers["Retry-After"]) == (503, "1")
    assert "restarting" in started.text
    assert (read.status, read.headers["Retry-After"]) == (503, "1")


@in_virtual_time
async def test_readers_of_a_process_that_ends_are_cut_off_to_reconnect_elsewhere(
    log: FaultyLog, answer_with: Answer
) -> None:
    answer_with(Producer("one"))
    visitor = Visitor()
    live = await visitor.begin("GET", "/api/chat/replay?id=unborn&live=1").begun()
    reading = visitor.begin("POST", "/api/chat", question())
    await reading.until(lambda it: b"one" in it.body)
    await runtime().drain(0)
    await reading.done()
    await asyncio.wait({live.task})

    assert not live.is_complete
    assert reading.is_complete
    assert b'"reason":"interrupted"' in reading.body
    assert b'"cause":"shutdown"' in reading.body


@pytest.mark.parametrize("fault", [unavailable, lost_before], ids=["unavailable", "unknown"])
@pytest.mark.parametrize(("_action", "method", "url", "body"), REQUESTS)
@in_virtual_time
async def test_a_log_out_of_reach_is_503_and_tells_nothing(
    log: FaultyLog,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    _action: str,
    method: str,
    url: str,
    body: Any,
) -> None:
    for method_of_log in ("append", "read", "tail"):
        log.always(method_of_log, fault)
    visitor = Visitor()
    exchange = await visitor.request(method, url, body)

    assert (exchange.status, exchange.headers["Retry-After"]) == (503, "2")
    assert SECRET not in exchange.text + str(exchange.headers)
    failures = [it for it in caplog.records if it.levelno >= logging.ERROR and it.name.startswith("resumable_stream")]
    assert len(failures) == 1


@in_virtual_time
async def test_an_error_of_ours_that_is_no_clients_business_tells_nothing(log: FaultyLog) -> None:
    visitor = Visitor()
    for error in (StreamNotFoundError(SECRET), GenerationLostError(SECRET)):
        log.then("append", raising(error))
        log.then("tail", raising(error))
        exchange = await visitor.post("/api/chat", question())
        assert exchange.status in (200, 404, 409)
        assert SECRET not in exchange.text + str(exchange.headers)


@in_virtual_time
async def test_a_failure_of_generate_is_worded_by_on_error_and_logged_once(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer_with: Answer
) -> None:
    producer = Producer("one")
    producer.fail(RuntimeError(SECRET))
    answer_with(producer)
    visitor = Visitor()
    plain = await visitor.post("/api/chat", question())
    told: list[tuple[str, Exception]] = []

    def on_error(self: Chat, turn: Turn, error: Exception) -> str:
        told.append((turn.chat_id, error))
        return "Out of coffee."

    monkeypatch.setattr(Chat, "on_error", on_error)
    producer.fail(RuntimeError(SECRET))
    worded = await visitor.post("/api/chat", question("c2"))

    assert plain.events[-1].data == '{"reason":"failed","error":"An error occurred."}'
    assert worded.events[-1].data == '{"reason":"failed","error":"Out of coffee."}'
    assert [(chat_id, str(error)) for chat_id, error in told] == [("c2", SECRET)]
    assert SECRET not in plain.text + worded.text + (await visitor.get("/api/chat/c1/messages")).text
    assert len([it for it in caplog.records if it.levelno >= logging.ERROR]) == 2


@in_virtual_time
async def test_a_view_without_generate_fails_its_turns_and_says_so_in_the_log(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Chat, "generate", ResumableChatView.generate)
    exchange = await Visitor().post("/api/chat", question())

    assert exchange.events[-1].data == '{"reason":"failed","error":"An error occurred."}'
    assert "Chat must define generate" in caplog.text


@in_virtual_time
async def test_on_end_gets_the_turn_and_the_folded_answer(log: FaultyLog, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[tuple[Turn, Any]] = []
    monkeypatch.setattr(Chat, "on_end", lambda self, turn, end: ends.append((turn, end)))
    exchange = await Visitor().post("/api/chat", question())
    await settle()

    ((turn, end),) = ends
    assert turn.generation_id == end.generation_id == exchange.headers["X-Generation-Id"]
    assert end.reason.value == "finished"
    assert end.message == {"id": turn.message_id, "role": "assistant", "content": "Hello world"}


def test_the_classes_docstring_names_every_hook() -> None:
    hooks = ("generate", "get_stream_name", "get_owner", "authorize", "on_error", "on_end")

    assert all(getattr(ResumableChatView, hook).__doc__ for hook in hooks)
    assert known_settings()
