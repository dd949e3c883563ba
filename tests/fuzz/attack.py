"""Attacks a real server, in this process, with requests, frames, records and producers' items of every format."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import include, path
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.exceptions import ResumableStreamError
from resumable_stream.protocol.layout import Token
from resumable_stream.records import Record
from resumable_stream.runtime import Runtime, begin_anew, runtime
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets.subprotocols.aisdk import AISDKDialect
from resumable_stream.websockets.subprotocols.native import StreamDialect
from resumable_stream.websockets.subprotocols.tanstack import TanStackDialect

from .values import FORMATS, IDS, Maker, to_json

WORKERS = 6
CHATS = ("chat", "c2", "c3", "c/d", "")
FRAME_TYPES = (
    "subscribe",
    "unsubscribe",
    "start",
    "stop",
    "ping",
    "run",
    "resume",
    "abort",
    "chat",
    "join",
    "constructor",
)
DIALECTS = {"own": StreamDialect, "aisdk": AISDKDialect, "tanstack": TanStackDialect}
PATIENCE_SECONDS = 20
FOREIGN_LEASE = 5

current = Random(0)
"""Where producers get their items from."""


class Chat(ResumableChatView):
    """What all formats have in common."""

    def get_owner(self, request: Any) -> str:
        return "fuzz"

    def get_stream_name(self, request: Any, chat_id: str) -> str:
        return f"fuzz/{self.name}/{chat_id}"

    async def generate(self, turn: Turn) -> AsyncIterator[Any]:
        make = Maker(Random(current.random()))
        for _ in range(current.randrange(6)):
            yield item(make)
            await asyncio.sleep(0)

    async def on_end(self, turn: Turn, end: Any) -> None:
        """Have every answer folded."""


def item(make: Maker) -> Any:
    """Make what a producer yields; now and then nothing that any format takes."""
    with suppress(ValueError):
        chunk = json.loads(make.chunk())
        return make.one_of((chunk, make.one_of(("Hi", "a\n\nb", "\ud83d", "data: {}\n\n")), b"data: %b\n\n" % b"{}"))
    return make.one_of((None, "text", 5, object()))


VIEWS = {name: type(f"{name.title()}Fuzz", (Chat,), {"name": f"fuzz-{name}", "format": name}) for name in FORMATS}
urlpatterns = [path(f"{name}/chat", include(view.urls())) for name, view in VIEWS.items()]
"""A URLconf: name this module in ``ROOT_URLCONF``."""


@dataclass
class Report:
    """What came of an attack."""

    statuses: Counter[int] = field(default_factory=Counter)
    closes: Counter[int | None] = field(default_factory=Counter)
    records: int = 0
    frames: int = 0
    """Sent over websockets."""
    heard: int = 0
    """Frames that came back."""
    faults: list[str] = field(default_factory=list)
    """What must not be; empty if all is well."""


def application() -> Any:
    """Return what is attacked."""
    sockets = [
        path(f"{name}/socket/{dialect}", StreamConsumer.as_asgi(view=view, dialects=[kind]))
        for name, view in VIEWS.items()
        for dialect, kind in DIALECTS.items()
    ]
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter(sockets)})


class _Attacker:
    def __init__(self, seed: float, port: int, report: Report) -> None:
        self._random = Random(seed)
        self._make = Maker(self._random, oddity=0.06)
        self._port = port
        self._report = report

    async def run(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=PATIENCE_SECONDS) as client:
            while loop.time() < until:
                name = self._random.choice(FORMATS)
                act = self._random.choice((self._post, self._post, self._read, self._read, self._stop, self._write))
                if self._random.random() < 0.15:
                    await self._talk(name)
                else:
                    await act(client, name)

    async def _post(self, client: httpx.AsyncClient, name: str) -> None:
        content = to_json(self._make.body())
        if self._make.is_odd():
            content = content[: self._random.randrange(len(content) + 1)]
        headers = {"Content-Type": "application/json"} | ({"Last-Event-ID": "1"} if self._make.is_odd() else {})
        await self._ask(client, "POST", f"/{name}/chat", content=content.encode(errors="replace"), headers=headers)

    async def _read(self, client: httpx.AsyncClient, name: str) -> None:
        chat = self._random.choice(CHATS[:3])
        query = self._random.choice(("", "?from=0", "?from=3", "?live=1", "?from=-1", "?wait=0", "?from=0&wait=0.1"))
        where = self._random.choice(("stream", "messages", "messages"))
        if name == "tanstack" and self._make.is_odd():
            await self._ask(client, "GET", f"/{name}/chat?threadId={chat}&limit=2")
        else:
            await self._ask(client, "GET", f"/{name}/chat/{chat}/{where}{query}")

    async def _stop(self, client: httpx.AsyncClient, name: str) -> None:
        chat = self._random.choice(CHATS)
        await self._ask(
            client, "DELETE", f"/{name}/chat", json={"id": chat, "generation": self._random.choice((None, 5))}
        )

    async def _ask(self, client: httpx.AsyncClient, method: str, url: str, **options: Any) -> None:
        with suppress(TimeoutError, httpx.RemoteProtocolError):
            # Torn bodies are how readers are told that something was amiss; live ones do not end.
            async with asyncio.timeout(0.5 + self._random.random()), client.stream(method, url, **options) as answer:
                self._report.statuses[answer.status_code] += 1
                if answer.status_code >= 500 and answer.status_code != 503:
                    self._report.faults.append(f"{answer.status_code} for {method} {url}")
                body = await answer.aread()
                if answer.headers.get("Content-Type") == "application/json":
                    json.loads(body, parse_constant=self._report.faults.append)

    async def _write(self, _client: httpx.AsyncClient, name: str) -> None:
        """Write what another program might have written."""
        records = [Record("", (("rs", "user"), ("rs-json", to_json(self._make.message()))))]
        records += [Record(chunk) for _ in range(5) if _is_text(chunk := self._make.chunk())]
        if self._random.random() < 0.3:
            records.append(Record("", (("rs", "end"), ("rs-end", self._make.one_of(IDS[:4])))))
        fence = self._random.choice(("", "", "end-finished", "foreign", Token.owner("A" * 20, FOREIGN_LEASE).text))
        if fence:
            records.insert(self._random.choice((0, len(records))), Record.fence(fence))
        self._report.records += len(records)
        with suppress(ResumableStreamError):
            await backends["default"].append(f"fuzz/fuzz-{name}/{self._random.choice(CHATS[:3])}", records)

    async def _talk(self, name: str) -> None:
        url = f"ws://127.0.0.1:{self._port}/{name}/socket/{self._random.choice(tuple(DIALECTS))}"
        with suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
            async with asyncio.timeout(3), connect(url, close_timeout=1) as socket:
                for _ in range(self._random.randrange(12)):
                    await socket.send(to_json(self._frame()))
                    self._report.frames += 1
                    if self._random.random() < 0.5:
                        await self._listen(socket)
            self._report.closes[socket.close_code] += 1
            if socket.close_code == 1011:
                self._report.faults.append(f"1011 at {url}")

    async def _listen(self, socket: ClientConnection) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                while True:
                    json.loads(await socket.recv(), parse_constant=self._report.faults.append)
                    self._report.heard += 1

    def _frame(self) -> Any:
        if self._make.is_odd():
            return self._make.json_value()
        chat = self._random.choice(CHATS)
        return {
            "type": self._random.choice(FRAME_TYPES),
            **{
                name: chat
                for name in ("stream", "requestId", "chatId", "runId", "threadId")
                if self._random.random() < 0.7
            },
            **({"body": self._make.body()} if self._random.random() < 0.6 else {}),
            **self._make.made(2, rarely="from messages message offset generation"),
        }


def _is_text(chunk: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(chunk.encode())
    return False


class _Watch(logging.Handler):
    """Notes what nobody may log: tasks whose errors nobody took, folds of ours that raised, tracebacks of doors."""

    FAULTS = ("never retrieved", "never awaited", "cannot fold", "Exception in ASGI", "Internal Server Error")

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(fault in text for fault in self.FAULTS):
            error = record.exc_info[1] if record.exc_info else None
            self._report.faults.append(f"{record.name}: {text[:300]} {error!r}")


async def attack(port: int, seconds: float, seed: int) -> Report:
    """Attack the server at ``port``, which runs in this event loop, and look at what is left afterwards."""
    report = Report()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: report.faults.append(f"{context}"))
    watch = _Watch(report)
    logging.getLogger().addHandler(watch)
    current.seed(seed)
    begin_anew()
    here = runtime()
    try:
        attackers = [_Attacker(seed * WORKERS + number, port, report) for number in range(WORKERS)]
        async with asyncio.TaskGroup() as tasks:
            for attacker in attackers:
                tasks.create_task(attacker.run(loop.time() + seconds))
        # Every reader has gone, and what runs ends by itself.
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while _left(here):  # noqa: ASYNC110 (no registry tells when it is empty)
                    await asyncio.sleep(0.05)
        # An error that nobody took is told of when its task is collected.
        gc.collect()
        await asyncio.sleep(0)
        report.faults += [f"left over: {name}" for name in _left(here)]
    finally:
        logging.getLogger().removeHandler(watch)
        await backends["default"].close()
    return report


def _left(here: Runtime) -> list[str]:
    """Name the registries of the process that are not empty."""
    registries = {
        "generations": len(here.registry),
        "tasks": here.registry._tasks,
        "follows": len(here.hub),
        "readers": here.readers,
        "sockets": here.sockets,
        "starts": here.arrivals._starting,
        "stops": here.arrivals._stops,
        "loads": len(here.loads.shared),
    }
    return [name for name, registry in registries.items() if registry]
