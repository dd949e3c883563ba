"""Limits of the process, of an owner and of an address at every door, and the manual's page about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.exceptions import LimitExceededError, RecordsMissingError
from resumable_stream.runtime import runtime
from resumable_stream.signals import refused
from resumable_stream.views import ResumableChatView

from ..support.logs import held, raising, use_faulty_log
from ..support.manual import run_python
from ..support.producers import Producer
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.chat.test_limit_hooks")
CLIENT, OTHER = "8.8.8.8", "9.9.9.9"
MANUAL = run_python("docs/limits.md")


class Chat(ResumableChatView):
    format = "text"
    asked: list[str] = []  # noqa: RUF012 - emptied by each test
    refused: set[str] = set()  # noqa: RUF012

    def generate(self, turn: Turn) -> Any:
        return Producer("one")()

    async def limit(self, request: HttpRequest, action: str) -> None:
        self.asked.append(action)
        if action in self.refused:
            raise LimitExceededError("Slowly, please.", retry_after=30)

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        self.asked.append(f"authorize {action}")
        return True


class Rated(MANUAL["RateLimitedChat"]):  # type: ignore[misc]
    format = "text"
    generate = Chat.generate


class Throttled(MANUAL["ThrottledChat"]):  # type: ignore[misc]
    format = "text"
    generate = Chat.generate


class Team(MANUAL["TeamChat"]):  # type: ignore[misc]
    format = "text"
    generate = Chat.generate


class OwnedChat(Chat):
    """For websockets, whose visitors need no session here."""

    def get_owner(self, request: HttpRequest) -> str:
        return "ann"


class OwnedRuns(OwnedChat):
    format = "tanstack"


class Nobodys(Chat):
    def limit_key(self, request: HttpRequest) -> Any:
        return None


urlpatterns = [
    path("api/chat", include(Chat.urls())),
    path("api/rated", include(Rated.urls())),
    path("api/throttled", include(Throttled.urls())),
    path("api/team", include(Team.urls())),
    path("api/owned", include(OwnedChat.urls())),
    path("api/runs", include(OwnedRuns.urls())),
    path("api/nobodys", include(Nobodys.urls())),
]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    monkeypatch.setattr(Chat, "asked", [])
    monkeypatch.setattr(Chat, "refused", set())
    # django-ratelimit wants a cache that processes share, and has its own check for that.
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    yield
    cache.clear()


def question(chat_id: str = "c1") -> dict[str, Any]:
    return {"id": chat_id, "message": "Hi"}


async def start(visitor: Visitor, chat_id: str = "c1", prefix: str = "/api/chat", **options: Any) -> Any:
    """Start an answer that does not end, and return the response whose head has come."""
    exchange = visitor.begin("POST", prefix, question(chat_id), **options)
    await settle()
    return exchange


@in_virtual_time
async def test_process_that_is_full_of_answers_refuses_everybody(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_GENERATIONS=1)
    assert (await start(Visitor())).status == 200
    refused = await start(Visitor(), "c2")

    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert len(log._streams) == 1


@in_virtual_time
async def test_process_that_is_full_of_readers_refuses_before_the_log_is_asked(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_READERS=1)
    asked: list[str] = []
    visitor = Visitor()
    assert (await start(visitor)).status == 200

    async def counted(call: Any) -> Any:
        asked.append("log")
        return await call()

    # The running answer appends heartbeats.
    for method in ("read", "tail"):
        log.always(method, counted)
    refused = [
        await Visitor().get("/api/chat/c1/stream"),
        await Visitor().get("/api/chat/replay?id=c1&wait=5"),
        await start(Visitor(), "c2"),
    ]

    assert [(exchange.status, exchange.headers["Retry-After"]) for exchange in refused] == [(503, "5")] * 3
    assert asked == []
    assert len(log._streams) == len(runtime().registry) == 1


LOADS = ["/api/owned/c1/messages", "/api/runs?threadId=c1", "/api/runs/c1/messages"]


@pytest.mark.parametrize("path", [*LOADS, "/api/runs/c1/stream"])
@in_virtual_time
async def test_chat_is_loaded_only_by_who_has_a_readers_place(settings: Any, path: str) -> None:
    log = use_faulty_log(settings, MAX_READERS_PER_OWNER=1)
    place = runtime().reader_place("ann")
    refused = await Visitor().get(path)
    asked = log.calls["read"], log.calls["tail"]
    place.release()

    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    assert asked == (0, 0)


@pytest.mark.parametrize("path", LOADS)
@in_virtual_time
async def test_loading_a_chat_gives_the_place_back_however_it_ends(settings: Any, path: str) -> None:
    log = use_faulty_log(settings, MAX_READERS_PER_OWNER=1)
    here = runtime()
    whole = await Visitor().get(path)
    assert (whole.status, bool(here.readers)) == (200, False)

    log.always("read", raising(RecordsMissingError(1, 5)))
    failed = await Visitor().get(path)
    assert (failed.status, bool(here.readers)) == (410, False)

    arrived = asyncio.Event()
    log.always("read", held(asyncio.Event(), arrived))
    left = Visitor().begin("GET", path)
    await arrived.wait()
    assert here.readers.taken["ann"] == 1
    await left.close()
    await settle()
    assert not here.readers


@in_virtual_time
async def test_process_that_is_full_of_sockets_closes_further_ones(settings: Any) -> None:
    use_faulty_log(settings, MAX_SOCKETS=1)
    chat = StreamConsumer.as_asgi(view=OwnedChat)
    async with Socket(chat), Socket(chat) as second:
        assert await second.hear_close() == 1013
    await settle()

    async with Socket(chat) as third:
        third.say("subscribe", "c1", live=True)
        assert (await third.hear())["type"] == "subscribed"


@in_virtual_time
async def test_visitors_without_a_session_count_for_their_address(settings: Any) -> None:
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=1)

    statuses = [(await start(Visitor(client=CLIENT), f"c{number}")).status for number in range(3)]

    assert statuses == [200, 429, 429]
    assert (await start(Visitor(client=OTHER))).status == 200
    # Behind a proxy that does not say whose request it is, all would be one.
    assert [(await start(Visitor(client="10.0.0.1"))).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("action", "method", "path", "body"),
    [
        ("start", "POST", "/api/chat", question()),
        ("read", "GET", "/api/chat/c1/stream", None),
        ("read", "GET", "/api/chat/c1/messages", None),
        ("stop", "POST", "/api/chat/c1/stop", None),
        ("stop", "DELETE", "/api/chat", {"id": "c1"}),
    ],
)
@in_virtual_time
async def test_limit_hook_refuses_before_authorize_is_asked(
    settings: Any, action: str, method: str, path: str, body: Any
) -> None:
    log = use_faulty_log(settings)
    Chat.refused = {action}

    refused = await Visitor().request(method, path, body)

    assert (refused.status, refused.headers["Retry-After"], refused.text) == (429, "30", "Slowly, please.")
    assert Chat.asked == [action]
    assert not log._streams


@in_virtual_time
async def test_limit_hook_refuses_over_websockets_too(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    use_faulty_log(settings)
    chat = StreamConsumer.as_asgi(view=OwnedChat)
    Chat.refused = {"start", "read"}
    async with Socket(chat) as socket:
        socket.say("start", "c1", body=question())
        assert (await socket.hear())["status"] == 429
        socket.say("subscribe", "c1")
        assert (await socket.hear())["error"] == "Slowly, please."
    Chat.refused = {"connect"}

    assert not await Socket(chat).connect()

    assert "websocket refused: Slowly, please." in caplog.text


@in_virtual_time
async def test_limit_key_that_names_nothing_is_an_error_that_names_the_hook(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    use_faulty_log(settings)
    assert (await Visitor().post("/api/nobodys", question())).status == 500
    assert "Nobodys.limit_key() must return" in str(caplog.records[-1].exc_info)


@in_virtual_time
async def test_manuals_key_counts_a_team_as_one(settings: Any) -> None:
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=1)

    statuses = [(await start(Visitor(X_Team="red"), prefix="/api/team")).status for _ in range(2)]

    assert statuses == [200, 429]
    assert (await start(Visitor(X_Team="blue"), prefix="/api/team")).status == 200


@pytest.mark.parametrize(("prefix", "most"), [("/api/rated", 20), ("/api/throttled", 100)])
async def test_manuals_rate_limits_refuse_what_is_too_much(
    settings: Any, prefix: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both count per minute of the real clock, which must not turn in the middle of the test.
    monkeypatch.setattr("django_ratelimit.core.time", SimpleNamespace(time=lambda: 1_800_000_000.0))
    monkeypatch.setattr("rest_framework.throttling.SimpleRateThrottle.timer", lambda _: 1_800_000_000.0)
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=None)
    settings.RATELIMIT_IP_META_KEY = lambda request: CLIENT
    # A request that is not understood counts as well.
    statuses = [(await Visitor(client=CLIENT).get(f"{prefix}/c1/messages")).status for _ in range(3)]
    for number in range(most + 1):
        exchange = Visitor(client=CLIENT).begin("POST", prefix, question(f"c{number}"))
        await exchange.begun()
        statuses.append(exchange.status)
        exchange.leave()
        await exchange.done()

    assert statuses == [200] * (3 + most) + [429]
    assert int(exchange.headers["Retry-After"]) > 0


@pytest.fixture
def refusals() -> Iterator[list[tuple[type, str, int]]]:
    """Hear of what is refused, as the manual's counter does."""
    MANUAL["refusals"].clear()
    heard: list[tuple[type, str, int]] = []

    def hear(sender: type, request: HttpRequest, action: str, error: Any, **_: Any) -> None:
        assert isinstance(request, HttpRequest)
        heard.append((sender, action, error.status_code))
        raise ValueError("a receiver's own error changes nothing")

    refused.connect(hear, weak=False)
    yield heard
    refused.disconnect(hear)


@in_virtual_time
async def test_signal_tells_of_what_is_refused_over_http(settings: Any, refusals: list[tuple[type, str, int]]) -> None:
    use_faulty_log(settings, MAX_GENERATIONS=1)
    assert (await start(Visitor())).status == 200
    assert (await start(Visitor(), "c2")).status == 503
    Chat.refused.update(("read", "stop"))
    assert (await Visitor().get("/api/chat/c1/stream")).status == 429
    assert (await Visitor().delete("/api/chat", {"id": "c1"})).status == 429
    # What is no limit's doing is not told: a question that is no question, a chat in use.
    assert (await Visitor().post("/api/chat", {"id": "c1"})).status == 400

    assert refusals == [(Chat, "start", 503), (Chat, "read", 429), (Chat, "stop", 429)]
    assert MANUAL["refusals"] == {("Chat", "start", 503): 1, ("Chat", "read", 429): 1, ("Chat", "stop", 429): 1}


@in_virtual_time
async def test_signal_tells_of_what_is_refused_over_websockets(
    settings: Any, refusals: list[tuple[type, str, int]]
) -> None:
    use_faulty_log(settings, MAX_SOCKETS=1)
    chat = StreamConsumer.as_asgi(view=OwnedChat)
    async with Socket(chat) as first, Socket(chat) as second:
        assert await second.hear_close() == 1013
        Chat.refused.update(("read", "start", "stop"))
        for kind in ("subscribe", "start", "stop"):
            first.say(kind, "c1", body=question())
            assert (await first.hear())["status"] == 429
        Chat.refused.add("connect")
        assert not await Socket(chat).connect()

    actions = ["connect", "read", "start", "stop", "connect"]
    statuses = [503, 429, 429, 429, 429]
    assert refusals == [(OwnedChat, *pair) for pair in zip(actions, statuses, strict=True)]
