"""A model provider on a loopback port, which streams events when a test says so and notices who hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from .aws_events import CONTENT_TYPE, encode_events
from .patience import PATIENCE_SECONDS
from .tcp import tcp_server

RESPONSE = {"id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "status": "in_progress"}
RESPONSE_START: list[dict[str, Any]] = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE},
    {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []},
    },
    {
        "type": "response.content_part.added",
        "sequence_number": 2,
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
        "part": {"type": "output_text", "text": "", "annotations": []},
    },
]
MESSAGE = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
MESSAGES_START: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
]
CHAT_DELTA = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}],
}
RESPONSE_DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 3,
    "item_id": "i",
    "output_index": 0,
    "content_index": 0,
    "delta": "word ",
    "logprobs": [],
}
MESSAGES_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}
GEMINI_DELTA = {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "word "}]}}]}
OLLAMA_DELTA = {"model": "m", "message": {"role": "assistant", "content": "word "}, "done": False}
BEDROCK_DELTA = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "word "}}}


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode()


def _data(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


class Answer(NamedTuple):
    start: list[dict[str, Any]]
    """What opens it."""
    delta: dict[str, Any]
    """What then comes for ever."""
    content_type: str = "text/event-stream"
    encode: Callable[[dict[str, Any]], bytes] = _sse


ANSWERS = {
    "/chat/completions": Answer([], CHAT_DELTA),
    "/responses": Answer(RESPONSE_START, RESPONSE_DELTA),
    "/messages": Answer(MESSAGES_START, MESSAGES_DELTA),
    ":streamgeneratecontent": Answer([], GEMINI_DELTA, encode=_data),
    "/api/chat": Answer([], OLLAMA_DELTA, "application/x-ndjson", _line),
    "/converse-stream": Answer([], BEDROCK_DELTA, CONTENT_TYPE, lambda event: encode_events([event])),
}
"""By the end of a request's path."""


class Provider:
    """Answers each request with one delta, and with another for each :meth:`give`, until the client hangs up."""

    def __init__(self) -> None:
        self.url = ""
        self.given = 0
        """Events that were written to clients which had not hung up."""
        self._open: dict[asyncio.StreamWriter, Answer] = {}
        """The connections, and what is answered on each."""
        self._is_alone = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many clients read an answer."""
        return len(self._open)

    def give(self, event: dict[str, Any] | None = None) -> None:
        """Send one more delta, or ``event``, to every client that is still connected."""
        for writer, answer in self._open.items():
            self._write(writer, answer.encode(event or answer.delta))

    async def left_alone(self) -> None:
        """Wait until every client has hung up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._is_alone.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = await self._read_request(reader)
        answer = next(answer for end, answer in ANSWERS.items() if path.endswith(end))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for event in [*answer.start, answer.delta]:
            self._write(writer, answer.encode(event))
        self._open[writer] = answer
        self._is_alone.clear()
        try:
            await reader.read(1)  # Nothing comes but the end of the connection.
        finally:
            del self._open[writer]
            if not self._open:
                self._is_alone.set()

    async def _read_request(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        return head.split(" ")[1].partition("?")[0]

    def _write(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.given += 1


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run a provider on a free port."""
    found = Provider()
    async with tcp_server(found.serve) as server:
        found.url = server.url
        yield found
