"""The example project's client of OpenAI-compatible servers, against a small server that speaks their protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from example_project.openai_model import ModelServerError, OpenAIModel, chat_messages

from ..support.patience import PATIENCE_SECONDS
from ..support.tcp import tcp_server

Reply = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class ModelServer:
    """Answers each request by its ``reply``, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.reply: Reply = says("Hello")
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}
        self.client_left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        self.path = head[0].split()[1]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.body = json.loads(await reader.readexactly(int(self.headers["content-length"])))
        await self.reply(writer)
        if not writer.is_closing():
            # Until the client hangs up.
            await reader.read()
            self.client_left.set()
            writer.close()


def event(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}).encode() + b"\n\n"


FINISH = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def sends(*parts: bytes, then_close: bool = True) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_close:
            writer.close()

    return reply


def says(*words: str) -> Reply:
    return sends(STREAM_HEAD, *(event(content=word) for word in words), FINISH, DONE)


def refuses(status: int, text: str) -> Reply:
    return sends(f"HTTP/1.1 {status} No\r\nConnection: close\r\n\r\n{text}".encode())


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    server = ModelServer()
    async with tcp_server(server.serve) as listening:
        server.url = f"{listening.url}/v1"
        yield server


def model(server: ModelServer, **options: str) -> OpenAIModel:
    return OpenAIModel(**{"model": "m", "base_url": server.url, "api_key": "secret", **options})


USER = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}


async def ask(server: ModelServer) -> list[Any]:
    return [item async for item in model(server).answer([USER])]


async def test_the_words_of_the_model_are_passed_on(server: ModelServer) -> None:
    server.reply = says("Good ", "morning", "")

    assert await ask(server) == ["Good ", "morning"]
    assert server.path == "/v1/chat/completions"
    assert server.headers["authorization"] == "Bearer secret"
    assert server.body == {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


async def test_a_server_without_keys_gets_none(server: ModelServer) -> None:
    items = [item async for item in model(server, api_key="").answer([USER])]

    assert items == ["Hello"]
    assert "authorization" not in server.headers


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_becomes_a_part_of_its_own(server: ModelServer, name: str) -> None:
    deltas = [{name: "Hm"}, {name: "m."}, {"content": "Yes."}, {name: "But"}]
    server.reply = sends(STREAM_HEAD, *(event(**delta) for delta in deltas), FINISH)

    assert await ask(server) == [
        {"type": "reasoning-start", "id": "reasoning-1"},
        {"type": "reasoning-delta", "id": "reasoning-1", "delta": "Hm"},
        {"type": "reasoning-delta", "id": "reasoning-1", "delta": "m."},
        {"type": "reasoning-end", "id": "reasoning-1"},
        "Yes.",
        {"type": "reasoning-start", "id": "reasoning-2"},
        {"type": "reasoning-delta", "id": "reasoning-2", "delta": "But"},
        {"type": "reasoning-end", "id": "reasoning-2"},
    ]


async def test_comments_and_events_without_choices_are_passed_over(server: ModelServer) -> None:
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    server.reply = sends(STREAM_HEAD, b": ping\n\n", event(content="Yes"), usage, b'data: {"object": "x"}\n\n', DONE)

    assert await ask(server) == ["Yes"]


async def test_leaving_the_answer_hangs_up_at_once(server: ModelServer) -> None:
    server.reply = sends(STREAM_HEAD, event(content="One"), then_close=False)

    async with aclosing(model(server).answer([USER])) as answer:
        assert await anext(answer) == "One"

    await asyncio.wait_for(server.client_left.wait(), PATIENCE_SECONDS)


async def test_cancelling_whoever_waits_for_the_next_word_hangs_up(server: ModelServer) -> None:
    server.reply = sends(STREAM_HEAD, event(content="One"), then_close=False)
    came = asyncio.Event()

    async def read() -> None:
        async for _ in model(server).answer([USER]):
            came.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(came.wait(), PATIENCE_SECONDS)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.client_left.wait(), PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "OPENAI_API_KEY"), (404, "OPENAI_MODEL"), (429, "quota"), (500, "answered 500")],
)
async def test_a_refusal_says_what_to_do_and_nothing_of_what_the_server_wrote(
    server: ModelServer, status: int, hint: str
) -> None:
    server.reply = refuses(status, "Incorrect key: sk-123")

    with pytest.raises(ModelServerError, match=hint) as caught:
        await ask(server)

    assert "sk-123" not in str(caught.value)
    assert "sk-123" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"", "broke off"),
        (b"data: {oops\n\n", "not JSON"),
        (b"data: [1]\n\n", "not an event"),
        (b'data: {"error": {"message": "overloaded"}}\n\n', "reported an error"),
    ],
    ids=["cut off", "no JSON", "no object", "error event"],
)
async def test_an_answer_that_is_not_whole_is_an_error(server: ModelServer, tail: bytes, message: str) -> None:
    server.reply = sends(STREAM_HEAD, event(content="Half an"), tail)

    async with aclosing(model(server).answer([USER])) as answer:
        assert await anext(answer) == "Half an"
        with pytest.raises(ModelServerError, match=message):
            await anext(answer)


async def test_a_server_that_is_not_there_is_an_error_for_people() -> None:
    absent = OpenAIModel(model="m", base_url="http://127.0.0.1:1/v1")

    with pytest.raises(ModelServerError, match="cannot be reached"):
        [item async for item in absent.answer([USER])]


def test_messages_are_sent_with_their_text_and_without_what_has_none() -> None:
    messages = [
        {"role": "system", "parts": [{"type": "text", "text": "Be kind."}]},
        USER,
        {"role": "assistant", "parts": [{"type": "reasoning", "text": "Hm"}, {"type": "text", "text": "Hello."}]},
        {"role": "assistant", "parts": [{"type": "tool-search", "toolCallId": "1"}]},
    ]

    assert chat_messages(messages) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
    ]
