"""The URLs of a chat and the methods that each takes."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client
from django.urls import reverse

from ..support.logs import FaultyLog
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor
from .chats import question, streams

pytestmark = [pytest.mark.urls("tests.views.chats"), pytest.mark.usefixtures("default_answer")]


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
    assert reverse("tests.views.chats.Chat:chat") == "/api/chat"
    assert reverse("tests.views.chats.Chat:replay") == "/api/chat/replay"
    assert reverse("tests.views.chats.Chat:stream", kwargs={"chat_id": "c1"}) == "/api/chat/c1/stream"
    assert reverse("tests.views.chats.Chat:stop", kwargs={"chat_id": "c1"}) == "/api/chat/c1/stop"
    assert reverse("tests.views.chats.Chat:messages", kwargs={"chat_id": "c1"}) == "/api/chat/c1/messages"


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
