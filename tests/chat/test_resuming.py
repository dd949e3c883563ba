"""Clients that resume after the end of an answer that they may have seen begin."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.records import Record
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.chat.test_resuming")


class SDKChat(ResumableChatView):
    name = "resuming"
    format = "aisdk"
    source: Any = None

    def generate(self, turn: Turn) -> Any:
        return SDKChat.source()


class TextChat(SDKChat):
    format = "text"


class AnthropicChat(SDKChat):
    format = "anthropic"


FORMATS = {"sdk": SDKChat, "text": TextChat, "anthropic": AnthropicChat}
urlpatterns = [path(f"api/{name}", include((view.urls()[0], name), namespace=name)) for name, view in FORMATS.items()]
QUESTION = {"id": "m1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    SDKChat.source = lambda: of("Hello", " world")()


def chunks(exchange: Exchange) -> list[str]:
    return [event.data for event in exchange.events]


async def ask(visitor: Visitor, message: dict[str, Any] = QUESTION, prefix: str = "/api/sdk") -> Exchange:
    return await visitor.post(prefix, {"id": "c1", "messages": [message]})


@in_virtual_time
async def test_an_answer_comes_again_whole_until_some_time_after_its_end(log: FaultyLog) -> None:
    visitor = Visitor()
    asked = await ask(visitor)

    await asyncio.sleep(299)
    resumed = await visitor.get("/api/sdk/c1/stream")
    await asyncio.sleep(2)
    late = await visitor.get("/api/sdk/c1/stream")

    assert (resumed.status, late.status) == (200, 204)
    assert chunks(resumed) == chunks(asked)
    assert [event.last_event_id for event in resumed.events] == [event.last_event_id for event in asked.events]
    assert resumed.is_complete


@pytest.mark.parametrize(("seconds", "status"), [(0, 204), (10, 200)])
@in_virtual_time
async def test_a_setting_says_for_how_long(log: FaultyLog, settings: Any, seconds: int, status: int) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "RESUME_AFTER_END_SECONDS": seconds}
    visitor = Visitor()
    await ask(visitor)
    await asyncio.sleep(seconds / 2)

    assert (await visitor.get("/api/sdk/c1/stream")).status == status


@in_virtual_time
async def test_only_the_newest_answer_comes_again(log: FaultyLog) -> None:
    visitor = Visitor()
    await ask(visitor)
    newest = await ask(visitor, {**QUESTION, "id": "m2"})

    assert chunks(await visitor.get("/api/sdk/c1/stream")) == chunks(newest)


@pytest.mark.parametrize("is_stopped", [False, True], ids=["failed", "stopped"])
@in_virtual_time
async def test_how_an_answer_ended_is_told_again(log: FaultyLog, is_stopped: bool) -> None:
    SDKChat.source = producer = Producer("Hello")
    visitor = Visitor()
    asking = visitor.begin("POST", "/api/sdk", {"id": "c1", "messages": [QUESTION]})
    await asking.until(lambda exchange: b"Hello" in exchange.body)
    if is_stopped:
        await visitor.post("/api/sdk/c1/stop")
    else:
        producer.fail(ValueError("secret"))
    asked = await asking.done()

    assert chunks(await visitor.get("/api/sdk/c1/stream")) == chunks(asked)


@in_virtual_time
async def test_an_answer_that_goes_on_comes_again_with_what_it_had(log: FaultyLog) -> None:
    tool = {"type": "tool-ask", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 7}
    brought = {"id": "a1", "role": "assistant", "parts": [tool]}
    visitor = Visitor()
    asked = await visitor.post("/api/sdk", {"id": "c1", "messages": [QUESTION, brought]})
    resumed = await visitor.get("/api/sdk/c1/stream")

    before, after = chunks(resumed)[: -len(chunks(asked))], chunks(resumed)[-len(chunks(asked)) :]
    assert after == chunks(asked)
    assert '"messageId":"a1"' in before[0]
    assert any('"tool-output-available"' in chunk for chunk in before)


@in_virtual_time
async def test_an_answer_whose_beginning_is_gone_does_not_come_again(log: FaultyLog) -> None:
    visitor = Visitor()
    await ask(visitor)
    (name,) = log._streams
    await log.append(name, [Record.trim(3)])

    assert (await visitor.get("/api/sdk/c1/stream")).status == 204


@pytest.mark.parametrize(
    ("prefix", "route"),
    [("/api/sdk", "/api/sdk/replay?id=c1"), ("/api/text", "/api/text/c1/stream"), ("/api/anthropic", "/c1/stream")],
)
@in_virtual_time
async def test_clients_that_do_not_make_the_message_anew_have_it_all(log: FaultyLog, prefix: str, route: str) -> None:
    visitor = Visitor()
    asked = await ask(visitor, prefix=prefix)
    url = route if route.startswith("/api") else f"{prefix}{route}"
    cut_at = asked.events[0].last_event_id

    assert (await visitor.get(url)).status == 204
    # A client of theirs knows where it was.
    rest = await visitor.get(f"{prefix}/replay?id=c1&from={cut_at}")
    assert chunks(rest) == chunks(asked)[1:]


@in_virtual_time
async def test_a_chat_without_an_answer_has_nothing_to_resume(log: FaultyLog) -> None:
    assert (await Visitor().get("/api/sdk/c1/stream")).status == 204


@in_virtual_time
async def test_a_running_answer_comes_before_one_that_has_ended(log: FaultyLog) -> None:
    visitor = Visitor()
    await ask(visitor)
    SDKChat.source = Producer("And")
    second = visitor.begin("POST", "/api/sdk", {"id": "c1", "messages": [{**QUESTION, "id": "m2"}]})
    await second.until(lambda exchange: b"And" in exchange.body)
    resumed = visitor.begin("GET", "/api/sdk/c1/stream")
    await resumed.until(lambda exchange: b"And" in exchange.body)
    await settle()

    assert b"Hello" not in resumed.body


@in_virtual_time
async def test_a_stream_that_is_read_from_its_start_says_where_that_is(log: FaultyLog) -> None:
    SDKChat.source = Producer("Hello")
    visitor = Visitor()
    asking = await visitor.begin("POST", "/api/text", {"id": "c1", "messages": [QUESTION]}).begun()
    replay = await visitor.begin("GET", "/api/text/replay?id=c1").begun()
    by_cursor = await visitor.begin("GET", "/api/text/replay?id=c1&from=1").begun()

    assert replay.headers["X-Generation-Cursor"] == asking.headers["X-Generation-Cursor"]
    assert "X-Generation-Cursor" not in by_cursor.headers


@in_virtual_time
async def test_a_stream_that_begins_with_what_the_log_does_not_have_has_no_such_place(log: FaultyLog) -> None:
    tool = {"type": "tool-ask", "toolCallId": "c1", "state": "output-available", "input": {}, "output": 7}
    brought = {"id": "a1", "role": "assistant", "parts": [tool]}
    visitor = Visitor()
    await visitor.post("/api/sdk", {"id": "c1", "messages": [QUESTION, brought]})

    assert "X-Generation-Cursor" not in (await visitor.get("/api/sdk/c1/stream")).headers
