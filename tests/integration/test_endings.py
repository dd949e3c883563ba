"""How processes end, on every server that the manual names: by SIGTERM, and recycled after so many requests.

Whatever the server does, an answer in progress has its grace (also if its reader has gone), what is left ends as
interrupted on the log before the process goes, and readers who wait are sent away. All servers run at once, once with
all kinds of readers and once with nobody left; the tests below look at what has become of each. What holds here is what
the table in docs/deployment.md says.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.protocol.layout import Chunk, Decoder, Ended

from ..support.patience import PATIENCE_SECONDS
from .conftest import running
from .log import Log, sqlite_log, strays_of
from .servers import Server, scripted_server
from .sockets import Socket, socket_of
from .visitor import Gathered, Reading, Visitor, expect, new_id

SERVERS = ("daphne", "uvicorn", "uvicorn-workers", "gunicorn-uvicorn", "gunicorn-asgi", "hypercorn", "granian")
MAX_REQUESTS = 15
RECYCLED = {
    "uvicorn": ["--limit-max-requests", str(MAX_REQUESTS)],
    "gunicorn-uvicorn": ["--max-requests", str(MAX_REQUESTS)],
    "gunicorn-asgi": ["--max-requests", str(MAX_REQUESTS)],
    "hypercorn": ["--max-requests", str(MAX_REQUESTS)],
    # At SIGHUP. In the same way after a minute at the earliest (--workers-lifetime), which is too long for a test.
    "granian": ["--respawn-interval", "0.1"],
}
MAX_MEMORY = ["--workers-max-rss", "400", "--rss-sample-interval", "1"]
"""Has granian recycle a worker that takes more than so many MiB."""
SHORT = {"count": 60, "every_ms": 25}
"""An answer that ends within the grace."""
SHORT_TEXT = "".join(f"{number} " for number in range(60))
ENDLESS = {"count": 1_000_000, "every_ms": 25}
GRACE_SECONDS = 6


@dataclass
class Ending:
    """What became of everybody in a process that ended."""

    watched: Gathered = field(default_factory=Gathered)
    """A short answer, its reader attached."""
    endless: Gathered = field(default_factory=Gathered)
    """An endless answer, its reader attached."""
    live: Gathered = field(default_factory=Gathered)
    """A reader who waits for what comes next in a chat."""
    socket_is_closed: bool = False
    """Whether the server has closed a websocket that follows a chat."""
    polled: httpx.Response | None = None
    """The answer to a long poll that had nothing to get."""
    old_http: bytes = b""
    """The status line to a request over HTTP/1.0 that asks for a stream."""
    refusal: int | None = None
    """The status of a message that was sent while the process was ending; ``None`` if it got none."""
    forsaken: list[tuple[str, str | None]] = field(default_factory=list)
    """Reason and cause of the end, on the log, of a short answer whose reader has gone; the process is gone too."""
    interrupted: list[tuple[str, str | None]] = field(default_factory=list)
    """Those of the endless answer, likewise."""


@dataclass(frozen=True)
class Case:
    """A way to end a server."""

    kind: str
    is_recycled: bool = False
    has_lifespan: bool = True
    has_grown: bool = False
    """Whether it is recycled because it takes too much memory."""

    def __str__(self) -> str:
        way = "grown" if self.has_grown else "recycled" if self.is_recycled else "sigterm"
        return f"{way}-{self.kind}{'' if self.has_lifespan else '-without-lifespan'}"

    @asynccontextmanager
    async def server(self, directory: Path) -> AsyncIterator[Server]:
        """Start the server."""
        directory.mkdir()  # noqa: ASYNC240 - of a local disk
        application = "application" if self.has_lifespan else "application_without_lifespan"
        server = scripted_server(
            self.kind,
            directory,
            log=sqlite_log(directory),
            application=f"tests.integration.project.asgi:{application}",
            options=self._options(),
            SHUTDOWN_GRACE_SECONDS=GRACE_SECONDS,
        )
        # In threads: they wait, and the others' clocks run meanwhile.
        context = running(server)
        await asyncio.to_thread(context.__enter__)
        try:
            yield server
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)

    def _options(self) -> list[str]:
        return (RECYCLED[self.kind] if self.is_recycled else []) + (MAX_MEMORY if self.has_grown else [])

    async def end(self, server: Server) -> None:
        """Have the server end its worker."""
        if not self.is_recycled:
            server.terminate()
            return
        if self.has_grown:
            async with httpx.AsyncClient(base_url=server.base, timeout=PATIENCE_SECONDS) as client:
                await expect(await client.get("/memory/400"), 204)
            return
        if self.kind == "granian":
            os.kill(server.pid, signal.SIGHUP)
            return
        async with httpx.AsyncClient(base_url=server.base) as client:
            for _ in range(MAX_REQUESTS):
                with suppress(httpx.TransportError):
                    await client.get("/csrf", headers={"Connection": "close"})

    async def wait(self, server: Server) -> None:
        """Wait until the process is gone that had all the work, or until the one in its place serves."""
        if not self.is_recycled or self.kind == "uvicorn":
            await asyncio.to_thread(server.wait)
            return
        async with httpx.AsyncClient(base_url=server.base, timeout=PATIENCE_SECONDS) as client:
            served = None
            while served is None:
                with suppress(httpx.TransportError):
                    served = await client.get("/csrf")
            await expect(served, 200)


MOST_SERVERS = 6
CASES = [
    *(Case(kind) for kind in SERVERS),
    *(Case(kind, is_recycled=True) for kind in RECYCLED),
    Case("granian", is_recycled=True, has_grown=True),
]
WITHOUT_LIFESPAN = [
    Case("hypercorn", has_lifespan=False),
    Case("uvicorn", is_recycled=True, has_lifespan=False),
    Case("gunicorn-asgi", is_recycled=True, has_lifespan=False),
]
# They take signals through their event loop.
BY_SIGNAL_ALONE = [Case("gunicorn-asgi", has_lifespan=False), Case("granian", has_lifespan=False)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
Results = dict[Case, Any]


@pytest.fixture(scope="module")
def with_readers(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """End every server in every way while there are all kinds of readers."""
    return at_once(CASES, ended_with_readers, tmp_path_factory.mktemp("readers"))


@pytest.fixture(scope="module")
def with_nobody(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """End every server in every way while it writes one answer, whose reader has gone; give that answer's end."""
    return at_once([*CASES, *BY_SIGNAL_ALONE, *WITHOUT_LIFESPAN], ended_with_nobody, tmp_path_factory.mktemp("nobody"))


def at_once(cases: list[Case], work: Callable[[Case, Path], Awaitable[Any]], directory: Path) -> Results:
    # A few at a time: servers have seconds for their last words, and they share what cores there are.
    room = asyncio.Semaphore(MOST_SERVERS)

    async def one(case: Case) -> Any:
        async with room:
            return await work(case, directory / str(case))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(one, cases), return_exceptions=True)

    return dict(zip(cases, asyncio.run(all_of_them()), strict=True))


def of(results: Results, case: Case) -> Any:
    found = results[case]
    if isinstance(found, BaseException):
        raise found
    return found


async def ended_with_nobody(case: Case, directory: Path) -> tuple[str, str | None]:
    async with case.server(directory) as server:
        chat = new_id()
        # Without lifespan there is no grace, and the answer must not end before its server does.
        steps = ENDLESS if case in WITHOUT_LIFESPAN else {"count": 120, "every_ms": 25}
        async with Visitor(server.base) as visitor, visitor.starting(chat, steps) as response:
            await Reading(response).take(3)
        await case.end(server)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (ends := await ends_of(server, chat)):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)
        await case.wait(server)
        return ends[0]


async def ended_with_readers(case: Case, directory: Path) -> Ending:
    """Have one of each kind of reader, end the server, and see what comes of them all."""
    found = Ending()
    watched, endless, forsaken, quiet = new_id(), new_id(), new_id(), new_id()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(case.server(directory))
        visitor = await stack.enter_async_context(Visitor(server.base))
        first = await visitor.ask(quiet, "Hello.")
        # Long before the rest: nothing else tells when it has arrived.
        polling = asyncio.create_task(long_poll(visitor, quiet, first.cursor))
        found.old_http = await status_over_http_1_0(visitor, quiet)
        async with visitor.starting(forsaken, SHORT) as response:
            await Reading(response).take(3)
        readings = [
            await stack.enter_async_context(open_reader(visitor, chat, steps))
            for chat, steps in ((watched, SHORT), (endless, ENDLESS))
        ]
        live = await stack.enter_async_context(live_reader(visitor, quiet, first.cursor))
        socket = await stack.enter_async_context(socket_of(visitor))
        await socket.say("subscribe", quiet, live=True)
        await socket.hear_until("caught_up")
        await case.end(server)
        # A worker that is recycled has a successor, who may answer by now.
        refusing = asyncio.create_task(refusal_of(visitor)) if not case.is_recycled else None
        found.watched, found.endless, found.live = await asyncio.gather(*(one.rest() for one in [*readings, live]))
        found.socket_is_closed = await is_closed(socket)
        found.polled, found.refusal = await polling, await refusing if refusing is not None else None
        await case.wait(server)
        found.forsaken = await ends_of(server, forsaken)
        found.interrupted = await ends_of(server, endless)
    return found


@asynccontextmanager
async def open_reader(visitor: Visitor, chat: str, steps: dict[str, Any]) -> AsyncIterator[Reading]:
    async with visitor.starting(chat, steps) as response:
        reading = Reading(response)
        await reading.take(3)
        yield reading


@asynccontextmanager
async def live_reader(visitor: Visitor, chat: str, cursor: int) -> AsyncIterator[Reading]:
    query = httpx.QueryParams({"id": chat, "from": cursor, "live": 1})
    async with visitor.http.stream("GET", f"{visitor.prefix}/replay", params=query) as response:
        await expect(response, 200)
        yield Reading(response)


async def long_poll(visitor: Visitor, chat: str, cursor: int) -> httpx.Response | None:
    query = httpx.QueryParams({"id": chat, "from": cursor, "live": 1, "wait": PATIENCE_SECONDS})
    try:
        return await visitor.http.get(f"{visitor.prefix}/replay", params=query)
    except httpx.TransportError:
        return None


async def status_over_http_1_0(visitor: Visitor, chat: str) -> bytes:
    url = visitor.http.base_url
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    head = f"GET {visitor.prefix}/replay?id={chat}&from=0 HTTP/1.0\r\nHost: {url.host}\r\nCookie: {cookies}\r\n\r\n"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head.encode())
    line = await reader.readline()
    writer.close()
    return line


async def refusal_of(visitor: Visitor) -> int | None:
    """Send messages until one is refused; ``None`` if the server takes no connection by then."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                response = await visitor.http.post(visitor.prefix, json=visitor.body(new_id(), "Hello."))
            except httpx.TransportError:
                return None
            if response.status_code != 200:
                return response.status_code


async def is_closed(socket: Socket) -> bool:
    try:
        while True:
            await socket.hear()
    except ConnectionClosed:
        return True


async def ends_of(server: Server, chat: str) -> list[tuple[str, str | None]]:
    entries = Decoder(0).feed(await server.log.records_of(chat))
    return [(entry.facts.reason.value, entry.facts.cause) for entry in entries if isinstance(entry, Ended)]


@every_case
def test_an_answer_that_ends_within_the_grace_is_whole(with_readers: Results, case: Case) -> None:
    found = of(with_readers, case)
    assert found.watched.complete
    assert found.watched.text == SHORT_TEXT
    assert found.forsaken == [("finished", None)]


@every_case
def test_an_answer_that_outlasts_the_grace_ends_as_interrupted_before_its_process_goes(
    with_readers: Results, case: Case
) -> None:
    found = of(with_readers, case)
    assert found.interrupted == [("interrupted", "shutdown")]
    # Its reader is told, or torn off: nothing looks like a whole answer.
    assert found.endless.types[-1] == "error" if found.endless.complete else not found.endless.complete


@every_case
def test_readers_who_wait_are_sent_away_and_nothing_new_begins(with_readers: Results, case: Case) -> None:
    found = of(with_readers, case)
    assert not found.live.complete
    assert found.socket_is_closed
    assert found.polled is not None
    assert found.refusal in (503, None)


@pytest.mark.parametrize("case", [*CASES, *BY_SIGNAL_ALONE], ids=str)
def test_an_answer_whose_only_reader_has_gone_finishes(with_nobody: Results, case: Case) -> None:
    assert of(with_nobody, case) == ("finished", None)


@pytest.mark.parametrize("case", WITHOUT_LIFESPAN, ids=str)
def test_without_lifespan_an_answer_that_nobody_reads_ends_as_interrupted_at_once(
    with_nobody: Results, case: Case
) -> None:
    assert of(with_nobody, case) == ("interrupted", "shutdown")


@pytest.mark.parametrize("case", [Case(kind) for kind in SERVERS], ids=str)
def test_every_server_tells_http_1_0_so_that_no_stream_is_sent_over_it(with_readers: Results, case: Case) -> None:
    assert of(with_readers, case).old_http.split()[1] == b"505"


def test_an_answer_that_asyncio_run_leaves_behind_ends_as_interrupted(
    log: Log, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = new_id()
    for name, value in log.environment.items():
        monkeypatch.setenv(name, value)
    settings.RESUMABLE_STREAM = {**log.settings, "HANDLE_SIGNALS": False}

    async def endless() -> AsyncIterator[str]:
        for number in count():
            yield f"{number} "
            await asyncio.sleep(0.001)

    async def main() -> None:
        engine = ChatEngine(format="text")
        started = await engine.start(f"chat/{chat}", endless)
        async with aclosing(engine.reader(f"chat/{chat}", started).frames()) as batches:
            await anext(batches)

    asyncio.run(main())
    records = asyncio.run(log.records_of(chat))
    entries = Decoder(0).feed(records)

    assert [(one.facts.reason.value, one.facts.cause) for one in entries if isinstance(one, Ended)] == [
        ("interrupted", "shutdown")
    ]
    assert strays_of(records) == []
    # Each chunk once, whatever became of the append that was under way.
    numbers = [int(json.loads(one.body)) for one in entries if isinstance(one, Chunk)]
    assert numbers == list(range(len(numbers)))
