"""The HTTP consumer answers as the view does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.sessions import SessionMiddlewareStack
from channels.testing import HttpCommunicator

from resumable_stream.consumers import EventStreamConsumer
from resumable_stream.runtime import runtime

from ..support.event_source import parse
from ..support.logs import FaultyLog
from ..support.producers import Producer
from ..support.sockets import Message, Socket
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, SESSION_CHAT, Chat, SessionChat, ask, cookie, tasks

pytestmark = pytest.mark.usefixtures("fresh_chats")


def at_testserver(application: Any) -> Any:
    """Serve as a server does, which says where it listens."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "server": ("testserver", 80)}, receive, send)

    return served


EVENTS = at_testserver(EventStreamConsumer.as_asgi(view=Chat, action="replay"))


@in_virtual_time
async def test_the_http_consumer_answers_as_the_view_does(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        heard = await ask(socket)
    ids = [str(frame["id"]) for frame in heard if frame["type"] == "chunk"]

    whole = await HttpCommunicator(EVENTS, "GET", "/replay?id=c1&from=0").get_response()
    events = parse(whole["body"])
    headers = {name.decode(): value.decode() for name, value in whole["headers"]}
    assert whole["status"] == 200
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "private, no-store, no-transform"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["vary"] == "Cookie"
    assert [event.data for event in events] == ['"Hello"', '" world"', '{"reason":"finished"}']
    assert [event.last_event_id for event in events[:2]] == ids

    last_id = [(b"last-event-id", ids[0].encode())]
    rest = await HttpCommunicator(EVENTS, "GET", "/replay?id=c1&from=0", headers=last_id).get_response()
    assert [event.data for event in parse(rest["body"])] == ['" world"', '{"reason":"finished"}']


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/replay?id=none", 204),
        ("GET", "/replay?id=c1&from=x", 400),
        ("GET", "/replay", 400),
        ("GET", "/replay?id=secret", 404),
        ("POST", "/replay?id=c1", 405),
        ("OPTIONS", "/replay", 200),
    ],
)
@in_virtual_time
async def test_the_http_consumer_refuses_as_the_view_does(log: FaultyLog, method: str, path: str, status: int) -> None:
    Chat.forbidden = {("secret", "read")}
    response = await HttpCommunicator(EVENTS, method, path).get_response()

    assert response["status"] == status


@in_virtual_time
async def test_event_stream_consumer_refuses_a_host_that_is_not_this_sites(log: FaultyLog) -> None:
    headers = [(b"host", b"evil.example")]
    response = await HttpCommunicator(EVENTS, "GET", "/replay?id=c1", headers=headers).get_response()

    assert response["status"] == 400


@pytest.mark.parametrize("first", [{"body": b"x"}, {"body": b"", "more_body": True}], ids=["body", "body to come"])
@in_virtual_time
async def test_event_stream_consumer_refuses_a_body_without_waiting_for_its_end(
    log: FaultyLog, first: dict[str, Any]
) -> None:
    request = Request("/replay?id=c1", **first)

    await request.task

    assert request.status == 413
    assert request.is_complete


class Request:
    """One request to the HTTP consumer, which can be left at any time."""

    def __init__(self, path: str, **first: Any) -> None:
        self.body = b""
        self.status = 0
        self.is_complete = False
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b"", **first})
        path, _, query = path.partition("?")
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
        self.task = asyncio.ensure_future(EVENTS(scope, self._messages.get, self._send))

    async def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})
        await self.task

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        self.is_complete = message["type"] == "http.response.body" and not message["more_body"]


@in_virtual_time
async def test_a_reader_of_events_who_leaves_is_noticed_at_once(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        before = await tasks()
        request = Request("/replay?id=c1")
        await settle()
        assert b"one" in request.body
        await request.leave()
        assert await tasks() == before
        assert runtime().readers.taken == {"ann": 1}


@in_virtual_time
async def test_events_that_break_off_do_not_end_like_events_that_are_whole(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        # Of a stream that another process writes: no end comes here.
        request = Request("/replay?id=c1&live=1")
        await settle()
        await runtime().drain(0)
        await request.task
        assert b"one" in request.body
        assert not request.is_complete


@in_virtual_time
async def test_events_go_to_nobody_whose_session_is_somebody_elses(log: FaultyLog, sessions: Any) -> None:
    Chat.sources["c1"] = Producer("one")
    session = sessions()
    await session.aset("resumable_stream_owner", "owner")
    await session.asave()
    events = at_testserver(SessionMiddlewareStack(EventStreamConsumer.as_asgi(view=SessionChat)))
    headers = cookie(session.session_key)
    async with Socket(SESSION_CHAT, headers=headers) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        communicator = HttpCommunicator(events, "GET", "/replay?id=c1", headers=raw)
        reading = asyncio.ensure_future(communicator.get_response(timeout=500))
        await settle()
        await session.aset("resumable_stream_owner", "another")
        await session.asave()
        response = await reading
        assert b"no longer have access" in response["body"]
