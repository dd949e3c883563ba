"""A stop that comes while its start is still being looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.stopping import STOP_WAIT_SECONDS
from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.generations.arrivals import Arrivals
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets.subprotocols.native import StreamDialect
from resumable_stream.websockets.subprotocols.tanstack import TanStackDialect

from ..support.logs import Call, FaultyLog, held
from ..support.producers import Producer
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.generations.test_arrivals")


class Door:
    """Where starts wait in ``authorize`` until the test lets them in."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.answers = True
        self.producer = Producer("Hello")


class Chat(ResumableChatView):
    name = "arrivals"
    format = "text"
    door: Door

    async def authorize(self, request: Any, chat_id: str, action: str) -> bool:
        if action != "start":
            return True
        door = type(self).door
        door.entered.set()
        await door.opened.wait()
        return door.answers

    def get_owner(self, request: Any) -> str:
        return str(request.headers.get("X-Owner", "ann"))

    def generate(self, turn: Turn) -> Any:
        return type(self).door.producer()


class RunChat(Chat):
    format = "tanstack"


urlpatterns = [path("api/chat", include(Chat.urls()))]
QUESTION = {"id": "c1", "message": "Hi"}


async def passed(call: Call) -> Any:
    return await call()


async def start_at_the_door(visitor: Visitor, owner: str = "ann") -> tuple[Door, Exchange]:
    """Begin a start, which waits in ``authorize``."""
    Chat.door = door = Door()
    starting = visitor.begin("POST", "/api/chat", QUESTION, X_Owner=owner)
    await door.entered.wait()
    return door, starting


STOPS: dict[str, Callable[[Visitor], Exchange]] = {
    "route": lambda visitor: visitor.begin("POST", "/api/chat/c1/stop"),
    "delete": lambda visitor: visitor.begin("DELETE", "/api/chat", {"id": "c1"}),
    "query": lambda visitor: visitor.begin("DELETE", "/api/chat?id=c1"),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
@in_virtual_time
async def test_a_stop_ends_a_start_that_is_still_in_authorize(
    log: FaultyLog, stop: Callable[[Visitor], Exchange]
) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    stopping = stop(visitor)
    await settle()
    door.opened.set()

    started, stopped = await starting.done(), await stopping.done()

    assert (stopped.status, started.status) == (202, 200)
    assert stopped.headers["X-Generation-Id"] == started.headers["X-Generation-Id"]
    assert started.events[-1].data == '{"reason":"stopped"}'
    assert door.producer.calls == 0
    (name,) = log._streams
    assert log.ends(name) == ["stopped"]
    messages = (await visitor.get("/api/chat/c1/messages")).json["messages"]
    assert [(message["role"], message["content"]) for message in messages] == [("user", "Hi")]


@pytest.mark.parametrize("is_stopped_by_socket", [False, True], ids=["http", "websocket"])
@in_virtual_time
async def test_a_start_over_a_websocket_is_stopped_from_elsewhere(log: FaultyLog, is_stopped_by_socket: bool) -> None:
    application = StreamConsumer.as_asgi(view=Chat, dialects=[StreamDialect])
    Chat.door = door = Door()
    options = {"headers": {"X-Owner": "ann"}, "subprotocols": ("resumable-stream.v1",)}
    async with Socket(application, **options) as one, Socket(application, **options) as other:
        one.say("start", "c1", body=QUESTION)
        await door.entered.wait()
        if is_stopped_by_socket:
            other.say("stop", "c1")
        else:
            stopping = Visitor().begin("POST", "/api/chat/c1/stop")
        await settle()
        door.opened.set()
        heard = await one.hear_until(lambda frame: frame["type"] == "end")
        if is_stopped_by_socket:
            stopped = (await other.hear())["generation"]
        else:
            stopped = (await stopping.done()).headers["X-Generation-Id"]

    assert heard[-1]["reason"] == "stopped"
    assert stopped == heard[0]["generation"]
    assert door.producer.calls == 0


@in_virtual_time
async def test_an_abort_over_tanstacks_websocket_takes_back_a_start_that_is_claiming(log: FaultyLog) -> None:
    RunChat.door = door = Door()
    door.opened.set()
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))  # The claim; a note of the run comes after it.
    message = {"id": "u1", "role": "user", "content": "Hi"}
    application = StreamConsumer.as_asgi(view=RunChat, dialects=[TanStackDialect])
    async with Socket(application, path="/socket?runId=r1") as socket:
        socket.send({"threadId": "c1", "runId": "r1", "messages": [message], "state": {}, "tools": [], "context": []})
        await arrived.wait()
        socket.send({"type": "abort", "runId": "r1"})
        await settle()
        gate.set()
        await settle()
    (name,) = (name for name in log._streams if name.startswith("chat/"))
    assert log.ends(name) == ["stopped"]
    assert door.producer.calls == 0


@in_virtual_time
async def test_a_start_that_comes_after_the_stop_runs(log: FaultyLog) -> None:
    visitor = Visitor()
    door, first = await start_at_the_door(visitor)
    stopping = visitor.begin("POST", "/api/chat/c1/stop")
    await settle()
    Chat.door = later = Door()
    second = visitor.begin("POST", "/api/chat", {"id": "c1", "message": "Again"})
    await later.entered.wait()
    door.opened.set()
    await asyncio.gather(first.done(), stopping.done())
    later.producer.finish()
    later.opened.set()
    await second.done()

    assert first.events[-1].data == '{"reason":"stopped"}'
    assert second.events[-1].data == '{"reason":"finished"}'


@pytest.mark.parametrize("other", [("/api/chat/c1/stop", "bob"), ("/api/chat/c2/stop", "ann")], ids=["owner", "chat"])
@in_virtual_time
async def test_a_stop_of_another_stream_leaves_the_start_alone(log: FaultyLog, other: tuple[str, str]) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    route, owner = other
    stopping = visitor.begin("POST", route, X_Owner=owner)
    await settle()
    door.opened.set()
    door.producer.finish()

    assert (await starting.done()).events[-1].data == '{"reason":"finished"}'
    assert (await stopping.done()).status == 204


@in_virtual_time
async def test_a_stop_that_names_a_generation_leaves_a_start_alone(log: FaultyLog) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    stopped = await visitor.post("/api/chat/c1/stop", {"generation": "x" * 20})
    door.opened.set()
    door.producer.finish()

    assert stopped.status == 204
    assert (await starting.done()).events[-1].data == '{"reason":"finished"}'


@in_virtual_time
async def test_a_stop_of_a_start_that_is_refused_finds_nothing(log: FaultyLog) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    stopping = visitor.begin("POST", "/api/chat/c1/stop")
    await settle()
    door.answers = False
    door.opened.set()

    assert (await starting.done()).status == 404
    assert (await stopping.done()).status == 204


@in_virtual_time
async def test_a_stop_does_not_wait_for_ever(log: FaultyLog) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    begun = asyncio.get_running_loop().time()
    stopped = await visitor.post("/api/chat/c1/stop")
    waited = asyncio.get_running_loop().time() - begun
    door.opened.set()

    assert (stopped.status, "X-Generation-Id" in stopped.headers) == (202, False)
    assert waited == pytest.approx(STOP_WAIT_SECONDS)
    assert (await starting.done()).events[-1].data == '{"reason":"stopped"}'


@in_virtual_time
async def test_a_stop_reaches_a_start_of_the_function_api_that_is_claiming(log: FaultyLog) -> None:
    chat, producer = ChatEngine(format="text"), Producer("Hello")
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    starting = asyncio.create_task(chat.start("s", producer))
    await arrived.wait()
    stopping = asyncio.create_task(chat.end("s"))
    await settle()
    gate.set()

    assert await stopping == (await starting).generation_id
    await settle()
    assert (log.ends("s"), producer.calls) == (["stopped"], 0)


@in_virtual_time
async def test_nothing_is_kept_of_what_is_done(log: FaultyLog) -> None:
    visitor = Visitor()
    door, starting = await start_at_the_door(visitor)
    stopping = [visitor.begin("POST", f"/api/chat/c{number}/stop") for number in range(5)]
    await settle()
    door.opened.set()
    await asyncio.gather(starting.done(), *(one.done() for one in stopping))

    arrivals = runtime().arrivals
    assert (arrivals._starting, arrivals._stops) == ({}, {})


def test_the_newest_mark_of_a_stream_counts() -> None:
    arrivals = Arrivals()
    first, early, second, late = (arrivals.arrive("c") for _ in range(4))
    first.stream = second.stream = ("default", "s")
    with arrivals.starting(first), arrivals.starting(second):
        arrivals.stop(("default", "s"), late)
        arrivals.stop(("default", "s"), early)
        assert (arrivals.is_stopped(first), arrivals.is_stopped(second)) == (True, True)
