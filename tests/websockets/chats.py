"""The chats that these tests serve over websockets, and what they ask them."""

from __future__ import annotations

from typing import Any

from channels.sessions import SessionMiddlewareStack
from django.http import HttpRequest

from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.views import ResumableChatView

from ..support.producers import of
from ..support.sockets import Message, Socket
from ..support.tasks import running_tasks
from ..support.virtual_time import settle

QUESTION = {"message": "Hi"}
ASKED = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
END = {"finished", "stopped", "failed", "interrupted"}


class Chat(ResumableChatView):
    name = "consumers"
    format = "text"
    sources: dict[str, Any] = {}  # noqa: RUF012 - by chat id, set by each test
    forbidden: set[tuple[str, str]] = set()  # noqa: RUF012

    def get_owner(self, request: HttpRequest) -> str:
        return request.headers.get("X-Owner", "ann")

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        return (chat_id, action) not in self.forbidden

    def generate(self, turn: Turn) -> Any:
        return self.sources.get(turn.chat_id, of("Hello", " world"))()


class SDKChat(Chat):
    format = "aisdk"


CHAT = StreamConsumer.as_asgi(view=Chat)
SDK_CHAT = StreamConsumer.as_asgi(view=SDKChat)


def use_settings(settings: Any, **values: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, **values}


def is_end(frame: Message) -> bool:
    return frame["type"] == "end"


async def ask(socket: Socket, stream: str = "c1", **more: Any) -> list[Message]:
    """Start an answer and hear it to its end."""
    socket.say("start", stream, body=QUESTION, **more)
    return await socket.hear_until("end")


async def tasks() -> int:
    await settle()
    return len(running_tasks())


class SessionChat(Chat):
    name = "sessions"
    get_owner = ResumableChatView.get_owner


SESSION_CHAT = SessionMiddlewareStack(StreamConsumer.as_asgi(view=SessionChat))


def cookie(key: str) -> dict[str, str]:
    return {"cookie": f"sessionid={key}"}


def send(request: str, chat: str = "c1") -> Message:
    return {
        "type": "send",
        "requestId": request,
        "id": chat,
        "trigger": "submit-message",
        "messages": [ASKED],
        "headers": {},
        "body": {},
    }
