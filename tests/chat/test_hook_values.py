"""Refusals, in every way that Django people write them, at every door; and hooks that return nonsense."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import AsyncRequestFactory
from django.urls import include, path

from resumable_stream import ResumableChatView, owner_of
from resumable_stream.chat.hook_values import checked_stream_name, owner_text
from resumable_stream.consumers import StreamConsumer
from resumable_stream.exceptions import AccessDeniedError, NotAuthenticatedError

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor

pytestmark = [pytest.mark.urls("tests.chat.test_hook_values"), pytest.mark.usefixtures("log")]


class FrameworkError(Exception):
    """What an exception of Django REST framework or Django Ninja looks like."""

    def __init__(self, status_code: int) -> None:
        super().__init__("secret detail")
        self.status_code = status_code


def raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def expired() -> HttpResponse:
    return HttpResponse("Expired.", status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer x"})


REFUSALS: dict[str, tuple[Callable[[], Any], int, str]] = {
    "False": (lambda: False, 404, "There is no such chat."),
    "None": (lambda: None, 404, "There is no such chat."),
    "Http404": (raising(Http404("secret detail")), 404, "There is no such chat."),
    "PermissionDenied": (raising(PermissionDenied("secret detail")), 403, "You may not do that here."),
    "not authenticated": (raising(NotAuthenticatedError("Sign in.", challenge="Bearer x")), 401, "Sign in."),
    "access denied": (raising(AccessDeniedError("Not here.", status=403)), 403, "Not here."),
    "a framework's 401": (raising(FrameworkError(401)), 401, "You are not signed in."),
    "a framework's 403": (raising(FrameworkError(403)), 403, "You may not do that here."),
    "a response": (expired, 401, "Expired."),
}


class Chat(ResumableChatView):
    format = "text"
    name = "access"
    answer: Any = None
    source: Any = None
    owner: Any = "ann"
    stream: Any = None

    def get_owner(self, request: HttpRequest) -> Any:
        return self.owner

    def get_stream_name(self, request: HttpRequest, chat_id: str) -> Any:
        return super().get_stream_name(request, chat_id) if self.stream is None else self.stream[0]

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> Any:
        return self.answer()

    def generate(self, turn: Any) -> Any:
        return self.source()


class TanStackChat(Chat):
    format = "tanstack"


urlpatterns = [path("chat", include(Chat.urls())), path("runs", include(TanStackChat.urls(), namespace="runs"))]
QUESTION = {"id": "c1", "message": "Hi"}


@pytest.fixture(autouse=True)
def fresh_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "answer", staticmethod(lambda: True))
    monkeypatch.setattr(Chat, "source", staticmethod(of("one")))


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    monkeypatch.setattr(Chat, "answer", staticmethod(answer))


@pytest.mark.parametrize("way", REFUSALS)
def test_refusals_are_answered_alike_at_every_route(monkeypatch: pytest.MonkeyPatch, log: FaultyLog, way: str) -> None:
    answer, status, text = REFUSALS[way]
    answer_with(monkeypatch, answer)

    @in_virtual_time
    async def main() -> None:
        visitor = Visitor()
        exchanges = [
            await visitor.post("/chat", QUESTION),
            await visitor.get("/chat/c1/stream"),
            await visitor.get("/chat/replay?id=c1"),
            await visitor.get("/chat/c1/messages"),
            await visitor.delete("/chat", {"id": "c1"}),
            await visitor.post("/chat/c1/stop"),
        ]
        assert {(exchange.status, exchange.text) for exchange in exchanges} == {(status, text)}
        challenged = {"Www-Authenticate" in exchange.headers for exchange in exchanges}
        assert challenged == {status == 401}

    main()
    assert log.appended == []


@in_virtual_time
async def test_a_redirect_is_for_pages_and_a_success_is_a_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        answer_with(patch, lambda: HttpResponseRedirect("/login"))
        assert (await Visitor().get("/chat/c1/stream")).status == 302
        answer_with(patch, lambda: HttpResponse("Welcome"))
        assert (await Visitor().get("/chat/c1/stream")).status == 500
    assert "authorize() returned a response with the status 200" in caplog.text


@pytest.mark.parametrize("way", REFUSALS)
def test_a_reader_who_is_refused_in_mid_answer_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    answer = REFUSALS[way][0]

    @in_virtual_time
    async def main() -> None:
        producer = Producer("one")
        monkeypatch.setattr(Chat, "source", staticmethod(producer))
        exchange = Visitor().begin("POST", "/chat", QUESTION)
        await exchange.until(lambda it: b"one" in it.body)
        answer_with(monkeypatch, answer)
        caplog.clear()
        await exchange.done()

        assert exchange.is_complete
        assert "You no longer have access to this chat." in exchange.events[-1].data
        assert "<" not in exchange.text
        assert "secret" not in exchange.text
        assert [record.getMessage().split(" cursor")[0] for record in caplog.records] == [
            "reader refused: its access has ended"
        ]
        assert not producer.is_closed
        producer.finish()

    main()


def test_a_right_that_cannot_be_checked_lets_the_reader_come_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @in_virtual_time
    async def main() -> None:
        monkeypatch.setattr(Chat, "source", staticmethod(Producer("one")))
        exchange = Visitor().begin("POST", "/chat", QUESTION)
        await exchange.until(lambda it: b"one" in it.body)
        answer_with(monkeypatch, raising(ValueError("a bug")))
        caplog.clear()
        await exchange.done()

        assert not exchange.is_complete
        assert len([record for record in caplog.records if record.exc_info]) == 1

    main()


@pytest.mark.parametrize("way", REFUSALS)
def test_refusals_reach_websockets(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    answer, status, text = REFUSALS[way]

    @in_virtual_time
    async def main() -> None:
        monkeypatch.setattr(Chat, "source", staticmethod(Producer("one")))
        async with Socket(StreamConsumer.as_asgi(view=Chat)) as socket:
            socket.say("start", "c1", body={"message": "Hi"})
            await socket.hear_until("chunk")
            answer_with(monkeypatch, answer)
            for kind in ("subscribe", "start", "stop"):
                socket.say(kind, "c2", body={"message": "Hi"})
                refused = (await socket.hear_until("error"))[-1]
                assert (refused["status"], refused["error"]) == (status, text)
            await asyncio.sleep(65)
            assert (await socket.hear_until("end"))[-1]["reason"] == "forbidden"

    main()


@pytest.mark.parametrize("value", ["ann", 7, uuid.UUID(int=7)])
def test_an_owner_is_a_text_a_number_or_a_uuid(monkeypatch: pytest.MonkeyPatch, log: FaultyLog, value: object) -> None:
    monkeypatch.setattr(Chat, "owner", value)

    @in_virtual_time
    async def main() -> None:
        visitor = Visitor()
        await visitor.post("/chat", QUESTION)
        assert len((await visitor.get("/chat/c1/messages")).json["messages"]) == 2

    main()
    assert log.ends(f"chat/access/{value}/c1") == ["finished"]


@pytest.mark.parametrize("value", [None, "", True, User(pk=7), object(), b"ann", "a\nb", "x" * 257])
def test_an_owner_that_names_nobody_is_an_error_that_names_the_hook(
    monkeypatch: pytest.MonkeyPatch, log: FaultyLog, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    monkeypatch.setattr(Chat, "owner", value)

    @in_virtual_time
    async def main() -> None:
        for exchange in (await Visitor().post("/chat", QUESTION), await Visitor().get("/chat/c1/messages")):
            assert exchange.status == 500

    main()
    assert log.appended == []
    assert "Chat.get_owner() must return who asks" in caplog.text


@pytest.mark.parametrize("value", [None, "", 7, "a\0b", "x" * 513, "\ud800", b"name"])
def test_a_stream_name_that_cannot_be_one_is_an_error_that_names_the_hook(
    monkeypatch: pytest.MonkeyPatch, log: FaultyLog, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    monkeypatch.setattr(Chat, "stream", [value])

    @in_virtual_time
    async def main() -> None:
        assert (await Visitor().post("/chat", QUESTION)).status == 500

    main()
    assert log.appended == []
    assert "Chat.get_stream_name() must return the name of a stream" in caplog.text


def test_values_are_checked_by_themselves() -> None:
    assert owner_text(uuid.UUID(int=1), Chat) == str(uuid.UUID(int=1))
    with pytest.raises(ImproperlyConfigured, match="Whoever shares an owner shares all chats"):
        owner_text(None, Chat)
    assert checked_stream_name("a/b", Chat) == "a/b"


async def test_owner_of_never_names_nobody() -> None:
    request = AsyncRequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="SessionMiddleware"):
        await owner_of(request)
    request.user = User(pk=7)
    assert await owner_of(request) == "user-7"
