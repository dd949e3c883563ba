"""Websockets and the HTTP consumer, spoken to as servers speak: what is asked, what is heard, and what stays behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
from typing import Any, cast

import pytest
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import EventStreamConsumer, StreamConsumer
from resumable_stream.exceptions import RecordsTrimmedError
from resumable_stream.readers.reader import FIRST_PAGE_RECORDS
from resumable_stream.runtime import runtime
from resumable_stream.signals import refused
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets import connection
from resumable_stream.websockets.subprotocols import aisdk
from resumable_stream.websockets.subprotocols.aisdk import AISDKDialect
from resumable_stream.websockets.subprotocols.base import Subscribe, SubscriptionEnd
from resumable_stream.websockets.subprotocols.native import StreamDialect

from .support.event_source import parse
from .support.logs import SECRET, FaultyLog, held, raising, unavailable
from .support.producers import Producer, of
from .support.sockets import Message, Socket, chunks_of
from .support.virtual_time import in_virtual_time, settle

QUESTION = {"message": "Hi"}
ASKED = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
END = {"finished", "stopped", "failed", "interrupted"}


class Chat(ResumableChatView):
    name = "consumers"
    format = "text"
    sources: dict[str, Any] = {}  # noqa: RUF012 - by chat id, set by each test
    forbidden: set[tuple[str, str]] = set()  # noqa: RUF012

    def get_owner(self, request: HttpRequest) -> str:
        return request.headers.get("X-Owner", "ann")

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        return (chat_id, action) not in self.forbidden

    def generate(self, turn: Turn) -> Any:
        return self.sources.get(turn.chat_id, of("Hello", " world"))()


class SDKChat(Chat):
    format = "aisdk"


CHAT = StreamConsumer.as_asgi(view=Chat)
SDK_CHAT = StreamConsumer.as_asgi(view=SDKChat)


def at_testserver(application: Any) -> Any:
    """Serve as a server does, which says where it listens."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "server": ("testserver", 80)}, receive, send)

    return served


EVENTS = at_testserver(EventStreamConsumer.as_asgi(view=Chat, action="replay"))


@pytest.fixture(autouse=True)
def fresh_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "sources", {})
    monkeypatch.setattr(Chat, "forbidden", set())


def use_settings(settings: Any, **values: Any) -> None:
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, **values}


def is_end(frame: Message) -> bool:
    return frame["type"] == "end"


async def ask(socket: Socket, stream: str = "c1", **more: Any) -> list[Message]:
    """Start an answer and hear it to its end."""
    socket.say("start", stream, body=QUESTION, **more)
    return await socket.hear_until("end")


async def tasks() -> int:
    await settle()
    return len(asyncio.all_tasks())


# -- our own dialect -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_answer_is_started_and_followed_on_one_socket(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        heard = await ask(socket)

    started, *_, end = heard
    assert (started["type"], started["stream"], started["from"]) == ("started", "c1", 0)
    assert chunks_of(heard) == ["Hello", " world"]
    ids = [frame["id"] for frame in heard if "id" in frame]
    assert ids == sorted(ids)
    assert end == {
        "type": "end",
        "stream": "c1",
        "id": ids[-1],
        "reason": "finished",
        "reconnect": False,
        "generation": started["generation"],
    }


@in_virtual_time
async def test_a_second_device_follows_from_the_start_and_goes_on_from_its_cursor(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one", "two")
    async with Socket(CHAT) as first, Socket(CHAT) as second, Socket(CHAT) as third:
        first.say("start", "c1", body=QUESTION)
        await first.hear_until(lambda frame: frame.get("chunk") == "two")
        second.say("subscribe", "c1")
        heard = await second.hear_until("caught_up")
        assert chunks_of(heard) == ["one", "two"]
        assert heard[0]["type"] == "subscribed"
        assert heard[-1]["id"] == heard[-2]["id"]
        third.say("subscribe", "c1", **{"from": heard[1]["id"]})
        assert chunks_of(await third.hear_until("caught_up")) == ["two"]
        producer.give("three")
        producer.finish()
        for socket in (second, third):
            rest = await socket.hear_until(is_end)
            assert chunks_of(rest) == ["three"]
            assert rest[-1]["reason"] == "finished"


@in_virtual_time
async def test_a_cursor_inside_an_answer_that_is_over_gets_the_rest(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        heard = await ask(socket)
        cursor = next(frame["id"] for frame in heard if frame["type"] == "chunk")
        socket.say("subscribe", "c1", **{"from": cursor})
        rest = await socket.hear_until("end")

    assert rest[0] == {"type": "subscribed", "stream": "c1", "from": cursor}
    assert chunks_of(rest) == [" world"]
    assert rest[-1]["reason"] == "finished"


@in_virtual_time
async def test_who_has_it_all_is_told_that_there_is_nothing(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        end = (await ask(socket))[-1]
        for given, told in [({"from": end["id"]}, end["id"]), ({}, None), ({"from": 10_000}, 10_000)]:
            socket.say("subscribe", "c1", **given)
            assert await socket.hear() == {"type": "subscribed", "stream": "c1", "from": None}
            assert await socket.hear() == {
                "type": "end",
                "stream": "c1",
                "id": told,
                "reason": "nothing",
                "reconnect": False,
            }


@in_virtual_time
async def test_a_live_subscription_goes_from_one_answer_to_the_next(log: FaultyLog) -> None:
    async with Socket(CHAT) as reader, Socket(CHAT) as writer:
        reader.say("subscribe", "c1", live=True)
        assert [frame["type"] for frame in await reader.hear_until("caught_up")] == ["subscribed", "caught_up"]
        for _ in range(2):
            await ask(writer)
            heard = await reader.hear_until("end")
            assert chunks_of(heard) == ["Hello", " world"]
            assert heard[-1]["reason"] == "finished"
        reader.say("unsubscribe", "c1")
        assert (await reader.hear())["type"] == "unsubscribed"
        await ask(writer)
        assert reader.unheard == 0


@in_virtual_time
async def test_a_start_beside_a_live_subscription_brings_each_chunk_once(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1", live=True)
        await socket.hear_until("caught_up")
        socket.say("start", "c1", body=QUESTION)
        heard = await socket.hear_until("end")
        await settle()
        assert socket.unheard == 0

    assert sorted({frame["type"] for frame in heard}) == ["chunk", "end", "started"]
    assert chunks_of(heard) == ["Hello", " world"]


@pytest.mark.parametrize("sockets", [1, 2], ids=["its own socket", "another socket"])
@in_virtual_time
async def test_a_start_that_replaces_an_answer_is_heard_after_its_end(log: FaultyLog, sockets: int) -> None:
    asked = {"trigger": "regenerate-message", "messages": [ASKED]}
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(SDK_CHAT) as first, Socket(SDK_CHAT) as other:
        first.say("start", "c1", body=asked)
        await first.hear_until(lambda frame: "one" in str(frame.get("chunk")))
        Chat.sources["c1"] = of("two")
        second = first if sockets == 1 else other
        second.say("start", "c1", body=asked)
        if sockets == 2:
            stopped = await first.hear_until("end")
            assert stopped[-1]["reason"] == "stopped"
        heard = await second.hear_until(lambda frame: is_end(frame) and frame["reason"] == "finished")

    assert producer.is_closed
    assert "two" in str(chunks_of(heard))
    assert next(frame for frame in heard if frame["type"] == "started")["generation"] == heard[-1]["generation"]


@in_virtual_time
async def test_a_socket_does_not_speak_as_the_server(log: FaultyLog) -> None:
    async with Socket(SDK_CHAT) as socket:
        socket.say("start", "c1", body={"messages": [{**ASKED, "role": "system"}, ASKED]})
        refusal = (await socket.hear_until("error"))[-1]

    assert "messages[0] has the role 'system'" in str(refusal)


@in_virtual_time
async def test_a_start_that_is_refused_leaves_what_is_followed_alone(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        started = (await socket.hear_until("chunk"))[0]
        socket.say("start", "c1", body=QUESTION)
        error = (await socket.hear_until("error"))[-1]
        assert (error["status"], error["stream"]) == (409, "c1")
        assert error["generation"] == started["generation"]
        producer.give("two")
        producer.finish()
        assert chunks_of(await socket.hear_until("end")) == ["two"]


@in_virtual_time
async def test_the_same_key_again_attaches_to_the_same_answer(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as first, Socket(CHAT) as second:
        first.say("start", "c1", body=QUESTION, key="k")
        started = (await first.hear_until("chunk"))[0]
        for socket in (second, first):
            socket.say("start", "c1", body=QUESTION, key="k")
            heard = await socket.hear_until("chunk")
            again = next(frame for frame in heard if frame["type"] == "started")
            assert again == started
            assert chunks_of(heard) == ["one"]
        assert Chat.sources["c1"].calls == 1


@in_virtual_time
async def test_a_stop_ends_the_answer_for_everybody(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT) as first, Socket(CHAT) as second:
        first.say("start", "c1", body=QUESTION)
        generation = (await first.hear_until("chunk"))[0]["generation"]
        second.say("stop", "c1", generation="another")
        refused = await second.hear()
        assert (refused["type"], refused["status"], refused["generation"]) == ("error", 409, generation)
        second.say("stop", "c1", generation=generation)
        assert await second.hear() == {"type": "stopping", "stream": "c1", "generation": generation}
        assert (await first.hear_until("end"))[-1]["reason"] == "stopped"
        assert producer.is_closed
        second.say("stop", "c1")
        assert await second.hear() == {"type": "stopping", "stream": "c1", "generation": None}


@in_virtual_time
@pytest.mark.parametrize("is_live", [False, True], ids=["alone", "beside a live one"])
async def test_a_stop_right_after_a_start_stops_what_was_started(log: FaultyLog, is_live: bool) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    gate = asyncio.Event()
    async with Socket(CHAT) as socket:
        if is_live:
            socket.say("subscribe", "c1", live=True)
            await socket.hear_until("subscribed")
        log.then("append", held(gate))
        socket.say("start", "c1", body=QUESTION)
        socket.say("stop", "c1")
        await settle()
        gate.set()
        heard = await socket.hear_until("end")
        if heard[-1]["reason"] != "stopped":
            pytest.fail(str(heard))
        generations = {frame["type"]: frame["generation"] for frame in heard if "generation" in frame}
        assert generations["started"] == generations["stopping"]
        assert producer.is_closed or not producer.calls


@in_virtual_time
async def test_a_stop_right_after_a_subscribe_hides_nothing_from_it(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    gate = asyncio.Event()
    async with Socket(CHAT) as first, Socket(CHAT) as second:
        first.say("start", "c1", body=QUESTION)
        await first.hear_until("chunk")
        log.then("tail", held(gate))
        log.then("read", held(gate))
        second.say("subscribe", "c1")
        second.say("stop", "c1")
        await settle()
        gate.set()
        heard = await second.hear_until("end")

    assert chunks_of(heard) == ["one"]
    assert heard[-1]["reason"] == "stopped"


@in_virtual_time
async def test_a_stop_is_answered_though_what_is_followed_cannot_be_found(log: FaultyLog) -> None:
    log.always("tail", unavailable)
    log.always("read", unavailable)
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1")
        socket.say("stop", "c1")
        told = await socket.hear()
        assert (told["type"], told["status"], "retry" in told) == ("error", 503, True)
        refused = await socket.hear()
        assert (refused["type"], refused["status"], "retry" in refused) == ("error", 503, False)


@in_virtual_time
async def test_a_failure_is_worded_for_people_and_told_as_an_end(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer()
    producer.fail(ValueError(SECRET))
    async with Socket(CHAT) as socket:
        heard = await ask(socket)

    assert (heard[-1]["reason"], heard[-1]["error"]) == ("failed", "An error occurred.")
    assert SECRET not in json.dumps(heard)


@in_virtual_time
async def test_a_stream_that_is_followed_already_begins_anew(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        socket.say("subscribe", "c1")
        assert chunks_of(await socket.hear_until("chunk")) == ["one"]
        producer.give("two")
        producer.finish()
        rest = await socket.hear_until("end")
        await settle()
        assert chunks_of(rest) == ["two"]
        assert socket.unheard == 0


@in_virtual_time
async def test_of_many_subscribes_at_once_the_last_one_counts(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        for _ in range(5):
            socket.say("subscribe", "c1")
        assert chunks_of(await socket.hear_until("chunk")) == ["one"]
        await settle()
        producer.give("two")
        await settle()
        producer.finish()
        assert chunks_of(await socket.hear_until("end")) == ["two"]
        await settle()
        assert socket.unheard == 0
        assert runtime().sockets.taken == {"ann": 1}


@in_virtual_time
async def test_many_streams_share_one_socket(log: FaultyLog) -> None:
    names = [f"c{number}" for number in range(50)]
    async with Socket(CHAT) as socket:
        for name in names:
            Chat.sources[name] = of(*(f"{name} {number}" for number in range(5)))
        for name in names[:10]:
            socket.say("start", name, body=QUESTION)
        heard: list[Message] = []
        while sum(map(is_end, heard)) < 10:
            heard.append(await socket.hear())

    for name in names[:10]:
        assert chunks_of(heard, name) == [f"{name} {number}" for number in range(5)]


@in_virtual_time
async def test_an_unsubscribe_while_the_start_is_on_its_way_leaves_the_answer_running(log: FaultyLog) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        await arrived.wait()
        socket.say("unsubscribe", "c1")
        assert (await socket.hear())["type"] == "unsubscribed"
        gate.set()
        await settle()
        assert socket.unheard == 0

    assert log.ends("chat/consumers/ann/c1") == ["finished"]


@in_virtual_time
async def test_a_ping_is_answered(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        socket.say("ping")
        assert await socket.hear() == {"type": "pong"}


# -- input that makes no sense -------------------------------------------------------------------------------------


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


# -- rights --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_is_not_the_clients_is_answered_like_what_does_not_exist(log: FaultyLog) -> None:
    Chat.forbidden = {("c1", "read"), ("c1", "start"), ("c1", "stop")}
    async with Socket(CHAT) as socket:
        for kind in ("subscribe", "start", "stop"):
            socket.say(kind, "c1", body=QUESTION)
            assert await socket.hear() == {
                "type": "error",
                "stream": "c1",
                "status": 404,
                "error": "There is no such chat.",
            }
        assert log.records("chat/consumers/ann/c1") == []


@in_virtual_time
async def test_a_reader_who_loses_the_right_is_ended_and_others_are_not(log: FaultyLog) -> None:
    Chat.sources |= {"c1": Producer("one"), "c2": Producer("one")}
    async with Socket(CHAT) as socket:
        for name in ("c1", "c2"):
            socket.say("start", name, body=QUESTION)
            await socket.hear_until("chunk")
        await asyncio.sleep(61)
        Chat.forbidden = {("c1", "read")}
        await asyncio.sleep(61)
        heard = await socket.hear_until("end")
        assert (heard[-1]["stream"], heard[-1]["reason"], heard[-1]["reconnect"]) == ("c1", "forbidden", False)
        Chat.sources["c1"].give("not told")
        Chat.sources["c2"].give("two")
        assert (await socket.hear())["chunk"] == "two"
    assert not Chat.sources["c1"].is_closed


@in_virtual_time
async def test_who_lost_the_right_while_not_reading_gets_nothing_more_of_it(log: FaultyLog) -> None:
    async with Socket(CHAT) as writer, Socket(CHAT, room=1) as sleeper:
        for name in ("c1", "c2"):
            Chat.sources[name] = of(*["x"] * 300)
            await ask(writer, name)
            sleeper.say("subscribe", name, **{"from": 0})
        await settle()
        Chat.forbidden = {("c1", "read"), ("c2", "read")}
        await asyncio.sleep(70)
        heard: list[Message] = []
        while len([frame for frame in heard if is_end(frame)]) < 2:
            heard.append(await sleeper.hear())

    assert {frame["reason"] for frame in heard if is_end(frame)} == {"forbidden"}
    # What the server had already, and no more.
    assert len(chunks_of(heard)) <= 2


@in_virtual_time
async def test_a_hook_that_breaks_costs_its_own_stream_only(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def authorize(self: Chat, request: HttpRequest, chat_id: str, action: str) -> bool:
        if chat_id == "bad":
            raise RuntimeError(SECRET)
        return True

    monkeypatch.setattr(Chat, "authorize", authorize)
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "bad")
        error = await socket.hear()
        assert (error["type"], error["stream"], error["status"]) == ("error", "bad", 500)
        assert SECRET not in json.dumps(error)
        await ask(socket)
    assert SECRET in caplog.text


@in_virtual_time
async def test_where_rights_cannot_be_asked_for_readers_end_and_may_come_again(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        monkeypatch.setattr(Chat, "authorize", raising(RuntimeError("no database")))
        await asyncio.sleep(70)
        end = (await socket.hear_until("end"))[-1]
        assert (end["reason"], end["reconnect"]) == ("unavailable", True)


@pytest.mark.parametrize(
    ("origin", "allowed", "trusted", "is_open"),
    [
        (None, [], [], True),
        ("http://testserver", [], [], True),
        ("https://testserver", [], [], True),
        ("http://TESTSERVER", [], [], True),
        ("http://testserver:8000", [], [], False),
        ("http://evil.example", [], [], False),
        ("http://testserver.evil.example", [], [], False),
        ("null", [], [], False),
        ("", [], [], False),
        ("http://[", [], [], False),
        ("https://app.example.com", ["https://app.example.com"], [], True),
        ("http://app.example.com", ["https://app.example.com"], [], False),
        ("https://app.example.com", [], ["https://*.example.com"], True),
        ("https://example.com.evil", [], ["https://*.example.com"], False),
        ("http://evil.example", ["*"], [], True),
        ("http://evil.example", "*", [], True),
    ],
)
@in_virtual_time
async def test_pages_of_other_sites_open_no_socket(
    log: FaultyLog, settings: Any, origin: str | None, allowed: list[str] | str, trusted: list[str], is_open: bool
) -> None:
    use_settings(settings, ALLOWED_ORIGINS=allowed)
    settings.CSRF_TRUSTED_ORIGINS = trusted
    headers = {"host": "testserver"} | ({} if origin is None else {"origin": origin})
    socket = Socket(CHAT, headers=headers)

    assert await socket.connect() is is_open
    assert socket.close_code == (None if is_open else 1008)
    await socket.disconnect()


@pytest.mark.parametrize(
    ("scheme", "origin", "is_open"),
    [
        ("wss", "https://testserver", True),
        ("wss", "http://testserver", False),
        ("ws", "http://testserver", True),
        # A proxy that ends TLS, and does not tell of it.
        ("ws", "https://testserver", True),
        ("ws", "file://testserver", False),
    ],
)
@in_virtual_time
async def test_page_without_encryption_opens_no_socket_of_an_encrypted_site(
    log: FaultyLog, scheme: str, origin: str, is_open: bool
) -> None:
    headers = {"host": "testserver", "origin": origin}
    assert await Socket(CHAT, headers=headers, scheme=scheme).connect() is is_open


@in_virtual_time
async def test_control_characters_of_an_origin_are_escaped_in_the_log(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"host": "testserver", "origin": "http://evil.example"}
    socket = Socket(CHAT, headers=headers)
    socket.scope["headers"][-1] = (b"origin", b"http://evil.example\x85forged\x9b31m\n")

    assert not await socket.connect()

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()


@in_virtual_time
async def test_refusal_over_a_websocket_is_logged(log: FaultyLog, caplog: pytest.LogCaptureFixture) -> None:
    Chat.forbidden = {("c1", "read")}
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1")
        assert (await socket.hear())["status"] == 404

    assert "refused status=404 key='c1'" in caplog.text


@in_virtual_time
async def test_refused_frames_and_subscriptions_are_logged(
    log: FaultyLog, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[str, int]] = []

    def hear(sender: type, action: str, error: Any, **_: Any) -> None:
        heard.append((action, error.status_code))

    refused.connect(hear)
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_SUBSCRIPTIONS_PER_SOCKET": 1}
    async with Socket(CHAT) as socket:
        socket.say("nonsense", "c1")
        assert (await socket.hear())["status"] == 400
        socket.say("subscribe", "c1", live=True)
        assert (await socket.hear())["type"] == "subscribed"
        for seconds in (0, 0, 2):
            await asyncio.sleep(seconds)
            socket.say("subscribe", "c2", live=True)
            assert (await socket.hear_until("error"))[-1]["status"] == 429
    refused.disconnect(hear)

    assert "refused status=400 key='c1'" in caplog.text
    # A client can ask for it as fast as it can send.
    assert caplog.text.count("refused status=429 key='c2'") == 2
    assert heard == [("read", 429), ("read", 429)]


@in_virtual_time
async def test_channels_own_validator_may_stand_before_ours(log: FaultyLog) -> None:
    application = AllowedHostsOriginValidator(CHAT)
    good = {"host": "testserver", "origin": "http://testserver"}

    assert await Socket(application, headers=good).connect()
    assert not await Socket(application, headers={**good, "origin": "http://evil.example"}).connect()


class SessionChat(Chat):
    name = "sessions"
    get_owner = ResumableChatView.get_owner


SESSION_CHAT = SessionMiddlewareStack(StreamConsumer.as_asgi(view=SessionChat))


@pytest.fixture
def sessions(settings: Any) -> Any:
    """The class of sessions that live in the server."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    from django.contrib.sessions.backends.cache import SessionStore  # noqa: PLC0415 - of this setting

    return SessionStore


def cookie(key: str) -> dict[str, str]:
    return {"cookie": f"sessionid={key}"}


@in_virtual_time
async def test_a_visitor_without_a_session_is_told_to_load_a_page_first(log: FaultyLog, sessions: Any) -> None:
    async with Socket(SESSION_CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        error = await socket.hear()
        assert (error["type"], error["status"]) == ("error", 403)
        assert "Load the page" in error["error"]
    assert log.appended == []


@in_virtual_time
async def test_a_visitor_with_a_session_gets_an_id_there_and_finds_the_chat_again(
    log: FaultyLog, sessions: Any
) -> None:
    session = sessions()
    await session.aset("anything", "else")
    await session.asave()
    for _ in range(2):
        async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
            assert (await ask(socket))[-1]["reason"] == "finished"

    kept = sessions(session.session_key)
    assert await kept.aget("anything") == "else"
    owner = await kept.aget("resumable_stream_owner")
    assert log.ends(f"chat/sessions/visitor-{owner}/c1") == ["finished"] * 2


@in_virtual_time
async def test_a_page_may_give_its_visitor_an_id(log: FaultyLog, sessions: Any) -> None:
    request = HttpRequest()
    request.session = sessions()
    await SessionChat().remember_visitor(request)
    owner = await request.session.aget("resumable_stream_owner")
    await SessionChat().remember_visitor(request)
    await request.session.asave()

    async with Socket(SESSION_CHAT, headers=cookie(cast("str", request.session.session_key))) as socket:
        await ask(socket)
    assert log.ends(f"chat/sessions/visitor-{owner}/c1") == ["finished"]


@in_virtual_time
async def test_who_has_become_somebody_else_reads_and_starts_nothing_more(log: FaultyLog, sessions: Any) -> None:
    Chat.sources["c1"] = Producer("one")
    session = sessions()
    await session.aset("resumable_stream_owner", "owner")
    await session.asave()
    async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        await session.aset("resumable_stream_owner", "another")
        await session.asave()
        await asyncio.sleep(2)
        socket.say("start", "c2", body=QUESTION)
        refused = await socket.hear()
        assert (refused["type"], refused["status"], refused["stream"]) == ("error", 403, "c2")
        await asyncio.sleep(65)
        assert (await socket.hear_until("end"))[-1]["reason"] == "forbidden"
        assert await socket.hear_close() == 4401


@in_virtual_time
async def test_a_visitor_who_signs_in_reads_to_the_end_and_then_opens_another_socket(
    log: FaultyLog, sessions: Any
) -> None:
    producer = Chat.sources["c1"] = Producer("one")
    session = sessions()
    await session.aset("resumable_stream_owner", "owner")
    await session.asave()
    async with Socket(SESSION_CHAT, headers=cookie(session.session_key)) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        socket.say("subscribe", "c2", live=True)
        await socket.hear_until("caught_up")
        await session.acycle_key()  # As Django does at login.
        await asyncio.sleep(65)
        gone = (await socket.hear_until("end"))[-1]
        assert (gone["stream"], gone["reason"]) == ("c2", "shutdown")
        producer.give("two")
        producer.finish()
        assert (await socket.hear_until("end"))[-1]["reason"] == "finished"
        assert await socket.hear_close() == 1012


@in_virtual_time
async def test_a_user_comes_with_the_scope(log: FaultyLog) -> None:
    async with Socket(StreamConsumer.as_asgi(view=SessionChat), user=User(pk=7)) as socket:
        await ask(socket)
    assert log.ends("chat/sessions/user-7/c1") == ["finished"]


@in_virtual_time
async def test_without_any_middleware_the_reason_is_logged(log: FaultyLog, caplog: pytest.LogCaptureFixture) -> None:
    async with Socket(StreamConsumer.as_asgi(view=SessionChat), user=AnonymousUser()) as socket:
        socket.say("subscribe", "c1")
        assert (await socket.hear())["status"] == 500
    assert "AuthMiddlewareStack" in caplog.text


# -- when things go wrong ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_when_the_log_is_out_of_reach_the_client_is_told_once_and_goes_on_where_it_was(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT) as writer, Socket(CHAT) as reader:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        for method in ("read", "tail", "follow"):
            log.always(method, unavailable)
        reader.say("subscribe", "c1")
        error = await reader.hear()
        assert (error["type"], error["stream"], error["status"]) == ("error", "c1", 503)
        assert error["retry"] >= 1
        assert SECRET not in json.dumps(error)
        await asyncio.sleep(60)
        assert {frame["type"] for frame in [await reader.hear() for _ in range(reader.unheard)]} <= {"pong"}
        for method in ("read", "tail", "follow"):
            log.always(method, None)
        heard = await reader.hear_until("caught_up")
        assert chunks_of(heard) == ["one"]
        producer.finish()
        assert (await reader.hear_until("end"))[-1]["reason"] == "finished"


@in_virtual_time
async def test_who_follows_already_is_told_of_an_outage_and_of_nothing_else(log: FaultyLog) -> None:
    async with Socket(CHAT) as writer, Socket(CHAT) as reader:
        await ask(writer)
        log.always("follow", unavailable)
        reader.say("subscribe", "c1", live=True)
        await reader.hear_until("caught_up")
        await asyncio.sleep(40)
        told = [await reader.hear() for _ in range(reader.unheard)]
        assert [frame["type"] for frame in told if frame["type"] != "pong"] == ["error"]
        log.always("follow", None)
        await ask(writer)
        assert chunks_of(await reader.hear_until("end")) == ["Hello", " world"]


@in_virtual_time
async def test_a_subscribe_that_comes_while_the_process_ends_is_told_to_come_again(log: FaultyLog) -> None:
    gate = asyncio.Event()
    async with Socket(CHAT) as writer, Socket(CHAT) as reader:
        await ask(writer)
        log.then("tail", held(gate))
        log.then("read", held(gate))
        reader.say("subscribe", "c1", live=True)
        await settle()
        draining = asyncio.create_task(runtime().drain(0))
        await settle()
        reader.say("subscribe", "c2")
        gate.set()
        heard = [await reader.hear_until("end"), await reader.hear_until("end")]
        assert {(frames[-1]["reason"], frames[-1]["reconnect"]) for frames in heard} == {("shutdown", True)}
        assert await reader.hear_close() == 1012
        await draining


@in_virtual_time
async def test_a_server_that_sends_no_close_codes_but_an_applications_own_gets_one_of_these(log: FaultyLog) -> None:
    socket = Socket(CHAT)
    send = socket._send

    async def as_autobahn(message: Message) -> None:
        if message["type"] == "websocket.close" and not 3000 <= message["code"] <= 4999:
            raise Exception("invalid close code")
        await send(message)

    socket._send = as_autobahn  # type: ignore[method-assign]
    async with socket:
        socket.send_text("no json")
        assert await socket.hear_close() == 4007


@in_virtual_time
async def test_a_client_that_leaves_before_it_was_accepted_is_let_go(log: FaultyLog) -> None:
    socket = Socket(CHAT)
    socket.gone = True
    socket._incoming.put_nowait({"type": "websocket.connect"})
    await CHAT(socket.scope, socket._incoming.get, socket._send)

    assert not runtime().readers.taken


@in_virtual_time
@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("closed protocol")], ids=["as ASGI says", "as daphne"])
async def test_a_client_that_leaves_in_the_middle_is_no_error(log: FaultyLog, caplog: Any, error: Exception) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    socket = Socket(CHAT)
    socket.gone_error = error
    async with socket:
        socket.say("start", "c1", body=QUESTION)
        socket.say("subscribe", "c2", live=True)
        await socket.hear_until("chunk")
        socket.gone = True
        producer.give("two")
        socket.say("ping")
        socket.say("unsubscribe", "c2")
        socket.send_text("no json")
        await settle()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not runtime().readers.taken


@in_virtual_time
async def test_a_start_that_the_log_does_not_take_has_failed(log: FaultyLog) -> None:
    log.always("append", unavailable)
    async with Socket(CHAT) as socket:
        socket.say("start", "c1", body=QUESTION)
        error = await socket.hear()
    assert (error["type"], error["status"], "retry" in error) == ("error", 503, False)
    assert SECRET not in json.dumps(error)


def refuse_pages(log: FaultyLog, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let a reader's first page be gone so many times, though the stream seems to be there."""
    read, left = log.read, [None] * times

    async def refusing(stream: str, start: int, limit: int = 1000) -> Any:
        if limit == FIRST_PAGE_RECORDS and left:
            left.pop()
            raise RecordsTrimmedError(start + 1)
        return await read(stream, start, limit)

    monkeypatch.setattr(log, "read", refusing)


@in_virtual_time
async def test_a_stream_that_changes_under_its_reader_is_looked_for_again(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Socket(CHAT) as socket:
        await ask(socket)
        refuse_pages(log, monkeypatch, 3)
        socket.say("subscribe", "c1", **{"from": 0})
        heard = await socket.hear_until("end")
        assert chunks_of(heard) == ["Hello", " world"]
        assert [frame["type"] for frame in heard].count("subscribed") == 1


@in_virtual_time
async def test_a_stream_that_cannot_be_read_ends_as_unavailable(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Socket(CHAT) as socket:
        await ask(socket)
        refuse_pages(log, monkeypatch, 100)
        socket.say("subscribe", "c1", **{"from": 0})
        end = (await socket.hear_until("end"))[-1]
        assert (end["reason"], end["reconnect"]) == ("unavailable", True)


@in_virtual_time
async def test_at_shutdown_sockets_get_their_frames_and_are_told_to_come_again(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as reader, Socket(CHAT) as idle, Socket(CHAT) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        reader.say("subscribe", "c1")
        reader.say("subscribe", "c2", live=True)
        await reader.hear_until("caught_up")
        await runtime().drain(0)
        heard: list[Message] = []
        while len([frame for frame in heard if is_end(frame)]) < 2:
            heard.append(await reader.hear())
        ends = {frame["stream"]: frame for frame in heard if is_end(frame)}
        assert (ends["c1"]["reason"], ends["c1"]["cause"]) == ("interrupted", "shutdown")
        assert (ends["c2"]["reason"], ends["c2"]["reconnect"]) == ("shutdown", True)
        for socket in (reader, idle, writer):
            assert await socket.hear_close() == 1012
        late = Socket(CHAT)
        assert await late.connect()
        assert await late.hear_close() == 1012
        await late.disconnect()


@in_virtual_time
async def test_a_process_that_ends_does_not_wait_for_sockets_that_have_left(log: FaultyLog) -> None:
    for _ in range(3):
        async with Socket(CHAT) as socket:
            await ask(socket)
    before = asyncio.get_running_loop().time()
    await runtime().drain(0)
    assert asyncio.get_running_loop().time() == before


@in_virtual_time
async def test_an_idle_socket_is_closed_and_one_that_follows_or_speaks_is_not(log: FaultyLog) -> None:
    async with Socket(CHAT) as idle, Socket(CHAT) as speaking, Socket(CHAT) as following:
        following.say("subscribe", "c1", live=True)
        for _ in range(4):
            speaking.say("ping")
            await asyncio.sleep(100)
        assert await idle.hear_close() == 1001
        for socket in (speaking, following):
            socket.say("ping")
            await socket.hear_until("pong")


@in_virtual_time
async def test_a_silent_socket_gets_a_sign_of_life(log: FaultyLog) -> None:
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1", live=True)
        await socket.hear_until("caught_up")
        assert await socket.hear() == {"type": "pong"}
        assert await socket.hear() == {"type": "pong"}


# -- back-pressure -------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_socket_that_does_not_read_holds_nothing_and_then_gets_it_all(log: FaultyLog) -> None:
    text = "x" * 1000

    def frames() -> list[object]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one).__name__ == "Frame"]

    of_other_tests = frames()
    Chat.sources["c1"] = producer = Producer(text)
    async with Socket(CHAT) as writer, Socket(CHAT, room=1) as sleeper:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        sleeper.say("subscribe", "c1")
        await settle()
        for _ in range(50):
            producer.give(*[text] * 50)
            await writer.hear_until("chunk")
            await asyncio.sleep(1)
        producer.finish()
        heard = await writer.hear_until("end")
        assert len(chunks_of(heard)) == 2501 - 51
        await settle()
        # The server's one frame, the one that waits for room there, and nothing else of this stream.
        assert len(frames()) - len(of_other_tests) < 10
        rest = await sleeper.hear_until("end")
        assert len(chunks_of(rest)) == 2501
        assert rest[-1]["reason"] == "finished"
        ids = [frame["id"] for frame in rest if frame["type"] == "chunk"]
        assert ids == sorted(set(ids))


@in_virtual_time
async def test_the_socket_that_started_sees_chunks_early_and_may_stall_all_the_same(
    log: FaultyLog, settings: Any
) -> None:
    use_settings(settings, DELIVER="live")
    gate = asyncio.Event()
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(CHAT, room=2) as socket:
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("started")
        log.always("append", held(gate))
        assert (await socket.hear())["chunk"] == "one"
        producer.give(*(str(number) for number in range(100)))
        await asyncio.sleep(20)
        gate.set()
        log.always("append", None)
        await asyncio.sleep(20)
        producer.finish()
        heard = await socket.hear_until("end")
        assert chunks_of(heard) == [str(number) for number in range(100)]


@in_virtual_time
async def test_nothing_is_kept_to_be_seen_early_where_a_live_subscription_shows_it(
    log: FaultyLog, settings: Any
) -> None:
    def previews() -> list[object]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one).__name__ == "Preview"]

    use_settings(settings, DELIVER="live")
    Chat.sources["c1"] = producer = Producer("one")
    of_other_tests = previews()
    async with Socket(CHAT) as socket:
        socket.say("subscribe", "c1", live=True)
        socket.say("start", "c1", body=QUESTION)
        await socket.hear_until("chunk")
        assert previews() == of_other_tests
        producer.finish()
        await socket.hear_until("end")


@in_virtual_time
async def test_a_stalled_socket_with_many_streams_loses_and_repeats_nothing(log: FaultyLog) -> None:
    names = [f"c{number}" for number in range(5)]
    chance = random.Random(5)
    async with Socket(CHAT) as writer, Socket(CHAT, room=1) as sleeper:
        for name in names:
            Chat.sources[name] = of(*(f"{name}-{number}" for number in range(500)))
            await ask(writer, name)
            sleeper.say("subscribe", name, **{"from": 0})
        await asyncio.sleep(30)
        heard: list[Message] = []
        while len([frame for frame in heard if is_end(frame)]) < len(names):
            if chance.random() < 0.01:
                await asyncio.sleep(7)
            heard.append(await sleeper.hear())

    for name in names:
        assert chunks_of(heard, name) == [f"{name}-{number}" for number in range(500)]


@in_virtual_time
async def test_a_socket_with_many_streams_does_not_starve_one_with_one(log: FaultyLog) -> None:
    async with Socket(CHAT) as writer:
        for number in range(60):
            Chat.sources[f"c{number}"] = of(*["x"] * 300)
            await ask(writer, f"c{number}")
        Chat.sources["one"] = of(*["x"] * 300)
        await ask(writer, "one")

    order: list[str] = []

    def listen(socket: Socket, name: str) -> None:
        original = socket._send

        async def note(message: Message) -> None:
            order.append(name)
            await original(message)

        socket._send = note  # type: ignore[method-assign]

    greedy, modest = Socket(CHAT), Socket(CHAT)
    listen(greedy, "greedy")
    listen(modest, "modest")
    async with greedy, modest:
        for number in range(60):
            greedy.say("subscribe", f"c{number}", **{"from": 0})
        modest.say("subscribe", "one", **{"from": 0})
        await modest.hear_until("end")
        done_at = len(order) - order[::-1].index("modest")
    # In a fair world both had the same; a socket that is served stream by stream would have had sixty times as much.
    greedy_share = order[:done_at].count("greedy") / order[:done_at].count("modest")
    assert greedy_share < 4


@in_virtual_time
async def test_frames_are_encoded_once_and_followed_once_for_all_sockets(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    sockets = [Socket(CHAT) for _ in range(30)]
    encoded: list[int] = []
    encoder = type(StreamDialect().chunk.__globals__["_shared_encoder"]("other"))
    original = encoder.__call__
    monkeypatch.setattr(encoder, "__call__", lambda self, chunk: encoded.append(chunk.cursor) or original(self, chunk))
    async with Socket(CHAT) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        for socket in sockets:
            await socket.connect()
            socket.say("subscribe", "c1")
            await socket.hear_until("caught_up")
        encoded.clear()
        producer.give("two")
        for socket in sockets:
            assert (await socket.hear())["chunk"] == "two"
        assert len(encoded) == 1
        assert log.following == 1
        for socket in sockets:
            await socket.disconnect()


# -- nothing stays behind ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_socket_that_closes_leaves_nothing_behind(log: FaultyLog) -> None:
    Chat.sources["c1"] = Producer("one")
    async with Socket(CHAT) as writer:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        before = await tasks()
        for _ in range(20):
            async with Socket(CHAT) as socket:
                for name in ("c1", "c2", "c3"):
                    socket.say("subscribe", name, live=True)
                await socket.hear_until("subscribed")
        assert await tasks() == before
        assert runtime().readers.taken == {"ann": 1}
        assert len(runtime().hub) == 1
        assert len(runtime().departures) == 1


async def _come_and_go(number: int, chance: random.Random) -> None:
    """Open a socket, do something, and leave after any number of steps of the event loop."""
    socket = Socket(CHAT, room=chance.choice([None, 1, 3]))
    names = [f"c{chance.randrange(40)}" for _ in range(chance.randrange(1, 4))]
    socket._incoming.put_nowait({"type": "websocket.connect"})
    for name in names:
        kind = chance.choice(["subscribe", "subscribe", "start", "stop", "unsubscribe"])
        socket.say(kind, name, body=QUESTION, live=chance.random() < 0.5)
    task = asyncio.ensure_future(CHAT(socket.scope, socket._incoming.get, socket._send))
    for _ in range(chance.randrange(60)):
        await asyncio.sleep(0)
    if chance.random() < 0.2:
        task.cancel()  # As a server does that has lost patience.
    else:
        socket.gone = chance.random() < 0.5
        socket._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def _held_objects() -> list[object]:
    names = ("Connection", "Subscription", "Outlet", "Tasks", "Reader", "Frame", "StreamConsumer")
    return [one for one in gc.get_objects() if type(one).__name__ in names]


@pytest.mark.parametrize("seed", [1, 2])
@in_virtual_time
async def test_thousands_that_come_and_go_at_any_moment_leave_nothing_behind(
    log: FaultyLog, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    # A record of an error would hold everything that the error has passed through.
    caplog.set_level(logging.CRITICAL, logger="resumable_stream")
    # What a test before this one has left in somebody's hands is not counted.
    known = _held_objects()
    chance = random.Random(seed)
    for _ in range(10):
        await asyncio.gather(*(_come_and_go(number, chance) for number in range(100)))
    await asyncio.sleep(60)  # What was started comes to its end.
    gc.collect()

    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task.get_name() for task in left if "hub ticker" not in task.get_name()] == []
    assert not runtime().readers.taken
    assert len(runtime().hub) == 0
    assert len(runtime().registry) == 0
    assert not runtime().departures
    assert log.following == 0
    assert [one for one in _held_objects() if not any(one is other for other in known)] == []


# -- other dialects ------------------------------------------------------------------------------------------------


def send(request: str, chat: str = "c1") -> Message:
    return {
        "type": "send",
        "requestId": request,
        "id": chat,
        "trigger": "submit-message",
        "messages": [ASKED],
        "headers": {},
        "body": {},
    }


@pytest.mark.parametrize("way", ["path", "subprotocol"])
@in_virtual_time
async def test_the_ai_sdks_transport_is_answered_in_its_own_words(log: FaultyLog, way: str) -> None:
    by_path = StreamConsumer.as_asgi(view=SDKChat, dialects=[AISDKDialect])
    asked_for = () if way == "path" else ("unknown", "ai-sdk-chat")
    async with Socket(by_path if way == "path" else SDK_CHAT, subprotocols=asked_for) as socket:
        assert socket.subprotocol == (None if way == "path" else "ai-sdk-chat")
        socket.send(send("r1"))
        heard = await socket.hear_until("end")
        assert heard[0] == {"type": "start", "requestId": "r1"}
        assert [frame["sequence"] for frame in heard[1:-1]] == list(range(len(heard) - 2))
        assert heard[1]["chunk"]["type"] == "start"
        assert heard[-2]["chunk"] == {"type": "finish"}
        # The client may have been away when the answer ended.
        socket.send({"type": "resume", "requestId": "r2", "id": "c1", "headers": {}, "body": {}})
        again = await socket.hear_until("end")
        assert [frame.get("chunk") for frame in again] == [frame.get("chunk") for frame in heard]
        socket.send({"type": "resume", "requestId": "r3", "id": "c2", "headers": {}, "body": {}})
        assert await socket.hear() == {"type": "no-active", "requestId": "r3"}


@in_virtual_time
async def test_two_requests_for_one_chat_are_served_side_by_side_and_an_abort_only_leaves(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    async with Socket(SDK_CHAT, subprotocols=("ai-sdk-chat",)) as socket:
        socket.send(send("r1"))
        await socket.hear_until(lambda frame: frame.get("chunk", {}).get("delta") == "one")
        socket.send({"type": "resume", "requestId": "r2", "id": "c1", "headers": {}, "body": {}})
        await socket.hear_until(lambda frame: frame["requestId"] == "r2" and frame.get("sequence") == 2)
        socket.send({"type": "abort", "requestId": "r1"})
        await settle()
        producer.give("two")
        producer.finish()
        heard = await socket.hear_until("end")
        assert {frame["requestId"] for frame in heard} == {"r2"}
    assert log.ends("chat/consumers/ann/c1") == ["finished"]


@in_virtual_time
async def test_our_own_dialect_is_named_if_it_was_asked_for(log: FaultyLog) -> None:
    async with Socket(CHAT, subprotocols=("resumable-stream.v1",)) as socket:
        assert socket.subprotocol == "resumable-stream.v1"
    async with Socket(CHAT, subprotocols=("something.else",)) as socket:
        assert socket.subprotocol is None


@in_virtual_time
async def test_a_dialect_whose_clients_do_not_know_the_format_is_not_spoken(log: FaultyLog) -> None:
    assert aisdk.AISDKDialect.formats == {"aisdk"}
    socket = Socket(StreamConsumer.as_asgi(view=Chat, dialects=[AISDKDialect]))

    assert not await socket.connect()
    assert socket.close_code == 4403
    await socket.disconnect()


class JoiningDialect(StreamDialect):
    """Follows what the URL names, and closes after it."""

    def opening(self, query: Any) -> Any:
        return [Subscribe(key=query["join"], chat_id=query["join"])]

    def close_code(self, key: str, end: SubscriptionEnd) -> int:
        return 1000


@in_virtual_time
async def test_a_dialect_may_begin_with_the_url_and_close_after_an_end(log: FaultyLog) -> None:
    Chat.sources["c1"] = producer = Producer("one")
    joining = StreamConsumer.as_asgi(view=Chat, dialects=[JoiningDialect])
    async with Socket(CHAT) as writer, Socket(joining, path="/socket?join=c1") as socket:
        writer.say("start", "c1", body=QUESTION)
        await writer.hear_until("chunk")
        async with Socket(joining, path="/socket?join=c1") as late:
            assert chunks_of(await late.hear_until("chunk")) == ["one"]
            producer.finish()
            await late.hear_until("end")
            assert await late.hear_close() == 1000
        assert await socket.hear_close() == 1000


# -- over Channels' own communicators ------------------------------------------------------------------------------

# They wait for no more than a second, which has to be one of virtual time.


@in_virtual_time
async def test_channels_communicator_follows_an_answer(log: FaultyLog) -> None:
    communicator = WebsocketCommunicator(CHAT, "/socket")
    assert await communicator.connect() == (True, None)
    await communicator.send_json_to({"type": "start", "stream": "c1", "body": QUESTION})
    heard = [await communicator.receive_json_from()]
    while heard[-1]["type"] != "end":
        heard.append(await communicator.receive_json_from())
    await communicator.disconnect()

    assert chunks_of(heard) == ["Hello", " world"]


async def test_the_chat_of_the_setting_is_served_where_no_view_is_named(log: FaultyLog, settings: Any) -> None:
    use_settings(settings, CHAT_VIEW=f"{Chat.__module__}.Chat")
    async with Socket(StreamConsumer.as_asgi()) as socket:
        assert chunks_of(await ask(socket)) == ["Hello", " world"]


@in_virtual_time
async def test_without_any_view_the_server_is_told_what_is_missing(log: FaultyLog) -> None:
    communicator = WebsocketCommunicator(StreamConsumer.as_asgi(), "/socket")
    with pytest.raises(ImproperlyConfigured, match="CHAT_VIEW"):
        await communicator.connect()


# -- event streams -------------------------------------------------------------------------------------------------


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
