"""Whose chat is whose: sessions, users, ``authorize`` and CSRF tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest
from django.test import AsyncClient

from ..support.logs import FaultyLog, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor
from .chats import REQUESTS, Answer, Chat, data, only_stream, question, sdk_question, streams

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


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
    assert only_stream(log).startswith("chat/tests.views.chats.Chat/visitor-")


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
    assert streams() == [f"chat/tests.views.chats.Chat/user-{user.pk}/c1"]


@in_virtual_time
async def test_without_sessions_the_error_says_what_to_add(
    log: FaultyLog, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MIDDLEWARE = []
    exchange = await Visitor().get("/api/chat/c1/stream")

    assert exchange.status == 500
    assert "Middleware" not in exchange.text
    assert "Add django.contrib.sessions.middleware.SessionMiddleware" in caplog.text


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
