"""Logs out of reach, clients that leave and processes that end, as a socket's client sees them."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from resumable_stream.exceptions import RecordsTrimmedError
from resumable_stream.readers.reader import FIRST_PAGE_RECORDS
from resumable_stream.runtime import runtime

from ..support.logs import SECRET, FaultyLog, held, unavailable
from ..support.producers import Producer
from ..support.sockets import Message, Socket, chunks_of
from ..support.virtual_time import in_virtual_time, settle
from .chats import CHAT, QUESTION, Chat, ask, is_end

pytestmark = pytest.mark.usefixtures("fresh_chats")


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
