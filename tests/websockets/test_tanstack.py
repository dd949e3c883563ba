"""The protocol of TanStack AI's websocket connection; the integration tests have its own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets.subprotocols.tanstack import TanStackDialect

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.sockets import Message, Socket
from ..support.virtual_time import in_virtual_time, settle

pytestmark = pytest.mark.log_settings(KEEPALIVE_SECONDS=15)


class Chat(ResumableChatView):
    name = "runs"
    format = "tanstack"
    source: Any = None

    def get_owner(self, request: Any) -> str:
        return str(request.headers.get("X-Owner", "ann"))

    def authorize(self, request: Any, chat_id: str, action: str) -> bool:
        return chat_id != "closed"

    def generate(self, turn: Turn) -> Any:
        return type(self).source()


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    Chat.source = lambda: of("Hello", " world")()


APPLICATION = StreamConsumer.as_asgi(view=Chat, dialects=[TanStackDialect])


def socket(query: str = "", **headers: str) -> Socket:
    return Socket(APPLICATION, path=f"/socket{query}", headers=headers)


def run_input(run_id: str = "r1", thread_id: str = "c1", text: str = "Hi") -> dict[str, Any]:
    messages = [{"id": f"u-{run_id}", "role": "user", "content": text}]
    return {"threadId": thread_id, "runId": run_id, "messages": messages, "state": {}, "tools": [], "context": []}


def is_end(frame: Message) -> bool:
    return frame.get("chunk", frame).get("type") in ("RUN_FINISHED", "RUN_ERROR")


def text_of(frames: list[Message]) -> str:
    chunks = [frame["chunk"] for frame in frames]
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "TEXT_MESSAGE_CONTENT")


async def until_closed(socket: Socket) -> list[Message]:
    """Return what is said until the socket closes."""
    heard: list[Message] = []
    try:
        while True:
            heard.append(await socket.hear())
    except AssertionError as closed:
        socket.close_code = closed.args[0]["code"]
    return heard


@in_virtual_time
async def test_a_conversation_has_one_run_after_the_other_on_one_socket(log: FaultyLog) -> None:
    async with socket("?runId=r1") as one:
        for run_id in ("r1", "r2"):
            one.send(run_input(run_id))
            heard = await one.hear_until(is_end)
            assert text_of(heard) == "HiHello world"
            assert [heard[0]["chunk"]["runId"], heard[-1]["chunk"]["runId"]] == [run_id, run_id]
            assert [frame["id"] for frame in heard] == sorted({frame["id"] for frame in heard}, key=int)


@in_virtual_time
async def test_the_same_run_again_is_no_second_one(log: FaultyLog) -> None:
    async with socket() as one, socket() as other:
        one.send(run_input())
        first = await one.hear_until(is_end)
        other.send(run_input())
        assert await other.hear_until(is_end) == first


@in_virtual_time
async def test_a_run_is_joined_or_gone_on_with_on_a_socket_that_closes_with_it(log: FaultyLog) -> None:
    Chat.source = running = Producer("Hello")
    async with socket() as one:
        one.send(run_input())
        begun = await one.hear_until(lambda frame: frame["chunk"].get("delta") == "Hello")
        async with socket("?offset=-1&runId=r1") as joined, socket(f"?runId=r1&offset={begun[1]['id']}") as resumed:
            await settle()
            running.give(" world")
            running.finish()
            whole = [*begun, *await one.hear_until(is_end)]
            assert await until_closed(joined) == whole
            assert await until_closed(resumed) == whole[2:]
            assert (joined.close_code, resumed.close_code) == (1000, 1000)
    # What is over can be joined too, and who has it all is told how it ended.
    async with socket("?offset=-1&runId=r1&threadId=c1") as late, socket(f"?runId=r1&offset={whole[-1]['id']}") as last:
        assert await until_closed(late) == whole
        assert await until_closed(last) == [whole[-1]["chunk"]]


@in_virtual_time
@pytest.mark.parametrize(
    "query",
    [
        "offset=-1&runId=r2",
        "offset=-1",
        "offset=x&runId=r1",
        "offset=999&runId=r1",
        "offset=-1&runId=a/b",
        "offset=-1&runId=r1&id=closed",
        "offset=-1&runId=r1&id=a/b",
    ],
)
async def test_a_run_that_is_not_to_be_had_closes_the_socket(log: FaultyLog, query: str) -> None:
    async with socket() as one:
        one.send(run_input())
        await one.hear_until(is_end)
    async with socket(f"?{query}") as refused:
        assert await until_closed(refused) == []
        assert refused.close_code == 1008


@in_virtual_time
async def test_a_run_of_somebody_else_is_not_to_be_had(log: FaultyLog) -> None:
    async with socket() as one:
        one.send(run_input())
        await one.hear_until(is_end)
    async with socket("?offset=-1&runId=r1", **{"x-owner": "bob"}) as refused:
        assert await refused.hear_close() == 1008


@in_virtual_time
async def test_an_abort_stops_the_run_and_no_other(log: FaultyLog) -> None:
    Chat.source = Producer("Half")
    async with socket() as one:
        one.send(run_input())
        await one.hear_until(lambda frame: frame["chunk"].get("delta") == "Half")
        one.send({"type": "abort", "runId": "r2"})
        one.send({"type": "abort", "runId": "r1"})
        (*_, last) = await one.hear_until(is_end)
        assert (last["chunk"]["type"], last["chunk"]["runId"]) == ("RUN_FINISHED", "r1")
    assert log.ends("chat/runs/ann/c1") == ["stopped"]


@in_virtual_time
async def test_abort_finds_its_run_after_a_repetition_of_it_was_refused(log: FaultyLog) -> None:
    Chat.source = Producer("Half")
    async with socket() as one:
        one.send(run_input())
        await one.hear_until(lambda frame: frame["chunk"].get("delta") == "Half")
        one.send({**run_input(), "messages": "none"})
        assert (await one.hear_until(is_end))[-1]["type"] == "RUN_ERROR"
        one.send({"type": "abort", "runId": "r1"})
        await settle()
    assert log.ends("chat/runs/ann/c1") == ["stopped"]


@in_virtual_time
async def test_what_cannot_be_started_is_an_error_of_its_run(log: FaultyLog) -> None:
    Chat.source = Producer("Half")
    async with socket() as one:
        one.send(run_input())
        await one.hear_until(lambda frame: frame["chunk"].get("delta") == "Half")
        one.send(run_input("r2"))
        busy = (await one.hear_until(is_end))[-1]
        one.send({**run_input("r3"), "messages": "none"})
        bad = (await one.hear_until(is_end))[-1]
        one.send({**run_input("r4"), "threadId": "a/b"})
        unnamed = (await one.hear_until(is_end))[-1]

    assert (busy["runId"], busy["message"][:32]) == ("r2", "An answer is already being writt")
    assert (bad["runId"], bad["type"]) == ("r3", "RUN_ERROR")
    assert unnamed["runId"] == "r4"


@in_virtual_time
async def test_a_quiet_socket_is_told_that_it_lives(log: FaultyLog) -> None:
    Chat.source = Producer()
    async with socket() as one:
        one.send(run_input())
        heard = await one.hear_until(lambda frame: frame.get("type") == "ping")

    assert heard[0]["chunk"]["type"] == "RUN_STARTED"


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    yield
    Chat.source = None
