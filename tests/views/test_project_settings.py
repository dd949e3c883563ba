"""What Django projects set, mount and mix in: the views serve all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from channels.testing import HttpCommunicator
from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin, UserPassesTestMixin
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.checks import run_checks
from django.db import connections
from django.http import HttpRequest
from django.test import AsyncClient, AsyncRequestFactory
from django.urls import include, path, resolve, reverse
from django.utils.decorators import method_decorator
from django.views import View

from resumable_stream import ResumableChatView, ResumableStreamContext, ResumableStreamMixin
from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import EventStreamConsumer, StreamConsumer

from ..support.logs import FaultyLog
from ..support.producers import of
from ..support.sockets import Socket

pytestmark = [pytest.mark.urls("tests.views.test_project_settings"), pytest.mark.usefixtures("log")]

streams = ResumableStreamContext()


class Chat(ResumableChatView):
    format = "text"

    def generate(self, turn: Turn) -> Any:
        return of("Hello")()


class LoginChat(LoginRequiredMixin, Chat):
    raise_exception = True


class PermissionChat(PermissionRequiredMixin, Chat):
    permission_required = "auth.view_user"


class StaffChat(UserPassesTestMixin, Chat):
    def test_func(self) -> bool:
        return User.objects.get(pk=self.request.user.pk).is_staff


@method_decorator(login_required, name="dispatch")
class DecoratedChat(Chat):
    pass


class ProjectChat(Chat):
    name = "projects"
    asked: list[Any] = []  # noqa: RUF012

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        assert request.resolver_match is not None
        self.asked.append((action, self.kwargs["project_id"], request.resolver_match.kwargs["project_id"]))
        return True

    def generate(self, turn: Turn) -> Any:
        return of(json.dumps(dict(turn.kwargs)))()


class Story(ResumableStreamMixin, View):
    async def get(self, request: HttpRequest) -> Any:
        return self.stream_response(await streams.resumable_stream("story", of("Once")))


urlpatterns = [
    path("api/chat", include(Chat.urls())),
    path("login", include(LoginChat.urls())),
    path("permission", include(PermissionChat.urls())),
    path("staff", include(StaffChat.urls())),
    path("decorated", include(DecoratedChat.urls())),
    path("projects/<int:project_id>/chat", include(ProjectChat.urls()), {"kind": "open"}),
    path("plain-projects/<int:project_id>/chat", include(ProjectChat.urls(namespace="plain"))),
    path("story", Story.as_view()),
]


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    yield
    await sync_to_async(connections.close_all)()


async def ask(client: AsyncClient, prefix: str, chat_id: str = "42") -> Any:
    body = {"id": chat_id, "message": "Hi"}
    response = await client.post(prefix, body, content_type="application/json")
    if response.streaming:
        assert [part async for part in response.streaming_content]
    return response


async def words(client: AsyncClient, prefix: str, chat_id: str = "42") -> list[Any]:
    response = await client.get(f"{prefix}/{chat_id}/messages")
    return [message["content"] for message in response.json()["messages"]]


async def someone(client: AsyncClient, name: str, **more: Any) -> User:
    user = await User.objects.acreate(username=name, **more)
    await client.aforce_login(user)
    return user


async def test_atomic_requests_break_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in connections:
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)
    client = AsyncClient()

    assert (await ask(client, "/api/chat")).status_code == 200
    assert (await client.get("/api/chat/42/stream")).status_code == 204
    assert (await client.get("/api/chat/42/messages")).status_code == 200
    assert (await client.post("/api/chat/42/stop", content_type="application/json")).status_code == 204
    assert (await client.delete("/api/chat?id=42")).status_code == 204
    response: Any = await client.get("/story")
    assert b"".join([part async for part in response.streaming_content]) == b"Once"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("prefix", ["/login", "/decorated", "/permission", "/staff"])
async def test_mixins_and_decorators_let_those_in_who_may(prefix: str) -> None:
    client = AsyncClient()
    user = await someone(client, "ada", is_staff=True)
    permission = await Permission.objects.aget(codename="view_user")
    await user.user_permissions.aadd(permission)

    assert (await ask(client, prefix)).status_code == 200
    assert await words(client, prefix) == ["Hi", "Hello"]


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("prefix", "status"), [("/login", 403), ("/decorated", 302), ("/permission", 302)])
async def test_mixins_and_decorators_keep_visitors_out(prefix: str, status: int) -> None:
    client = AsyncClient()

    assert (await ask(client, prefix)).status_code == status
    assert (await client.get(f"{prefix}/42/messages")).status_code == status


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("prefix", ["/permission", "/staff"])
async def test_mixins_keep_users_out_who_may_not(prefix: str) -> None:
    client = AsyncClient()
    await someone(client, "bob")

    assert (await ask(client, prefix)).status_code == 403


async def test_captured_parameters_reach_hooks_and_turns() -> None:
    client = AsyncClient()
    ProjectChat.asked.clear()
    response = await ask(client, "/projects/7/chat")

    # Also for a stop: a start may stop what it replaces.
    assert set(ProjectChat.asked) <= {("start", 7, 7), ("stop", 7, 7)}
    assert ("start", 7, 7) in ProjectChat.asked
    assert response.status_code == 200
    assert await words(client, "/projects/7/chat") == ["Hi", '{"project_id": 7, "kind": "open"}']
    assert (await client.get("/projects/7/chat/42/stream")).status_code == 204
    assert (await client.post("/projects/7/chat/42/stop", content_type="application/json")).status_code == 204
    assert (await client.delete("/projects/7/chat?id=42")).status_code == 204
    assert ProjectChat.asked[-1] == ("stop", 7, 7)


async def test_one_view_has_other_chats_at_every_place_where_it_is_mounted(log: FaultyLog) -> None:
    client = AsyncClient()
    await ask(client, "/projects/7/chat")

    assert await words(client, "/projects/8/chat") == []
    (name,) = log._streams
    assert name.startswith("chat/projects/kind=open/project_id=7/visitor-")


async def test_views_of_one_project_share_no_chats() -> None:
    client = AsyncClient()
    await ask(client, "/api/chat")

    assert await words(client, "/projects/7/chat") == []


def test_each_view_has_a_namespace_of_its_own() -> None:
    assert reverse("projects:stop", kwargs={"project_id": 7, "chat_id": "42"}) == "/projects/7/chat/42/stop"
    assert reverse("plain:stop", kwargs={"project_id": 7, "chat_id": "42"}) == "/plain-projects/7/chat/42/stop"
    assert reverse("tests.views.test_project_settings.LoginChat:chat") == "/login"
    assert run_checks(tags=["urls"]) == []


class Scoped:
    """Puts a user into the scope, as AuthMiddlewareStack does."""

    def __init__(self, application: Any, user: Any) -> None:
        self.application, self.user = application, user

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.application({**scope, "user": self.user, "session": SessionStore()}, receive, send)


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("view", [LoginChat, DecoratedChat, PermissionChat, StaffChat])
async def test_mixins_and_decorators_guard_websockets_and_event_stream_consumers_too(
    view: type[Chat],
) -> None:
    user = await User.objects.acreate(username="ada", is_staff=True, is_superuser=True)
    plain_user = await User.objects.acreate(username="bob")
    outsider: Any = AnonymousUser() if view in (LoginChat, DecoratedChat) else plain_user
    for person, is_let_in in ((user, True), (outsider, False)):
        socket = Socket(Scoped(StreamConsumer.as_asgi(view=view), person), headers={"host": "testserver"})
        assert await socket.connect() is is_let_in
        await socket.disconnect()
        application = Scoped(EventStreamConsumer.as_asgi(view=view), person)
        headers = [(b"host", b"testserver")]
        communicator = HttpCommunicator(application, "GET", "/replay?id=42", headers=headers)
        status = (await communicator.get_response())["status"]
        assert (status == 204) is is_let_in


async def test_captured_parameters_name_the_same_chat_over_a_websocket(log: FaultyLog) -> None:
    router = URLRouter([path("projects/<int:project_id>/socket", StreamConsumer.as_asgi(view=ProjectChat))])
    user = User(pk=7)
    ProjectChat.asked.clear()
    socket = Socket(Scoped(router, user), path="/projects/7/socket")
    assert await socket.connect()
    socket.say("start", "42", body={"message": "Hi"})
    await socket.hear_until("end")
    await socket.disconnect()
    # Also for a stop: a start may stop what it replaces.
    assert set(ProjectChat.asked) <= {("start", 7, 7), ("stop", 7, 7)}
    assert ("start", 7, 7) in ProjectChat.asked
    request = AsyncRequestFactory().get("/plain-projects/7/chat")
    request.user = user
    request.resolver_match = resolve("/plain-projects/7/chat")
    view = ProjectChat()
    view.setup(request, **request.resolver_match.kwargs)
    assert await view.stream_of(request, "42") == "chat/projects/project_id=7/user-7/42"
    assert log.ends("chat/projects/project_id=7/user-7/42") == ["finished"]


async def test_sockets_of_views_without_mixins_are_let_in_as_ever() -> None:
    socket = Socket(StreamConsumer.as_asgi(view=Chat))
    assert await socket.connect()
    await socket.disconnect()
