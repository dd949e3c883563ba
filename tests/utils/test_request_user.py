"""Whoever ``request.user`` says it is owns the chat, whatever has set it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import AsyncClient
from django.urls import include, path
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

from resumable_stream import ResumableChatView
from resumable_stream.chat.turn import Turn
from resumable_stream.utils.request_user import given, know_user

from ..support.logs import use_faulty_log
from ..support.producers import of

pytestmark = pytest.mark.urls("tests.utils.test_request_user")
USERS = {"Bearer ada": User(pk=7, username="ada"), "Bearer bob": User(pk=8, username="bob")}


class Chat(ResumableChatView):
    format = "text"

    def generate(self, turn: Turn) -> Any:
        assert turn.request is not None
        return of(f"Hello {turn.user.username} alias {turn.request.user.username}")()


urlpatterns: list[Any] = [path("api/chat", include(Chat.urls()))]


def user_of_header(request: HttpRequest) -> Any:
    return USERS.get(request.headers.get("Authorization", ""), AnonymousUser())


class TokenMiddleware:
    """Sets the user and nothing else, as middlewares for JSON Web Tokens do."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = user_of_header(request)
        response: HttpResponse = self.get_response(request)
        return response


class LazyTokenMiddleware(TokenMiddleware):
    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = SimpleLazyObject(lambda: user_of_header(request))  # type: ignore[assignment]
        response: HttpResponse = self.get_response(request)
        return response


@sync_and_async_middleware
def async_token_middleware(get_response: Any) -> Any:
    """Sets ``auser`` alone."""

    async def middleware(request: HttpRequest) -> HttpResponse:
        async def auser() -> Any:
            return user_of_header(request)

        request.auser = auser
        response: HttpResponse = await get_response(request)
        return response

    return middleware


@pytest.mark.parametrize("middleware", ["TokenMiddleware", "LazyTokenMiddleware", "async_token_middleware"])
async def test_users_of_a_token_own_their_chats(settings: Any, middleware: str) -> None:
    use_faulty_log(settings)
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{middleware}"]
    client = AsyncClient()
    ada, bob = {"Authorization": "Bearer ada"}, {"Authorization": "Bearer bob"}
    question = {"id": "42", "message": "Hi"}
    started: Any = await client.post("/api/chat", question, content_type="application/json", headers=ada)
    assert [part async for part in started.streaming_content]

    messages = (await client.get("/api/chat/42/messages", headers=ada)).json()["messages"]
    assert [message["content"] for message in messages] == ["Hi", "Hello ada alias ada"]
    assert (await client.get("/api/chat/42/messages", headers=bob)).json()["messages"] == []
    assert not client.cookies


async def test_users_of_django_oauth_toolkit_own_their_chats(tmp_path: Path) -> None:
    pytest.importorskip("oauth2_provider")
    script = [sys.executable, "-m", "tests.support.oauth_project", str(tmp_path / "db.sqlite3")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])  # noqa: ASYNC221

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"users": ["ada"], "messages": ["Hi", "Hello"], "cookies": [], "stranger": []}


async def test_a_request_knows_its_user_before_async_code_asks() -> None:
    request = HttpRequest()
    asked: list[str] = []

    def look_up() -> User:
        asked.append("once")
        return USERS["Bearer ada"]

    request.user = SimpleLazyObject(look_up)  # type: ignore[assignment]
    assert (await know_user(request)).pk == 7
    assert request.user.pk == 7
    assert (await request.auser()).pk == 7
    assert asked == ["once"]


async def test_without_authentication_nobody_is_known() -> None:
    request = HttpRequest()
    assert await know_user(request) is None

    request.user = AnonymousUser()
    assert await know_user(request) is None
    assert (await request.auser()).is_anonymous
    assert await given(3) == 3


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


class TemplateChat(ResumableChatView):
    format = "text"

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        assert turn.request is not None
        template = engines["django"].from_string("{{ user.username }} {{ request.user.pk }} {{ chat }}")
        yield template.render({"chat": turn.chat_id}, turn.request)


urlpatterns.append(path("api/templates", include(TemplateChat.urls())))


@pytest.mark.usefixtures("database")
async def test_templates_know_the_user_of_the_session_in_async_code(settings: Any) -> None:
    use_faulty_log(settings)
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                ]
            },
        }
    ]
    user = await User.objects.acreate(username="ada")
    client = AsyncClient()
    await client.aforce_login(user)
    started: Any = await client.post("/api/templates", {"id": "42", "message": "Hi"}, content_type="application/json")
    text = b"".join([part async for part in started.streaming_content]).decode()

    assert f"ada {user.pk} 42" in text
