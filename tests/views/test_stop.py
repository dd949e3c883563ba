"""A stop ends the answer it names, and the messages of a chat are read back."""

from __future__ import annotations

import pytest

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor
from .chats import Answer, data, question, sdk_question

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


# -- stopping ------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stop_ends_the_answer_for_everybody(log: FaultyLog, answer_with: Answer) -> None:
    producer = Producer("one")
    answer_with(producer)
    visitor = Visitor()
    reading = visitor.begin("POST", "/api/chat", question())
    await reading.until(lambda it: b"one" in it.body)
    stopped = await visitor.delete("/api/chat", {"id": "c1"})
    await reading.done()

    assert stopped.status == 202
    assert stopped.headers["X-Generation-Id"] == reading.headers["X-Generation-Id"]
    assert producer.is_closed
    assert reading.events[-1].data == '{"reason":"stopped"}'
    assert reading.is_complete
    assert (await visitor.delete("/api/chat", {"id": "c1"})).status == 204


@pytest.mark.parametrize("route", ["/api/chat?id=c1", "/api/chat/c1/stop"])
@in_virtual_time
async def test_a_stop_needs_no_body(log: FaultyLog, answer_with: Answer, route: str) -> None:
    answer_with(Producer())
    visitor = Visitor()
    await visitor.begin("POST", "/api/chat", question()).begun()
    method = "POST" if route.endswith("stop") else "DELETE"

    assert (await visitor.request(method, route)).status == 202


@in_virtual_time
async def test_the_path_of_a_stop_names_the_chat_whatever_the_body_says(log: FaultyLog, answer_with: Answer) -> None:
    answer_with(Producer())
    visitor = Visitor()
    await visitor.begin("POST", "/api/chat", question()).begun()

    assert (await visitor.post("/api/chat/other/stop", {"id": "c1"})).status == 204
    assert (await visitor.post("/api/chat/c1/stop", {"id": "other"})).status == 202


@in_virtual_time
async def test_a_late_stop_cannot_end_the_next_turn(log: FaultyLog, answer_with: Answer) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question())
    producer = Producer("one")
    answer_with(producer)
    second = await visitor.begin("POST", "/api/chat", question()).begun()
    late = await visitor.delete("/api/chat", {"id": "c1", "generation": first.headers["X-Generation-Id"]})
    right = await visitor.delete("/api/chat", {"id": "c1", "generation": second.headers["X-Generation-Id"]})

    assert late.status == 409
    assert late.headers["X-Generation-Id"] == second.headers["X-Generation-Id"]
    assert right.status == 202


@pytest.mark.parametrize("generation", [1, "", "a b", "x" * 65, "é"])
@in_virtual_time
async def test_a_stop_for_something_that_is_no_generation_is_refused(log: FaultyLog, generation: object) -> None:
    assert (await Visitor().delete("/api/chat", {"id": "c1", "generation": generation})).status == 400


# -- reading back --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_messages_are_the_clients_own(log: FaultyLog) -> None:
    visitor = Visitor()
    body = sdk_question()
    (message,) = body["messages"]
    started = await visitor.post("/api/sdk", body)
    exchange = await visitor.get("/api/sdk/c1/messages")
    generation = started.headers["X-Generation-Id"]

    assert exchange.headers["Cache-Control"] == "no-store"
    assert exchange.json["messages"] == [
        message,
        {"id": generation, "role": "assistant", "parts": [{"type": "text", "text": "Hello world", "state": "done"}]},
    ]
    told = {"generation": generation, "message": generation, "run": None, "end": "finished"}
    assert exchange.json["generations"] == [told]


@in_virtual_time
async def test_the_answer_that_is_being_written_is_left_to_the_stream(log: FaultyLog, answer_with: Answer) -> None:
    answer_with(Producer("one"))
    visitor = Visitor()
    started = visitor.begin("POST", "/api/chat", question())
    await started.until(lambda it: b"one" in it.body)
    exchange = await visitor.get("/api/chat/c1/messages")

    assert [message["role"] for message in exchange.json["messages"]] == ["user"]
    assert exchange.json["generations"][0]["end"] is None


@in_virtual_time
async def test_reading_on_from_the_messages_cursor_misses_and_repeats_nothing(
    log: FaultyLog, answer_with: Answer
) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    cursor = (await visitor.get("/api/chat/c1/messages")).json["cursor"]
    answer_with(lambda turn: of("Next")())
    await visitor.post("/api/chat", question())
    exchange = await visitor.get(f"/api/chat/replay?id=c1&from={cursor}")

    assert data(exchange) == ['"Next"']


@in_virtual_time
async def test_an_unknown_chat_has_no_messages(log: FaultyLog) -> None:
    exchange = await Visitor().get("/api/chat/unknown/messages")

    assert exchange.json == {"messages": [], "generations": [], "cursor": 0, "page": {"truncated": False}}
