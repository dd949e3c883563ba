"""The HTTP doors, spoken to as clients speak: what every request is answered with, and what no answer tells."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.urls import include, path, reverse

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.conf import known_settings
from resumable_stream.exceptions import GenerationLostError, StreamNotFoundError
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView

from ..support.logs import SECRET, FaultyLog, lost_before, raising, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.views.test_chat_view")


class Chat(ResumableChatView):
    format = "text"
    source: Any = None

    def generate(self, turn: Turn) -> Any:
        return self.source(turn)


class DetachedChat(Chat):
    delivery = "replay"


class SDKChat(Chat):
    format = "aisdk"


urlpatterns = [
    path("api/chat", include(Chat.urls())),
    path("mounted/with/slash/", include((Chat.urls()[0], "resumable_stream"), namespace="slashed")),
    path("api/detached", include((DetachedChat.urls()[0], "resumable_stream"), namespace="detached")),
    path("api/sdk", include((SDKChat.urls()[0], "resumable_stream"), namespace="sdk")),
    path("api/my-replay", include((Chat.urls()[0], "resumable_stream"), namespace="my-replay")),
]

Answer = Callable[..., Any]


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Set what the views generate: a source, or a function of the turn."""

    def set_source(source: Any) -> None:
        made = (lambda turn: source()) if isinstance(source, Producer) else source
        monkeypatch.setattr(Chat, "source", staticmethod(made))

    return set_source


@pytest.fixture(autouse=True)
def default_answer(answer_with: Answer) -> None:
    answer_with(lambda turn: of("Hello", " world")())


def question(chat_id: str = "c1", text: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"id": chat_id, "message": text, **more}


def sdk_question(chat_id: str = "c1", text: str = "Hi") -> dict[str, Any]:
    return {"id": chat_id, "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}]}


def data(exchange: Exchange) -> list[str]:
    """Return what a reader of text sees, without the end."""
    return [event.data for event in exchange.events if event.type == "message"]


def streams() -> list[str]:
    found = backends["default"]
    assert isinstance(found, FaultyLog)
    return sorted(found._streams)


def only_stream(log: FaultyLog) -> str:
    (name,) = streams()
    return name


# -- starting ------------------------------------------------------------------------------------------------------


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


# -- routes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/api/chat", "/mounted/with/slash", "/api/my-replay"])
@in_virtual_time
async def test_every_route_works_at_every_mount_with_and_without_a_slash(log: FaultyLog, prefix: str) -> None:
    visitor = Visitor()
    for end in ("", "/"):
        # Django looks for the prefix as it is mounted before it asks us.
        root = prefix + ("/" if "slash" in prefix else end)
        assert (await visitor.post(root, question())).status == 200
        assert (await visitor.get(f"{prefix}/c1/stream{end}")).status == 204
        assert (await visitor.get(f"{prefix}/replay{end}?id=c1&from=0")).status == 200
        assert (await visitor.get(f"{prefix}/c1/messages{end}")).status == 200
        assert (await visitor.post(f"{prefix}/c1/stop{end}")).status == 204
        assert (await visitor.delete(root, {"id": "c1"})).status == 204


@pytest.mark.parametrize("prefix", ["/api/chat/", "/mounted/with/slash/"])
@in_virtual_time
async def test_a_double_slash_of_a_client_that_adds_its_own_is_forgiven(log: FaultyLog, prefix: str) -> None:
    visitor = Visitor()
    await visitor.post(prefix, question())

    assert (await visitor.get(f"{prefix}/c1/messages")).json["messages"]
    assert (await visitor.get(f"{prefix}/c1/stream")).status == 204


@pytest.mark.parametrize(
    "accident",
    [
        "/api/chatter/stream",
        "/api/chatter/messages",
        "/api/chatreplay?id=c1",
        "/api/chat/a/b/stream",
        "/api/chat/a%2fb/stream",
        "/api/chat/c1",
        "/api/chat/c1/other",
    ],
)
@in_virtual_time
async def test_a_path_that_only_looks_like_ours_is_not_found(log: FaultyLog, accident: str) -> None:
    exchange = await Visitor().get(accident.replace("%2f", "/"))

    assert exchange.status == 404
    assert streams() == []


def test_routes_can_be_reversed() -> None:
    assert reverse("tests.views.test_chat_view.Chat:chat") == "/api/chat"
    assert reverse("tests.views.test_chat_view.Chat:replay") == "/api/chat/replay"
    assert reverse("tests.views.test_chat_view.Chat:stream", kwargs={"chat_id": "c1"}) == "/api/chat/c1/stream"
    assert reverse("tests.views.test_chat_view.Chat:stop", kwargs={"chat_id": "c1"}) == "/api/chat/c1/stop"
    assert reverse("tests.views.test_chat_view.Chat:messages", kwargs={"chat_id": "c1"}) == "/api/chat/c1/messages"


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("GET", "/api/chat", "POST, DELETE, OPTIONS"),
        ("PUT", "/api/chat", "POST, DELETE, OPTIONS"),
        ("HEAD", "/api/chat", "POST, DELETE, OPTIONS"),
        ("POST", "/api/chat/c1/stream", "GET, OPTIONS"),
        ("HEAD", "/api/chat/c1/stream", "GET, OPTIONS"),
        ("DELETE", "/api/chat/replay", "GET, OPTIONS"),
        ("POST", "/api/chat/c1/messages", "GET, OPTIONS"),
        ("GET", "/api/chat/c1/stop", "POST, OPTIONS"),
    ],
)
@in_virtual_time
async def test_a_method_that_a_route_does_not_have_is_refused(
    log: FaultyLog, method: str, url: str, allowed: str
) -> None:
    exchange = await Visitor().request(method, url)

    assert (exchange.status, exchange.headers["Allow"]) == (405, allowed)


@in_virtual_time
async def test_options_tells_the_methods(log: FaultyLog) -> None:
    exchange = await Visitor().request("OPTIONS", "/api/chat")

    assert (exchange.status, exchange.headers["Allow"]) == (200, "POST, DELETE, OPTIONS")


def test_wsgi_is_refused_with_the_way_out(log: FaultyLog) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"needs an ASGI server.*uvicorn"):
        Client().get("/api/chat/c1/stream")


async def test_djangos_own_async_client_can_be_used_in_an_apps_tests(log: FaultyLog) -> None:
    response = await AsyncClient().post("/api/chat", question(), content_type="application/json")

    assert response.status_code == 200
    assert b'"Hello"' in b"".join([part async for part in response.streaming_content])


# -- what clients send ---------------------------------------------------------------------------------------------


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


# -- owners --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_nobody_reaches_another_visitors_chat(log: FaultyLog, answer_with: Answer) -> None:
    producer = Producer("private")
    answer_with(producer)
    owner, stranger = Visitor(), Visitor()
    started = owner.begin("POST", "/api/chat", question())
    await started.until(lambda it: b"private" in it.body)
    answer_with(lambda turn: of("mine")())
    await stranger.post("/api/chat", question("elsewhere"))

    assert (await stranger.get("/api/chat/c1/stream")).status == 204
    assert (await stranger.get("/api/chat/replay?id=c1&from=0")).status == 204
    assert (await stranger.get("/api/chat/c1/messages")).json["messages"] == []
    assert (await stranger.delete("/api/chat", {"id": "c1"})).status == 204
    assert (await stranger.post("/api/chat/c1/stop")).status == 204
    assert data(await stranger.post("/api/chat", question())) == ['"mine"']
    assert not producer.is_closed


@in_virtual_time
async def test_a_session_begins_with_the_first_question_and_not_before(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.get("/api/chat/c1/stream")
    await visitor.get("/api/chat/replay?id=c1&from=0")
    await visitor.get("/api/chat/c1/messages")
    await visitor.delete("/api/chat", {"id": "c1"})
    await visitor.post("/api/chat/c1/stop")
    assert "sessionid" not in visitor.cookies

    await visitor.post("/api/chat", question())
    assert "sessionid" in visitor.cookies


@in_virtual_time
async def test_the_owner_is_no_part_of_the_session_that_others_could_use(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())

    assert visitor.cookies["sessionid"] not in only_stream(log)
    assert only_stream(log).startswith("chat/tests.views.test_chat_view.Chat/visitor-")


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    """The database, as asynchronous code has it: from a thread whose connections nobody else closes."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("log_in_again", [False, True])
async def test_a_users_chats_are_there_after_another_login(log: FaultyLog, log_in_again: bool) -> None:
    user = await User.objects.acreate(username="ada")
    client = AsyncClient()
    await client.aforce_login(user)
    response = await client.post("/api/chat", question(), content_type="application/json")
    assert [part async for part in response.streaming_content]
    if log_in_again:
        await client.alogout()
        assert (await client.get("/api/chat/c1/messages")).json()["messages"] == []
        await client.aforce_login(user)

    assert len((await client.get("/api/chat/c1/messages")).json()["messages"]) == 2
    assert streams() == [f"chat/tests.views.test_chat_view.Chat/user-{user.pk}/c1"]


@in_virtual_time
async def test_without_sessions_the_error_says_what_to_add(
    log: FaultyLog, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MIDDLEWARE = []
    exchange = await Visitor().get("/api/chat/c1/stream")

    assert exchange.status == 500
    assert "Middleware" not in exchange.text
    assert "Add django.contrib.sessions.middleware.SessionMiddleware" in caplog.text


REQUESTS = [
    pytest.param("start", "POST", "/api/chat", question(), id="start"),
    pytest.param("read", "GET", "/api/chat/c1/stream", None, id="stream"),
    pytest.param("read", "GET", "/api/chat/replay?id=c1&from=0", None, id="replay"),
    pytest.param("read", "GET", "/api/chat/c1/messages", None, id="messages"),
    pytest.param("stop", "DELETE", "/api/chat", {"id": "c1"}, id="delete"),
    pytest.param("stop", "POST", "/api/chat/c1/stop", None, id="stop"),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(("action", "method", "url", "body"), REQUESTS)
@in_virtual_time
async def test_a_refusal_by_authorize_looks_like_a_chat_that_is_not_there(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch, is_async: bool, action: str, method: str, url: str, body: Any
) -> None:
    asked: list[tuple[str, str]] = []

    def refuse(self: Chat, request: HttpRequest, chat_id: str, what: str) -> bool:
        asked.append((chat_id, what))
        return False

    async def refuse_later(self: Chat, request: HttpRequest, chat_id: str, what: str) -> bool:
        return refuse(self, request, chat_id, what)

    monkeypatch.setattr(Chat, "authorize", refuse_later if is_async else refuse)
    visitor = Visitor()
    exchange = await visitor.request(method, url, body)

    assert (exchange.status, exchange.text) == (404, "There is no such chat.")
    assert asked == [("c1", action)]
    assert streams() == []
    assert "sessionid" not in visitor.cookies


@in_virtual_time
async def test_the_stream_may_be_named_by_the_app(log: FaultyLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "get_stream_name", lambda self, request, chat_id: f"shared/{chat_id}")
    await Visitor().post("/api/chat", question())

    assert streams() == ["shared/c1"]
    assert len((await Visitor().get("/api/chat/c1/messages")).json["messages"]) == 2


@pytest.mark.parametrize("route", ["api/chat", "api/sdk"])
@in_virtual_time
async def test_a_reader_whose_right_ends_is_told_so_in_mid_answer(
    settings: Any, monkeypatch: pytest.MonkeyPatch, answer_with: Answer, route: str
) -> None:
    use_faulty_log(settings, REAUTHORIZE_SECONDS=60)
    producer = Producer("one")
    answer_with(producer)
    is_member = True
    monkeypatch.setattr(Chat, "authorize", lambda *_: is_member)
    body = question() if route == "api/chat" else sdk_question()
    exchange = Visitor().begin("POST", f"/{route}", body)
    await exchange.until(lambda it: b"one" in it.body)
    is_member = False
    await asyncio.sleep(50)
    producer.give("within a minute")
    await exchange.until(lambda it: b"within a minute" in it.body)
    await asyncio.sleep(11)
    producer.give("too late")
    await exchange.done()

    assert exchange.is_complete
    assert b"no longer have access" in exchange.body
    assert b"too late" not in exchange.body.split(b"no longer have access")[1]
    assert exchange.events[-1].type == ("end" if route == "api/chat" else "message")
    assert not producer.is_closed


@in_virtual_time
async def test_a_reader_keeps_its_right_as_long_as_it_has_it(settings: Any, answer_with: Answer) -> None:
    use_faulty_log(settings, REAUTHORIZE_SECONDS=1, KEEPALIVE_SECONDS=1)
    producer = Producer("one")
    answer_with(producer)
    exchange = await Visitor().begin("POST", "/api/chat", question()).begun()
    await asyncio.sleep(30)
    producer.finish()
    await exchange.done()

    assert exchange.events[-1].data == '{"reason":"finished"}'
    assert exchange.body.count(b": keep-alive") >= 10


@pytest.mark.parametrize(("_action", "method", "url", "body"), [it for it in REQUESTS if "read" not in it.values])
@in_virtual_time
async def test_a_request_that_changes_something_needs_the_csrf_token(
    log: FaultyLog, _action: str, method: str, url: str, body: Any
) -> None:
    exchange = await Visitor(csrf=False).request(method, url, body)

    assert exchange.status == 403
    assert streams() == []


async def test_djangos_client_enforces_csrf_too(log: FaultyLog) -> None:
    client = AsyncClient(enforce_csrf_checks=True)

    assert (await client.post("/api/chat", question(), content_type="application/json")).status_code == 403


# -- limits and faults ---------------------------------------------------------------------------------------------


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


# -- over HTTP/1.0 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1"])
@in_virtual_time
async def test_a_stream_over_http_1_0_is_refused_before_anything_is_started(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    """There the end of a connection is the end of the body: a torn answer would look like a whole one."""
    refused = await Visitor(http_version=version).post("/api/chat", question())

    assert refused.status == 505
    assert refused.is_complete
    assert b"proxy_http_version 1.1" in refused.body
    assert "/api/chat" in caplog.text
    assert log.calls["append"] == 0


@pytest.mark.parametrize(
    "path", ["/api/chat/replay?id=c1&live=1", "/api/chat/c1/stream", "/api/chat/replay?id=c1&from=0"]
)
@in_virtual_time
async def test_no_stream_can_be_followed_over_http_1_0(log: FaultyLog, path: str) -> None:
    visitor = Visitor()
    await visitor.post("/api/chat", question())
    visitor.http_version = "1.0"

    assert (await visitor.get(path)).status == 505


@in_virtual_time
async def test_answers_that_tell_their_length_are_served_over_http_1_0(log: FaultyLog) -> None:
    visitor = Visitor(http_version="1.0")
    assert (await visitor.post("/api/detached", question())).status == 202
    assert (await visitor.get("/api/detached/replay?id=c1&from=0&wait=1")).status == 200
    assert (await visitor.get("/api/detached/c1/messages")).status == 200
