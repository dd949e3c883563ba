"""A message posted to a chat: what starts, what is answered, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.chat.turn import Turn
from resumable_stream.runtime import runtime

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor
from .chats import Answer, data, only_stream, question, streams

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


@in_virtual_time
async def test_a_start_streams_its_answer_and_names_its_generation(log: FaultyLog) -> None:
    exchange = await Visitor().post("/api/chat", question())

    assert exchange.status == 200
    assert exchange.is_complete
    assert data(exchange) == ['"Hello"', '" world"']
    assert exchange.events[-1].type == "end"
    assert len(exchange.headers["X-Generation-Id"]) == 20
    assert exchange.headers["Content-Type"] == "text/event-stream"
    assert exchange.headers["Cache-Control"] == "private, no-store, no-transform"
    assert exchange.headers["X-Accel-Buffering"] == "no"
    assert exchange.headers["Content-Encoding"] == "identity"
    assert "Connection" not in exchange.headers


@in_virtual_time
async def test_the_first_bytes_do_not_wait_for_the_model(log: FaultyLog, answer_with: Answer) -> None:
    answer_with(Producer())
    exchange = await Visitor().begin("POST", "/api/chat", question()).begun()

    assert exchange.body == b"retry: 1000\n\n: stream\n\n"


@in_virtual_time
async def test_the_answer_is_finished_after_its_client_has_gone(log: FaultyLog, answer_with: Answer) -> None:
    producer = Producer("one")
    answer_with(producer)
    exchange = Visitor().begin("POST", "/api/chat", question())
    await exchange.until(lambda it: b"one" in it.body)
    exchange.leave()
    await exchange.done()

    producer.give("two")
    producer.finish()
    await settle()

    assert log.chunks(only_stream(log)) == ['"one"', '"two"']
    assert log.ends(only_stream(log)) == ["finished"]


@in_virtual_time
async def test_a_reader_who_leaves_gives_its_place_back(log: FaultyLog, answer_with: Answer) -> None:
    answer_with(Producer("one"))
    visitor = Visitor()
    exchange = visitor.begin("POST", "/api/chat", question())
    await exchange.until(lambda it: b"one" in it.body)
    assert sum(runtime().readers.taken.values()) == 1
    exchange.leave()
    await exchange.done()

    assert sum(runtime().readers.taken.values()) == 0


@in_virtual_time
async def test_detached_delivery_answers_202_and_another_request_streams(log: FaultyLog) -> None:
    visitor = Visitor()
    started = await visitor.post("/api/detached", question())
    read = await visitor.get("/api/detached/replay?id=c1&from=0")

    assert (started.status, started.body) == (202, b"")
    assert len(started.headers["X-Generation-Id"]) == 20
    assert data(read) == ['"Hello"', '" world"']


@in_virtual_time
async def test_the_turn_carries_what_the_request_said(log: FaultyLog, answer_with: Answer) -> None:
    turns: list[Turn] = []

    def source(turn: Turn) -> Any:
        turns.append(turn)
        return of()()

    answer_with(source)
    exchange = await Visitor().post("/api/chat", question(text="Why?", temperature=1))

    (turn,) = turns
    assert turn.chat_id == "c1"
    assert [message["content"] for message in turn.messages] == ["Why?"]
    assert turn.body["temperature"] == 1
    assert turn.generation_id == exchange.headers["X-Generation-Id"]
    assert turn.message_id == turn.generation_id
    assert turn.user is None
    assert turn.request is not None
    assert turn.actor.startswith("visitor-")


@in_virtual_time
async def test_a_second_start_is_refused_and_told_which_generation_runs(log: FaultyLog, answer_with: Answer) -> None:
    calls = []
    answer_with(lambda turn: calls.append(turn) or Producer()())
    visitor = Visitor()
    first = await visitor.begin("POST", "/api/chat", question()).begun()
    second = await visitor.post("/api/chat", question())

    assert second.status == 409
    assert second.headers["X-Generation-Id"] == first.headers["X-Generation-Id"]
    assert "stop it first" in second.text
    assert len(calls) == 1


@in_virtual_time
async def test_of_two_starts_at_once_one_is_granted(log: FaultyLog, answer_with: Answer) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question("another"))
    producer = Producer("one")
    answer_with(producer)
    both = [visitor.begin("POST", "/api/chat", question()) for _ in range(2)]
    statuses = sorted([(await exchange.begun()).status for exchange in both])

    assert statuses == [200, 409]
    assert producer.calls == 1


@in_virtual_time
async def test_the_same_idempotency_key_gets_the_same_answer_while_it_runs(log: FaultyLog, answer_with: Answer) -> None:
    producer = Producer("one")
    answer_with(producer)
    visitor = Visitor()
    first = visitor.begin("POST", "/api/chat", question(), Idempotency_Key="k")
    await first.until(lambda it: b"one" in it.body)
    second = visitor.begin("POST", "/api/chat", question(), Idempotency_Key="k")
    await second.until(lambda it: b"one" in it.body)
    producer.finish()
    await first.done()
    await second.done()

    assert producer.calls == 1
    assert second.body == first.body
    assert second.headers["X-Generation-Id"] == first.headers["X-Generation-Id"]


@in_virtual_time
async def test_the_same_idempotency_key_gets_the_same_answer_once_it_is_over(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question(), Idempotency_Key="k")
    second = await visitor.post("/api/chat", question(), Idempotency_Key="k")
    third = await visitor.post("/api/chat", question(), Idempotency_Key="another")

    assert second.body == first.body
    assert third.headers["X-Generation-Id"] != first.headers["X-Generation-Id"]
    assert log.ends(only_stream(log)) == ["finished", "finished"]


@in_virtual_time
async def test_an_endless_idempotency_key_is_refused(log: FaultyLog) -> None:
    exchange = await Visitor().post("/api/chat", question(), Idempotency_Key="k" * 513)

    assert exchange.status == 400
    assert streams() == []


@in_virtual_time
async def test_a_post_with_a_last_event_id_attaches_instead_of_asking_again(
    log: FaultyLog, answer_with: Answer
) -> None:
    producer = Producer("one", "two")
    answer_with(producer)
    visitor = Visitor()
    first = visitor.begin("POST", "/api/chat", question())
    await first.until(lambda it: b"two" in it.body)
    first.leave()
    second = visitor.begin("POST", "/api/chat", question(), Last_Event_ID=first.events[0].last_event_id)
    await second.until(lambda it: b"two" in it.body)
    producer.finish()
    await second.done()

    assert producer.calls == 1
    assert data(second) == ['"two"']


@in_virtual_time
async def test_a_post_that_has_it_all_is_told_so(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question())
    again = await visitor.post("/api/chat", question(), Last_Event_ID=first.events[-1].last_event_id)

    assert again.status == 204
    assert log.ends(only_stream(log)) == ["finished"]
