"""The chats that these tests serve over HTTP, what they ask them, and what is on the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog
from ..support.visitors import Exchange


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


REQUESTS = [
    pytest.param("start", "POST", "/api/chat", question(), id="start"),
    pytest.param("read", "GET", "/api/chat/c1/stream", None, id="stream"),
    pytest.param("read", "GET", "/api/chat/replay?id=c1&from=0", None, id="replay"),
    pytest.param("read", "GET", "/api/chat/c1/messages", None, id="messages"),
    pytest.param("stop", "DELETE", "/api/chat", {"id": "c1"}, id="delete"),
    pytest.param("stop", "POST", "/api/chat/c1/stop", None, id="stop"),
]
