"""What the tests of the S2 backend share: a backend on a mock, and read sessions that a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.records import FollowBatch
from tests.s2_lite import BASIN, TOKEN

Handler = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]

# Short enough for a test to see the end of them.
QUICK = {"retry_seconds": 0.05, "follow_retry_seconds": 0.1}


def mocked(handler: Handler, **options: Any) -> S2Backend:
    """Make a backend whose requests ``handler`` answers."""
    transport = httpx.MockTransport(handler)
    return S2Backend("default", {"basin": BASIN, "access_token": TOKEN, "transport": transport, **QUICK, **options})


@asynccontextmanager
async def following(backend: S2Backend, stream: str, start: int = 0) -> AsyncIterator[AsyncIterator[FollowBatch]]:
    """Follow a stream inside the block."""
    batches = backend.follow(stream, start)
    try:
        yield batches
    finally:
        await batches.aclose()


def refusal(status: int, code: str, message: str = "because", **headers: str) -> httpx.Response:
    """Make an error as S2 sends it."""
    return httpx.Response(status, json={"code": code, "message": message}, headers=headers)


def ack(start: int, end: int) -> httpx.Response:
    """Make the acknowledgement of an append."""
    positions = {"start": start, "end": end, "tail": end}
    return httpx.Response(200, json={name: {"seq_num": at, "timestamp": 1000} for name, at in positions.items()})


def row(seq_num: int, body: str = "") -> dict[str, Any]:
    """Make a record as S2 sends it: without a body if that is empty."""
    return {"seq_num": seq_num, "timestamp": 1000, **({"body": body} if body else {})}


def batch(*rows: dict[str, Any], tail: int | None = None) -> bytes:
    """Make the event that carries records."""
    data: dict[str, Any] = {"records": rows}
    if tail is not None:
        data["tail"] = {"seq_num": tail, "timestamp": 1000}
    return _event("batch", data)


def ping(tail: int) -> bytes:
    """Make the event that says that everything below ``tail`` was sent."""
    return _event("ping", {"timestamp": 2000, "tail": {"seq_num": tail, "timestamp": 1000}})


def error_event(code: str) -> bytes:
    """Make the event by which S2 gives up."""
    return _event("error", {"code": code, "message": "because"})


DONE = b"data: [DONE]\n\n"


class Torn(httpx.AsyncByteStream):
    """A body that sends ``parts`` and then breaks off."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        raise httpx.ReadError("connection reset")

    async def aclose(self) -> None:
        self.is_closed = True


class Open(httpx.AsyncByteStream):
    """A body that sends ``parts`` and then stays open."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.is_closed = True


def session(body: bytes | httpx.AsyncByteStream) -> httpx.Response:
    """Make the answer that opens a read session."""
    headers = {"content-type": "text/event-stream"}
    if isinstance(body, bytes):
        return httpx.Response(200, content=body, headers=headers)
    return httpx.Response(200, stream=body, headers=headers)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
