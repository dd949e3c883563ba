"""A model provider on a loopback port, which streams events when a test says so and notices who hangs up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

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
ANSWERS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "/chat/completions": ([], CHAT_DELTA),
    "/responses": (RESPONSE_START, RESPONSE_DELTA),
    "/messages": (MESSAGES_START, MESSAGES_DELTA),
}
"""What opens an answer, and what then comes for ever, for the end of a request's path."""


class Provider:
    """Answers each request with one delta, and with another for each :meth:`give`, until the client hangs up."""

    def __init__(self) -> None:
        self.url = ""
        self.given = 0
        """Events that were written to clients which had not hung up."""
        self._open: dict[asyncio.StreamWriter, dict[str, Any]] = {}
        """The connections, and the delta that comes again and again on each."""
        self._is_alone = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many clients read an answer."""
        return len(self._open)

    def give(self, event: dict[str, Any] | None = None) -> None:
        """Send one more delta, or ``event``, to every client that is still connected."""
        for writer, delta in self._open.items():
            self._write(writer, event or delta)

    async def left_alone(self) -> None:
        """Wait until every client has hung up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._is_alone.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = await self._read_request(reader)
        start, delta = next(answer for end, answer in ANSWERS.items() if path.endswith(end))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in [*start, delta]:
            self._write(writer, event)
        self._open[writer] = delta
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

    def _write(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        body = f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.given += 1


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run a provider on a free port."""
    found = Provider()
    async with tcp_server(found.serve) as server:
        found.url = server.url
        yield found
