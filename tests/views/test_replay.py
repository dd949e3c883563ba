"""Bodies, ids and cursors that clients send, and the answers that they read from a cursor on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..support.logs import FaultyLog, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor
from .chats import Answer, data, question, sdk_question, streams

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        pytest.param(b"{", "application/json", 400, id="not JSON"),
        pytest.param(b"", "application/json", 400, id="nothing"),
        pytest.param(b"\xff\xfe\xfd", "application/json", 400, id="no text"),
        pytest.param(b"[]", "application/json", 400, id="no object"),
        pytest.param(b'{"id": "c1", "message": "x", "n": NaN}', "application/json", 400, id="NaN"),
        pytest.param(b'{"id": "c1", "message": "x", "n": -Infinity}', "application/json", 400, id="Infinity"),
        pytest.param(b'{"id": "c1", "message": "x", "n": ' + b"9" * 5000 + b"}", "application/json", 400, id="digits"),
        pytest.param(b'{"id": "c1", "x": ' + b"[" * 70 + b"]" * 70 + b"}", "application/json", 400, id="deep"),
        pytest.param(b"[" * 100_000, "application/json", 400, id="deeper than the stack"),
        pytest.param(b'{"id": "c1"}', "application/json", 400, id="no message"),
        pytest.param(b'{"id": "c1", "messages": []}', "application/json", 400, id="no messages"),
        pytest.param(b'{"id": "c1", "messages": "x"}', "application/json", 400, id="messages is text"),
        pytest.param(b'{"id": "c1", "messages": [1]}', "application/json", 400, id="a message is a number"),
        pytest.param(b'{"id": "c1", "message": 1}', "application/json", 400, id="the message is a number"),
        pytest.param(b'{"message": "x"}', "application/json", 400, id="no id"),
        pytest.param(b'{"id": 1, "message": "x"}', "application/json", 400, id="the id is a number"),
        pytest.param(b'{"id": null, "message": "x"}', "application/json", 400, id="the id is null"),
        pytest.param(b'{"id": "c1", "message": "x"}', "text/plain", 415, id="plain text"),
        pytest.param(b'{"id": "c1", "message": "x"}', "application/x-www-form-urlencoded", 415, id="a form"),
        pytest.param(b'{"id": "c1", "message": "x"}', None, 415, id="no content type"),
    ],
)
@in_virtual_time
async def test_a_body_that_cannot_be_read_is_refused_before_anything_is_made(
    log: FaultyLog, content: bytes, content_type: str | None, status: int
) -> None:
    visitor = Visitor()
    exchange = await visitor.post("/api/chat", content, content_type=content_type)

    assert exchange.status == status
    assert exchange.text
    assert exchange.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert streams() == []
    assert "sessionid" not in visitor.cookies


@in_virtual_time
async def test_json_with_a_suffix_and_parameters_is_json(log: FaultyLog) -> None:
    exchange = await Visitor().post("/api/chat", question(), content_type="application/vnd.chat+json; charset=utf-8")

    assert exchange.status == 200


@in_virtual_time
async def test_a_body_that_is_too_large_is_refused(settings: Any) -> None:
    use_faulty_log(settings, MAX_BODY_BYTES=10_000)
    exchange = await Visitor().post("/api/chat", question(text="x" * 10_000))

    assert exchange.status == 413
    assert "too large" in exchange.text
    assert streams() == []


@pytest.mark.parametrize(
    "chat_id", ["", "a/b", "../x", "a\nb", "a\0b", "ä", "\ud800", "x" * 129, "a b", "a?b", "%61"], ids=ascii
)
@in_virtual_time
async def test_an_id_that_cannot_be_one_is_refused_everywhere(log: FaultyLog, chat_id: str) -> None:
    visitor = Visitor()

    assert (await visitor.post("/api/chat", question(chat_id))).status == 400
    assert (await visitor.delete("/api/chat", {"id": chat_id})).status == 400
    if chat_id.isprintable() and chat_id.isascii() and "?" not in chat_id:
        assert (await visitor.get(f"/api/chat/replay?id={chat_id.replace('%', '%25')}")).status == 400
    assert streams() == []


@pytest.mark.parametrize("chat_id", ["a", "x" * 128, "A.b_c:d~e-9", "..."])
@in_virtual_time
async def test_the_ids_that_clients_make_are_taken(log: FaultyLog, chat_id: str) -> None:
    assert (await Visitor().post("/api/chat", question(chat_id))).status == 200


@pytest.mark.parametrize("message_id", ["x" * 600_000, "a\0b", "\ud800"], ids=["long", "NUL", "surrogate"])
@in_virtual_time
async def test_a_message_id_that_no_log_would_keep_is_refused(log: FaultyLog, message_id: str) -> None:
    message = {"id": message_id, "role": "assistant", "parts": [{"type": "text", "text": "So far"}]}
    exchange = await Visitor().post("/api/sdk", {"id": "c1", "messages": [message]})

    assert exchange.status == 400
    assert streams() == []


@in_virtual_time
async def test_any_text_can_be_asked(log: FaultyLog) -> None:
    text = "\ud83d \u2028\u2029\x85\0 \U0001f600 \r\n" + "x" * 1_000_000
    visitor = Visitor()
    exchange = await visitor.post("/api/chat", question(text=text))
    messages = (await visitor.get("/api/chat/c1/messages")).json["messages"]

    assert exchange.status == 200
    assert messages[0]["content"] == text


@pytest.mark.parametrize(
    ("query", "header", "seen"),
    [
        pytest.param("from=5", None, ['"c"'], id="from"),
        pytest.param("offset=5", None, ['"c"'], id="offset"),
        pytest.param("from=4&offset=5", None, ['"b"', '"c"'], id="from wins over offset"),
        pytest.param("from=0", "5", ['"c"'], id="the header wins"),
        pytest.param("from=x", "5", ['"c"'], id="the header wins over a mistake"),
        pytest.param("from=4", "-1", ['"b"', '"c"'], id="a negative header is passed over"),
        pytest.param("from=4", "abc", ['"b"', '"c"'], id="a header of letters is passed over"),
        pytest.param("from=4", "9" * 19, ['"b"', '"c"'], id="a huge header is passed over"),
        pytest.param("from=0", None, ['"a"', '"b"', '"c"'], id="the beginning"),
    ],
)
@in_virtual_time
async def test_a_finished_answer_is_served_from_the_cursor_to_its_end(
    log: FaultyLog, answer_with: Answer, query: str, header: str | None, seen: list[str]
) -> None:
    answer_with(lambda turn: of("a", "b", "c")())
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    headers = {} if header is None else {"Last_Event_ID": header}
    exchange = await visitor.get(f"/api/chat/replay?id=c1&{query}", **headers)

    assert exchange.status == 200
    assert data(exchange) == seen
    assert exchange.events[-1].type == "end"
    assert exchange.is_complete


@in_virtual_time
async def test_a_replay_of_a_continuation_rebuilds_what_it_continues(log: FaultyLog, answer_with: Answer) -> None:
    answer_with(Producer("It is 17 degrees."))
    call = {"type": "tool-ask", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "17"}
    body = sdk_question()
    body["messages"].append({"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "I ask."}, call]})
    visitor = Visitor()
    first = await visitor.begin("POST", "/api/sdk", body).until(lambda it: b"17 degrees" in it.body)
    second = await visitor.begin("GET", "/api/sdk/c1/stream").until(lambda it: b"17 degrees" in it.body)

    rebuilt = [json.loads(event.data) for event in second.events if not event.last_event_id]
    assert rebuilt[0] == {"type": "start", "messageId": "a1"}
    assert rebuilt[-1] == {"type": "tool-output-available", "toolCallId": "c1", "output": "17"}
    assert [event for event in second.events if event.last_event_id] == first.events


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "", "%20", "9" * 20, "9223372036854775808", "%D9%A1"])
@in_virtual_time
async def test_a_cursor_in_the_query_that_is_none_is_refused(log: FaultyLog, cursor: str) -> None:
    assert (await Visitor().get(f"/api/chat/replay?id=c1&from={cursor}")).status == 400
    assert (await Visitor().get(f"/api/chat/c1/stream?offset={cursor}")).status == 400


@in_virtual_time
async def test_a_cursor_beyond_the_end_has_nothing_to_come(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question())
    last = int(first.events[-1].last_event_id)

    assert (await visitor.get("/api/chat/replay?id=c1&from=9223372036854775807")).status == 204
    assert (await visitor.get(f"/api/chat/replay?id=c1&from={last + 1}")).status == 204
    assert (await visitor.get(f"/api/chat/replay?id=c1&from={last}")).status == 204


@in_virtual_time
async def test_a_reader_that_lacks_only_the_end_gets_it(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question())
    exchange = await visitor.get("/api/chat/c1/stream", Last_Event_ID=first.events[-2].last_event_id)

    assert [event.type for event in exchange.events] == ["end"]
    assert exchange.events[0].last_event_id == first.events[-1].last_event_id


@in_virtual_time
async def test_a_client_without_an_end_event_that_has_all_chunks_has_it_all(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/sdk", sdk_question())
    again = await visitor.get("/api/sdk/c1/stream", Last_Event_ID=first.events[-1].last_event_id)

    assert first.events[-1].data == '{"type":"finish"}'
    assert again.status == 204


@in_virtual_time
async def test_a_cursor_in_an_older_answer_reads_on_to_the_newest(log: FaultyLog, answer_with: Answer) -> None:
    visitor = Visitor()
    first = await visitor.post("/api/chat", question())
    answer_with(lambda turn: of("Second")())
    await visitor.post("/api/chat", question())
    exchange = await visitor.get("/api/chat/c1/stream", Last_Event_ID=first.events[0].last_event_id)

    assert data(exchange) == ['" world"', '"Second"']
    assert exchange.is_complete


@in_virtual_time
async def test_the_stream_route_begins_with_the_running_answer(log: FaultyLog, answer_with: Answer) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    producer = Producer("Now")
    answer_with(producer)
    first = await visitor.begin("POST", "/api/chat", question()).begun()
    second = visitor.begin("GET", "/api/chat/c1/stream")
    await second.until(lambda it: b"Now" in it.body)
    producer.finish()
    await first.done()
    await second.done()

    assert second.body == first.body


@in_virtual_time
async def test_a_live_reader_waits_for_a_chat_that_does_not_exist_yet(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question("another"))
    live = await visitor.begin("GET", "/api/chat/replay?id=c1&live=1").begun()
    await visitor.post("/api/chat", question())
    await live.until(lambda it: b" world" in it.body)
    await visitor.post("/api/chat", question())
    await live.until(lambda it: it.body.count(b" world") == 2)
    live.leave()
    await live.done()

    assert data(live) == ['"Hello"', '" world"'] * 2


@in_virtual_time
async def test_nothing_to_resume_is_no_error(log: FaultyLog) -> None:
    visitor = Visitor()
    before = await visitor.get("/api/chat/c1/stream")
    await visitor.post("/api/chat", question())
    after = await visitor.get("/api/chat/c1/stream")

    assert (before.status, before.body) == (204, b"")
    assert (after.status, after.body) == (204, b"")
