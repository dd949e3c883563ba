"""Chats that a guest began follow their owner at login; nobody else gets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, update_session_auth_hash
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from resumable_stream import ResumableChatView
from resumable_stream.backends.base import BaseBackend
from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.chat import guests
from resumable_stream.chat.guests import follow_guest, visitors_of
from resumable_stream.chat.turn import Turn
from resumable_stream.records import Record
from resumable_stream.runtime import runtime

from ..support.producers import Producer, of
from ..support.visitors import Visitor

pytestmark = [
    pytest.mark.urls("tests.chat.test_guests"),
    pytest.mark.log_settings(REAUTHORIZE_SECONDS=1, KEEPALIVE_SECONDS=1),
    pytest.mark.usefixtures("database", "log"),
]


class Chat(ResumableChatView):
    format = "text"
    name = "guests"
    source: Any = None

    def generate(self, turn: Turn) -> Any:
        return self.source()


class OtherChat(Chat):
    name = "others"


class StrictChat(Chat):
    name = "strict"
    follows_guests = False


class RunChat(Chat):
    name = "runs"
    format = "tanstack"
    delivery = "response"


async def login(request: HttpRequest, username: str) -> HttpResponse:
    await alogin(request, await User.objects.aget(username=username))
    return HttpResponse()


async def logout(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


def password(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    request.user.set_password("new")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse()


urlpatterns = [
    path("chat", include(Chat.urls())),
    path("other", include(OtherChat.urls())),
    path("strict", include(StrictChat.urls())),
    path("runs", include(RunChat.urls())),
    path("login/<username>", login),
    path("logout", logout),
    path("password", password),
]


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    for name in ("ada", "bob"):
        await User.objects.acreate(username=name, password="old")
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture(autouse=True)
def guest_site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    # A login gives its page another token, which is not what these tests are about.
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.endswith("CsrfViewMiddleware")]
    cache.clear()
    monkeypatch.setattr(Chat, "source", staticmethod(lambda: of("Hello")()))


async def ask(visitor: Visitor, chat_id: str = "c1", text: str = "Hi", prefix: str = "/chat") -> None:
    assert (await visitor.post(prefix, {"id": chat_id, "message": text})).status == 200
    while runtime().registry._tasks:
        await asyncio.wait(runtime().registry._tasks)


async def said(visitor: Visitor, chat_id: str = "c1", prefix: str = "/chat") -> list[str]:
    messages = (await visitor.get(f"{prefix}/{chat_id}/messages")).json["messages"]
    return [message["content"] for message in messages if message["role"] == "user"]


async def test_a_guests_chats_follow_at_login_and_go_on_there() -> None:
    guest = Visitor()
    await ask(guest, "c1", "one")
    await ask(guest, "c2", "other")
    await guest.get("/login/ada")

    assert await said(guest) == ["one"]
    await ask(guest, "c1", "two")
    assert await said(guest) == ["one", "two"]
    assert await said(guest, "c1", "/other") == []


async def test_they_are_there_after_a_logout_and_on_other_devices() -> None:
    guest, elsewhere = Visitor(), Visitor()
    await ask(guest, "c1", "one")
    await ask(guest, "c2", "never opened before the logout")
    await guest.get("/login/ada")
    assert await said(guest) == ["one"]
    await guest.get("/logout")
    assert await said(guest) == []
    await elsewhere.get("/login/ada")

    assert await said(elsewhere, "c1") == ["one"]
    assert await said(elsewhere, "c2") == ["never opened before the logout"]
    await ask(elsewhere, "c1", "two")
    await guest.get("/login/ada")
    assert await said(guest) == ["one", "two"]


async def test_the_next_person_at_the_device_gets_nothing() -> None:
    device = Visitor()
    await ask(device, "c1", "one")
    await device.get("/login/ada")
    assert await said(device) == ["one"]
    await device.get("/logout")
    assert await said(device) == []
    await device.get("/login/bob")
    assert await said(device) == []
    await device.get("/login/ada")

    assert await said(device) == ["one"]


async def test_a_copy_of_the_guests_cookie_is_worth_nothing_after_the_login() -> None:
    guest, thief = Visitor(), Visitor()
    await ask(guest, "c1", "one")
    thief.cookies = dict(guest.cookies)
    await guest.get("/login/ada")
    assert await said(guest) == ["one"]
    await ask(guest, "c1", "secret")

    assert await said(thief) == []
    await thief.get("/login/bob")
    assert await said(thief) == []


async def test_a_chat_of_the_users_own_comes_first() -> None:
    user, guest = Visitor(), Visitor()
    await user.get("/login/ada")
    await ask(user, "c1", "the user's")
    await ask(guest, "c1", "the guest's")
    await guest.get("/login/ada")

    assert await said(guest) == ["the user's"]


@pytest.mark.parametrize("way", ["signed cookies", "a view that says no"])
async def test_guests_are_not_followed(settings: Any, way: str) -> None:
    if way == "signed cookies":
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    prefix = "/chat" if way == "signed cookies" else "/strict"
    guest = Visitor()
    await ask(guest, "c1", "one", prefix)
    await guest.get("/login/ada")

    assert await said(guest, "c1", prefix) == []


async def test_a_running_answer_is_read_stopped_and_found_after_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = Producer("one")
    monkeypatch.setattr(Chat, "source", staticmethod(producer))
    guest = Visitor()
    reading = guest.begin("POST", "/chat", {"id": "c1", "message": "Hi"})
    await reading.until(lambda it: b"one" in it.body)
    await guest.get("/login/ada")
    # Comments come every second, and after each the right to read is looked at again.
    comments = reading.body.count(b": ")
    await reading.until(lambda it: it.body.count(b": ") >= comments + 3)
    again = guest.begin("GET", "/chat/c1/stream")
    await again.until(lambda it: b"one" in it.body)
    assert (await guest.post("/chat/c1/stop")).status == 202

    for exchange in (reading, again):
        assert "stopped" in (await exchange.done()).text
        assert exchange.is_complete


async def test_a_run_is_found_by_its_id_after_the_login() -> None:
    guest = Visitor()
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "content": "Hi"}]}
    body = {"threadId": "t1", "runId": "r1", "messages": [message], "state": {}, "tools": [], "context": []}
    assert (await guest.post("/runs", body)).status in (200, 202)
    assert (await guest.get("/runs?runId=r1&offset=-1")).status == 200
    await guest.get("/login/ada")
    assert len((await guest.get("/runs?threadId=t1")).json["messages"]) == 2

    assert (await guest.get("/runs?runId=r1&offset=-1")).status == 200


@pytest.mark.parametrize("engine", ["cache", "signed_cookies"])
@pytest.mark.parametrize("who", ["own", "a copy of the cookie", "another device"])
async def test_a_new_password_lets_the_reader_come_again_with_the_new_cookie(
    settings: Any, monkeypatch: pytest.MonkeyPatch, who: str, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    producer = Producer("one")
    monkeypatch.setattr(Chat, "source", staticmethod(producer))
    user, other = Visitor(), Visitor()
    for device in (user, other):
        await device.get("/login/ada")
    if who == "a copy of the cookie":
        user.cookies = dict(other.cookies)
    reading = user.begin("POST", "/chat", {"id": "c1", "message": "Hi"})
    await reading.until(lambda it: b"one" in it.body)
    await (user if who == "own" else other).get("/password")
    await reading.done()

    # Only the next request's cookie shows who knows the new password. Another session on the server has ended.
    is_told = who == "another device" and engine == "cache"
    assert reading.is_complete is is_told
    assert ("no longer have access" in reading.text) is is_told
    again = user.begin("GET", "/chat/c1/stream")
    if who == "own":
        await again.until(lambda it: b"one" in it.body)
        await again.close()
    else:
        assert (await again.done()).status == 204
    producer.finish()


@pytest.fixture(params=["memory", "sqlite", "s2"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> BaseBackend:
    if request.param == "memory":
        return MemoryBackend("default", {})
    if request.param == "sqlite":
        return SQLiteBackend("default", {"path": str(tmp_path / "log.sqlite3")})
    return S2Backend("default", request.getfixturevalue("s2_server").options())


@pytest.fixture
async def closing(backend: BaseBackend) -> AsyncIterator[BaseBackend]:
    yield backend
    await backend.close()


async def test_a_visitor_becomes_one_user_only(closing: BaseBackend) -> None:
    backend = closing
    visitor = f"visitor-{uuid4()}"
    users = [f"user-{uuid4()}" for _ in range(5)]

    def name_of(owner: str) -> str:
        return f"{owner}/c"

    await backend.append(name_of(visitor), [Record("x")])
    found = await asyncio.gather(*(follow_guest(backend, user, visitor, name_of) for user in users))
    winners = [user for user, name in zip(users, found, strict=True) if name == name_of(visitor)]
    losers = [user for user, name in zip(users, found, strict=True) if name == name_of(user)]
    assert (len(winners), len(losers)) == (1, 4)
    assert await visitors_of(backend, winners[0]) == [visitor]
    assert await visitors_of(backend, losers[0]) == []
    # Another process, which remembers nothing, and another device, whose session knows no visitor.
    guests._remembered.clear()
    assert await follow_guest(backend, winners[0], None, name_of) == name_of(visitor)
    assert await follow_guest(backend, losers[0], visitor, name_of) == name_of(losers[0])
