"""Requests that are large: how many messages they may have, and that the event loop does not do their work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.formats.base import ChatRequest, StoredGeneration
from resumable_stream.formats.text import TextFormat
from resumable_stream.generations import first_records
from resumable_stream.protocol import layout
from resumable_stream.utils.off_loop import SMALL_BYTES
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets import connection

from ..support.logs import FaultyLog
from ..support.producers import of
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Visitor

pytestmark = [pytest.mark.urls("tests.http.test_large_requests"), pytest.mark.log_settings(MAX_MESSAGES=3)]


class WatchedFormat(TextFormat):
    """Takes note of the threads that read requests and fold answers."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        self.threads.append(threading.current_thread().name)
        return super().parse_request(body)

    def fold(self, generations: Sequence[StoredGeneration]) -> Any:
        self.threads.append(threading.current_thread().name)
        return super().fold(generations)

    def fold_answer(self, generation: StoredGeneration) -> Any:
        self.threads.append(threading.current_thread().name)
        return super().fold_answer(generation)


WATCHED = WatchedFormat()


class Chat(ResumableChatView):
    name = "large"
    format = WATCHED
    heard: ClassVar[list[Any]] = []

    def get_owner(self, request: Any) -> str:
        return "owner"

    def generate(self, turn: Turn) -> Any:
        return of(turn.messages[-1]["content"], "!")()

    async def on_end(self, turn: Turn, end: Any) -> None:
        self.heard.append(end.message)


class TanStackChat(Chat):
    name = "large-tanstack"
    format = "tanstack"


urlpatterns = [path("api/chat", include(Chat.urls())), path("api/tanstack", include(TanStackChat.urls()))]
SOCKET = StreamConsumer.as_asgi(view=Chat)


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    WATCHED.threads.clear()
    Chat.heard.clear()


def body(count: int, text: str = "Hi") -> dict[str, Any]:
    messages = [{"id": f"m{number}", "role": "user", "content": text} for number in range(count)]
    return {"id": "c1", "messages": messages}


@pytest.mark.parametrize("prefix", ["/api/chat", "/api/tanstack"])
@in_virtual_time
async def test_request_with_more_messages_than_allowed_is_refused_before_they_are_read(
    log: FaultyLog, prefix: str
) -> None:
    exchange = await Visitor().post(prefix, body(4))

    assert exchange.status == 413
    assert "has 4 messages, and the server takes at most 3" in exchange.text
    assert WATCHED.threads == []
    assert (await Visitor().post(prefix, body(3))).status < 300


@in_virtual_time
async def test_websocket_takes_no_more_messages_than_http(log: FaultyLog) -> None:
    async with Socket(SOCKET) as socket:
        socket.say("start", "c1", body=body(4))
        error = await socket.hear()

    assert (error["type"], error["status"]) == ("error", 413)
    assert "has 4 messages" in error["error"]


@in_virtual_time
async def test_large_request_and_large_answer_are_read_in_threads(log: FaultyLog) -> None:
    text = "x" * SMALL_BYTES
    exchange = await Visitor().post("/api/chat", body(1, text))
    messages = (await Visitor().get("/api/chat/c1/messages")).json["messages"]

    assert exchange.status == 200
    assert messages[-1]["content"] == f"{text}!"
    assert [one["content"] for one in Chat.heard] == [f"{text}!"]
    assert len(WATCHED.threads) == 3, "parsed, folded for on_end, folded for the client"
    assert all(name.startswith("resumable-stream-work") for name in WATCHED.threads)


@in_virtual_time
async def test_large_message_of_a_short_answer_is_stored_and_read_back_in_threads(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    def watched(name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            calls.append((name, threading.current_thread().name))
            return function(*args, **options)

        return call

    monkeypatch.setattr(Chat, "generate", lambda *_: of("Hello")())
    monkeypatch.setattr(first_records, "user_records", watched("store", first_records.user_records))
    monkeypatch.setattr(layout, "decode", watched("read", layout.decode))
    visitor = Visitor()
    # Its parts are whole only with the last one.
    await visitor.post("/api/chat", body(1, "x" * 20 * SMALL_BYTES))
    followed = await visitor.get("/api/chat/replay?id=c1&from=0")
    assert [name for name, _ in calls] == ["store", "read"], "for the log, and for on_end; no reader needs it"
    again = await visitor.post("/api/chat", body(2, "x" * 20 * SMALL_BYTES))
    messages = (await visitor.get("/api/chat/c1/messages")).json["messages"]

    assert (followed.status, again.status) == (200, 200)
    assert messages[-1]["content"] == "Hello"
    assert {name for name, _ in calls} == {"store", "read"}
    assert all(thread.startswith("resumable-stream-work") for _, thread in calls)
    assert all(name.startswith("resumable-stream-work") for name in WATCHED.threads)


@in_virtual_time
async def test_small_request_is_read_at_once(log: FaultyLog) -> None:
    await Visitor().post("/api/chat", body(1))

    assert set(WATCHED.threads) == {threading.current_thread().name}


@in_virtual_time
async def test_frames_behind_a_large_one_keep_their_order(log: FaultyLog) -> None:
    async with Socket(SOCKET) as socket:
        socket.send({"type": "nonsense", "stream": "large", "x": "y" * SMALL_BYTES})
        socket.say("ping")
        socket.send({"type": "nonsense", "stream": "second", "x": "y" * SMALL_BYTES})
        heard = [await socket.hear() for _ in range(3)]
        socket.say("start", "c1", body=body(1, "x" * SMALL_BYTES))
        answered = await socket.hear_until("end")

    assert [frame["type"] for frame in heard] == ["error", "pong", "error"]
    assert [frame.get("stream") for frame in heard] == ["large", None, "second"]
    assert answered[-1]["reason"] == "finished"


@in_virtual_time
async def test_large_frame_that_is_no_json_closes_the_socket(log: FaultyLog) -> None:
    async with Socket(SOCKET) as socket:
        socket.send_text("[" * (SMALL_BYTES + 1))
        assert await socket.hear_close() == 1007


@in_virtual_time
async def test_socket_that_sends_more_than_can_be_read_is_closed(
    log: FaultyLog, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(connection, "off_loop", never)
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_FRAME_BYTES": 2 * SMALL_BYTES}
    async with Socket(SOCKET) as socket:
        for _ in range(4):
            socket.send({"type": "ping", "x": "y" * int(1.5 * SMALL_BYTES)})
        assert await socket.hear_close() == 1009


@pytest.mark.parametrize("message_id", ["\ud800", "x" * 257])
@pytest.mark.parametrize("prefix", ["/api/chat", "/api/tanstack"])
@in_virtual_time
async def test_message_id_that_the_log_cannot_hold_is_refused(log: FaultyLog, prefix: str, message_id: str) -> None:
    exchange = await Visitor().post(
        prefix, {"id": "c1", "messages": [{"id": message_id, "role": "user", "content": "Hi"}]}
    )

    assert exchange.status == 400
    assert "at most 256 characters" in exchange.text
