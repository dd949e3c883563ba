"""Frames that make no sense, that are too large or too many, and what the client is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.websockets import connection

from ..support.logs import FaultyLog, held
from ..support.producers import Producer
from ..support.sockets import Socket
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, Chat, ask, use_settings

pytestmark = pytest.mark.usefixtures("fresh_chats")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 1007),
        ("{", 1007),
        ("null", 1007),
        ("[]", 1007),
        ('"subscribe"', 1007),
        ("NaN", 1007),
        ('{"type": "ping", "x": NaN}', 1007),
        ("[" * 5000, 1007),
        ('{"a":' * 520 + "1" + "}" * 520, 1007),
    ],
)
@in_virtual_time
async def test_what_is_no_json_object_closes_the_socket(log: FaultyLog, text: str, code: int) -> None:
    async with Socket(CHAT) as socket:
        socket.send_text(text)
        assert await socket.hear_close() == code
        socket.say("ping")
        await settle()
        assert socket.unheard == 0


@in_virtual_time
async def test_binary_frames_and_frames_too_large_close_the_socket(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, MAX_FRAME_BYTES=100)
    async with Socket(CHAT) as socket:
        socket.send_bytes(b'{"type": "ping"}')
        assert await socket.hear_close() == 1003
    async with Socket(CHAT) as socket:
        socket.send({"type": "ping", "x": "y" * 70})
        assert await socket.hear() == {"type": "pong"}
        socket.send_text('{"type": "ping", "x": "%s"}' % ("ä" * 70))
        assert await socket.hear_close() == 1009


@in_virtual_time
async def test_a_bad_frame_is_an_error_and_many_in_a_row_are_a_close(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        for _ in range(3):
            for _ in range(connection.MAX_FAULTS - 1):
                socket.say("subscribe", "a/b")
                error = await socket.hear()
                assert (error["type"], error["status"], error["stream"]) == ("error", 400, "a/b")
            socket.say("ping")
            assert (await socket.hear())["type"] == "pong"
        for _ in range(connection.MAX_FAULTS):
            socket.say("nonsense")
        assert await socket.hear_close() == 1008


@in_virtual_time
async def test_a_body_that_cannot_be_read_is_an_error_of_that_stream(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body={})
        error = await socket.hear()
        assert (error["type"], error["stream"], error["status"]) == ("error", "c1", 400)
        await ask(socket)


@in_virtual_time
async def test_too_many_subscriptions_are_an_error_of_the_last(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, MAX_SUBSCRIPTIONS_PER_SOCKET=2)
    async with Socket(CHAT) as socket:
        for name in ("a", "b"):
            socket.say("subscribe", name, live=True)
            await socket.hear_until("subscribed")
        socket.say("subscribe", "c", live=True)
        refused = (await socket.hear_until("error"))[-1]
        assert (refused["stream"], refused["status"]) == ("c", 429)
        # Once more for one of those that there are is no more than there were.
        socket.say("subscribe", "a", live=True)
        await socket.hear_until("subscribed")
        socket.say("unsubscribe", "b")
        await socket.hear_until("unsubscribed")
        socket.say("subscribe", "c", live=True)
        assert (await socket.hear_until("subscribed"))[-1]["stream"] == "c"


@in_virtual_time
async def test_readers_count_per_owner_over_all_their_sockets(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, MAX_READERS_PER_OWNER=2)
    bob = {"X-Owner": "bob"}
    async with Socket(CHAT) as first, Socket(CHAT) as second, Socket(CHAT, headers=bob) as other:
        for name in ("a", "b"):
            first.say("subscribe", name, live=True)
        await first.hear_until("caught_up")
        await first.hear_until("caught_up")
        second.say("subscribe", "a", live=True)
        error = await second.hear()
        assert (error["type"], error["stream"], error["status"]) == ("error", "a", 429)
        other.say("subscribe", "a", live=True)
        assert (await other.hear())["type"] == "subscribed"
        first.say("unsubscribe", "a")
        await first.hear_until("unsubscribed")
        second.say("subscribe", "a", live=True)
        assert (await second.hear())["type"] == "subscribed"


@in_virtual_time
async def test_running_answers_count_per_owner(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, MAX_GENERATIONS_PER_OWNER=1)
    Chat.sources["a"] = Producer()
    async with Socket(CHAT) as socket:
        socket.say("start", "a", body=QUESTION)
        await socket.hear_until("started")
        socket.say("start", "b", body=QUESTION)
        error = (await socket.hear_until("error"))[-1]
        assert (error["stream"], error["status"]) == ("b", 429)


@in_virtual_time
async def test_a_client_that_asks_and_does_not_read_is_not_heard_for_ever(log: FaultyLog) -> None:
    socket = Socket(CHAT, room=1)
    async with socket:
        for _ in range(3000):
            socket.say("ping")
        await settle()
        assert await socket.hear_close() == 1008


@in_virtual_time
async def test_too_many_starts_and_stops_at_once_are_an_error(log: FaultyLog) -> None:
    gate = asyncio.Event()
    log.always("tail", held(gate))
    log.always("read", held(gate))
    async with Socket(CHAT) as socket:
        for _ in range(connection.MAX_OPERATIONS + 1):
            socket.say("stop", "a")
            await settle()
        assert (await socket.hear())["status"] == 429
        gate.set()
        heard = [await socket.hear() for _ in range(connection.MAX_OPERATIONS)]
        assert {frame["type"] for frame in heard} == {"stopping"}
