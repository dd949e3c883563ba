"""Our own subprotocol: what a client asks on a socket, and what it hears."""

from __future__ import annotations

import asyncio
import json

import pytest

from resumable_stream.runtime import runtime

from ..support.logs import SECRET, FaultyLog, held, unavailable
from ..support.producers import Producer, of
from ..support.sockets import Message, Socket, chunks_of
from ..support.virtual_time import in_virtual_time, settle
from .chats import ASKED, CHAT, QUESTION, SDK_CHAT, Chat, ask, is_end

pytestmark = pytest.mark.usefixtures("fresh_chats")


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
