"""A visitor of the test project: keeps cookies, sends messages, gathers frames."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from ..support.patience import PATIENCE_SECONDS

Step = str | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of an event stream, as it came over the wire."""

    id: int
    data: Any
    event: str | None = None


@dataclass(slots=True)
class Gathered:
    """What one response gave, up to its end or its break."""

    frames: list[Frame] = field(default_factory=list)
    complete: bool = False
    """Whether the body ended properly, rather than by a broken connection."""

    @property
    def text(self) -> str:
        return text_of(frame.data for frame in self.frames)

    @property
    def types(self) -> list[str]:
        return [frame.data["type"] for frame in self.frames]

    @property
    def cursor(self) -> int:
        """Where to read on after the last frame."""
        return self.frames[-1].id if self.frames else 0


def text_of(chunks: Any) -> str:
    """Join the text deltas of AI SDK chunks."""
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


def user_message(*steps: Step) -> dict[str, Any]:
    """Make the message that has the scripted model play ``steps``."""
    return {"id": uuid4().hex, "role": "user", "parts": [{"type": "text", "text": json.dumps(steps)}]}


def new_id() -> str:
    return uuid4().hex


class Visitor:
    """One browser session; requests go to ``prefix`` unless they name another."""

    def __init__(self, base: str, prefix: str = "/api/chat", **options: Any) -> None:
        self.prefix = prefix
        self.http = httpx.AsyncClient(base_url=base, timeout=PATIENCE_SECONDS, **options)

    async def __aenter__(self) -> Self:
        await self.arrive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def arrive(self) -> None:
        """Take a CSRF token, unless cookies already bring one."""
        self.http.headers["X-CSRFToken"] = (await self.http.get("/csrf")).text

    def body(self, chat: str, *steps: Step, **more: Any) -> dict[str, Any]:
        return {"id": chat, "messages": [user_message(*steps)], "trigger": "submit-message", **more}

    @asynccontextmanager
    async def starting(self, chat: str, *steps: Step, **more: Any) -> AsyncIterator[httpx.Response]:
        """POST a message and give the response while its body is still coming."""
        async with self.http.stream("POST", self.prefix, json=self.body(chat, *steps, **more)) as response:
            yield response

    async def ask(self, chat: str, *steps: Step) -> Gathered:
        """POST a message and gather the whole answer."""
        async with self.starting(chat, *steps) as response:
            await expect(response, 200)
            return await gather(response)

    async def replay(self, chat: str, *, start: int | None = None) -> Gathered | None:
        """GET a replay and gather it; ``None`` for 204."""
        query = httpx.QueryParams({"id": chat, **({} if start is None else {"from": start})})
        async with self.http.stream("GET", f"{self.prefix}/replay", params=query) as response:
            if response.status_code == 204:
                return None
            await expect(response, 200)
            return await gather(response)

    async def resume(self, chat: str) -> Gathered | None:
        """GET what runs in the chat, from its start; ``None`` for 204."""
        async with self.http.stream("GET", f"{self.prefix}/{chat}/stream") as response:
            if response.status_code == 204:
                return None
            await expect(response, 200)
            return await gather(response)

    async def stop(self, chat: str, **more: Any) -> httpx.Response:
        return await self.http.request("DELETE", self.prefix, json={"id": chat, **more})

    async def messages(self, chat: str) -> dict[str, Any]:
        """GET the chat as it stands on the log."""
        response = await self.http.get(f"{self.prefix}/{chat}/messages")
        await expect(response, 200)
        told: dict[str, Any] = response.json()
        return told

    async def ended(self, chat: str) -> str:
        """Wait until the chat's newest generation has ended, and return its end reason."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                generations = (await self.messages(chat))["generations"]
                if generations and generations[-1]["end"] is not None:
                    reason: str = generations[-1]["end"]
                    return reason
                await asyncio.sleep(0.02)

    async def gate_reached(self, name: str) -> None:
        await expect(await self.http.get(f"/gates/{name}/reached"), 204)

    async def open_gate(self, name: str) -> None:
        await expect(await self.http.post(f"/gates/{name}/open"), 204)


async def expect(response: httpx.Response, status: int) -> None:
    """Fail with the body unless the response has this status."""
    if response.status_code != status:
        body = (await response.aread()).decode(errors="replace")[:1000]
        raise AssertionError(f"{response.request.method} {response.request.url}: {response.status_code} {body}")


class Reading:
    """The body of one response, read in stages."""

    def __init__(self, response: httpx.Response) -> None:
        self._frames = frames(response)
        self._gathered = Gathered()

    async def take(self, count: int) -> Gathered:
        """Gather so many more frames; the body must have them."""
        for _ in range(count):
            self._gathered.frames.append(await anext(self._frames))
        return self._gathered

    async def rest(self) -> Gathered:
        """Gather frames until the body ends or breaks."""
        try:
            async for frame in self._frames:
                self._gathered.frames.append(frame)
            self._gathered.complete = True
        except httpx.TransportError:
            self._gathered.complete = False
        return self._gathered


async def gather(response: httpx.Response) -> Gathered:
    """Gather frames until the body ends or breaks."""
    return await Reading(response).rest()


async def frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """Parse frames as they come: ``event: …`` if any, ``id: N``, ``data: JSON``; no comments, no ``retry``."""
    rest = b""
    async for part in response.aiter_bytes():
        *blocks, rest = (rest + part).split(b"\n\n")
        for block in blocks:
            if not block.startswith((b":", b"retry:")):
                yield _frame(block)


def _frame(block: bytes) -> Frame:
    # Anything more, or in another order, breaks one client or another.
    match = re.fullmatch(rb"(?:event: ([a-z_]+)\n)?id: ([0-9]+)\ndata: ([^\r\n]+)", block)
    assert match, block
    event, position, data = match.groups()
    return Frame(int(position), json.loads(data), event.decode() if event else None)
