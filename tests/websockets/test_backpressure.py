"""Sockets whose clients do not read, and what sockets leave behind when they close."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from typing import Any

import pytest

from resumable_stream.runtime import runtime
from resumable_stream.websockets.subprotocols.native import StreamDialect

from ..support.logs import FaultyLog, held
from ..support.producers import Producer, of
from ..support.sockets import Message, Socket, chunks_of
from ..support.tasks import running_tasks
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, Chat, ask, is_end, tasks, use_settings

pytestmark = pytest.mark.usefixtures("fresh_chats")


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
    names = ("Connection", "Subscription", "Sender", "Tasks", "Reader", "Frame", "StreamConsumer")
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

    left = [task for task in running_tasks() if task is not asyncio.current_task()]
    assert [task.get_name() for task in left if "hub ticker" not in task.get_name()] == []
    assert not runtime().readers.taken
    assert len(runtime().hub) == 0
    assert len(runtime().registry) == 0
    assert not runtime().departures
    assert log.following == 0
    assert [one for one in _held_objects() if not any(one is other for other in known)] == []
