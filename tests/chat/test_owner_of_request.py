"""Each request's owner is asked for once, and a start over a websocket begins to own a chat as a POST does."""

from __future__ import annotations

from typing import Any

import pytest
from channels.sessions import SessionMiddlewareStack
from django.http import HttpRequest
from django.urls import include, path

from resumable_stream import owner_of
from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog
from ..support.producers import of
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.chat.test_owner_of_request")
QUESTION = {"id": "c1", "message": "Hi"}
RUN = {
    "threadId": "c1",
    "runId": "run-1",
    "state": {},
    "messages": [{"id": "u1", "role": "user", "content": "Hi"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


class Chat(ResumableChatView):
    name = "owners"
    format = "text"
    asked: list[str] = []  # noqa: RUF012 - emptied by each test

    def generate(self, turn: Turn) -> Any:
        return of("Hello")()

    def get_owner(self, request: HttpRequest) -> str:
        self.asked.append("owner")
        return "signed-in" if getattr(request, "is_signed_in", False) else "ann"


class Runs(Chat):
    name = "runs"
    format = "agui"


class SigningIn(Chat):
    """A view whose ``limit`` looks at the owner before ``authorize`` knows who asks."""

    name = "signing"

    async def limit(self, request: HttpRequest, action: str) -> None:
        await self.owner_of(request)

    async def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        request.is_signed_in = True  # type: ignore[attr-defined]
        return True


class Tenant(ResumableChatView):
    """A view with owners of its own making, as the README shows them."""

    name = "tenants"
    format = "text"
    methods: list[str | None] = []  # noqa: RUF012 - emptied by each test

    async def get_owner(self, request: HttpRequest) -> str:
        return f"acme-{await owner_of(request)}"

    def generate(self, turn: Turn) -> Any:
        assert turn.request is not None
        self.methods.append(turn.request.method)
        return of("Hello")()


urlpatterns = [
    path("api/chat", include(Chat.urls())),
    path("api/runs", include(Runs.urls())),
    path("api/signing", include(SigningIn.urls())),
]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Chat.asked.clear()
    Tenant.methods.clear()


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", "/api/chat", QUESTION),
        ("POST", "/api/runs", RUN),
        ("GET", "/api/chat/c1/stream", None),
        ("GET", "/api/chat/c1/messages", None),
        ("POST", "/api/chat/c1/stop", {}),
    ],
)
@in_virtual_time
async def test_view_asks_once_who_makes_a_request(log: FaultyLog, method: str, url: str, body: Any) -> None:
    answer = await Visitor().request(method, url, body)

    assert answer.status in (200, 204)
    assert Chat.asked == ["owner"]


@in_virtual_time
async def test_socket_asks_once_who_starts_and_once_who_reads(log: FaultyLog) -> None:
    async with Socket(StreamConsumer.as_asgi(view=Chat)) as socket:
        Chat.asked.clear()
        socket.say("start", "c1", body={"message": "Hi"})
        await socket.hear_until("end")
        assert Chat.asked == ["owner"]

        socket.say("subscribe", "c1", **{"from": 0})
        await socket.hear_until("end")
        assert Chat.asked == ["owner", "owner"]


@in_virtual_time
async def test_owner_is_the_one_whom_authorize_has_signed_in(log: FaultyLog) -> None:
    assert (await Visitor().post("/api/signing", QUESTION)).status == 200

    assert log.ends("chat/signing/signed-in/c1") == ["finished"]


@pytest.mark.django_db
@in_virtual_time
async def test_start_over_a_websocket_begins_to_own_a_chat_and_keeps_its_method(log: FaultyLog, sessions: Any) -> None:
    session = sessions()
    await session.aset("anything", "else")
    await session.asave()
    application = SessionMiddlewareStack(StreamConsumer.as_asgi(view=Tenant))
    async with Socket(application, headers={"cookie": f"sessionid={session.session_key}"}) as socket:
        socket.say("subscribe", "c1", **{"from": 0})
        await socket.hear_until("end")
        assert await sessions(session.session_key).aget("resumable_stream_owner") is None

        socket.say("start", "c1", body={"message": "Hi"})
        await socket.hear_until("end")

    visitor = await sessions(session.session_key).aget("resumable_stream_owner")
    assert log.ends(f"chat/tenants/acme-visitor-{visitor}/c1") == ["finished"]
    assert Tenant.methods == ["GET"]
