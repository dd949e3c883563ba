"""The two lines of routing, mounted at a prefix."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import HttpCommunicator
from django.urls import path

from resumable_stream.routing import http_urlpatterns, websocket_urlpatterns

from .support.logs import FaultyLog
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
