"""The two lines of routing, mounted at a prefix."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import HttpCommunicator
from django.urls import path

from resumable_stream.chat.turn import Turn
from resumable_stream.routing import http_urlpatterns, http_urls, websocket_urlpatterns, websocket_urls

from .support.logs import FaultyLog
from .support.producers import of
from .support.sockets import Socket, chunks_of
from .support.virtual_time import in_virtual_time
from .websockets.chats import QUESTION, Chat, SDKChat

pytestmark = pytest.mark.log_settings(CHAT_VIEW=f"{Chat.__module__}.Chat")

sockets = URLRouter([path("api/chat/", URLRouter(websocket_urlpatterns))])
events = URLRouter([path("api/chat/", URLRouter(http_urlpatterns))])


@in_virtual_time
@pytest.mark.parametrize("end", ["", "/"])
async def test_the_chat_of_the_setting_is_at_the_prefix(log: FaultyLog, end: str) -> None:
    async with Socket(sockets, path=f"/api/chat/socket{end}") as socket:
        socket.say("start", "c1", body=QUESTION)
        assert chunks_of(await socket.hear_until("end")) == ["Hello", " world"]
    for url in (f"/api/chat/replay{end}?id=c1&from=0", f"/api/chat/c1/stream{end}?from=0"):
        response = await HttpCommunicator(events, "GET", url, headers=[(b"host", b"testserver")]).get_response()
        assert (response["status"], response["body"].count(b"id: ")) == (200, 3)


@in_virtual_time
async def test_the_ai_sdk_has_a_path_of_its_own(log: FaultyLog, settings: Any) -> None:
    settings.RESUMABLE_STREAM |= {"CHAT_VIEW": f"{SDKChat.__module__}.SDKChat"}
    async with Socket(sockets, path="/api/chat/socket/aisdk") as socket:
        socket.send({"type": "resume", "requestId": "r", "id": "c1"})
        assert json.dumps(await socket.hear()) == '{"type": "no-active", "requestId": "r"}'


@in_virtual_time
async def test_other_paths_are_left_to_other_routes(log: FaultyLog) -> None:
    with pytest.raises(ValueError, match="No route found"):
        await HttpCommunicator(events, "GET", "/api/chat").get_response()


class SupportChat(Chat):
    name = "support"


class SalesChat(Chat):
    name = "sales"

    def generate(self, turn: Turn) -> Any:
        return of("Buy", " now")()


VIEWS = {"support": SupportChat, "sales": SalesChat, "sdk": SDKChat}
several_sockets = URLRouter([path(f"{name}/", URLRouter(websocket_urls(view))) for name, view in VIEWS.items()])
several_events = URLRouter([path(f"{name}/", URLRouter(http_urls(view))) for name, view in VIEWS.items()])


@in_virtual_time
async def test_each_view_of_a_project_has_its_own_sockets_and_event_streams(log: FaultyLog, settings: Any) -> None:
    settings.RESUMABLE_STREAM |= {"CHAT_VIEW": None}
    for name, chunks in [("support", ["Hello", " world"]), ("sales", ["Buy", " now"])]:
        async with Socket(several_sockets, path=f"/{name}/socket") as socket:
            socket.say("start", "c1", body=QUESTION)
            assert chunks_of(await socket.hear_until("end")) == chunks
    for name, chunk in [("support", b"Hello"), ("sales", b"Buy")]:
        url, headers = f"/{name}/replay?id=c1&from=0", [(b"host", b"testserver")]
        response = await HttpCommunicator(several_events, "GET", url, headers=headers).get_response()
        assert (response["status"], chunk in response["body"]) == (200, True)


@in_virtual_time
async def test_paths_of_other_clients_lead_to_the_view_of_their_prefix(log: FaultyLog) -> None:
    async with Socket(several_sockets, path="/sdk/socket/aisdk") as socket:
        socket.send({"type": "resume", "requestId": "r", "id": "c1"})
        assert (await socket.hear())["type"] == "no-active"
    assert not await Socket(several_sockets, path="/sales/socket/aisdk").connect()  # This view's format is another one.
