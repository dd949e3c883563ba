"""The JavaScript client under Node and in Chromium, against servers that are cut off, killed and started again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from .log import Log
from .node_host import NodeHost
from .pages import Page
from .proxy import Proxy, cutting_proxy
from .servers import Server
from .visitor import Frame, Visitor, new_id

WAYS = ("websocket", "sse", "poll")
# Bytes after which a connection breaks at the latest. A poll's answer must fit now and then.
HIGHEST = {"websocket": 20_000, "sse": 20_000, "poll": 100_000}
BLOB = '\u2028\u2029\x00\\"\n\U0001f600' * 100
SCRIPT: tuple[Any, ...] = ({"count": 150, "every_ms": 2}, BLOB, {"count": 150, "every_ms": 2})

Client = Callable[..., Awaitable[Any]]
"""Calls a function of ``tests/node/follower.mjs``."""
Connect = Callable[[Visitor, str], Awaitable[Client]]


@pytest.fixture(scope="module")
def host(start_node: Callable[..., NodeHost]) -> NodeHost:
    return start_node("client.mjs")


@pytest.fixture
async def page(browser: NodeHost) -> AsyncIterator[Page]:
    page = Page(browser, new_id())
    yield page
    problems = await page.call("problems")
    # Connections are broken here; what is thrown and not caught is an error in the client.
    assert not [problem for problem in problems if "net::ERR" not in problem and "WebSocket connection" not in problem]


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Connect:
    """Let the client go to a site with a visitor's cookies; without ``IN_BOTH`` it runs under Node."""
    place = getattr(request, "param", "node")
    runtime = request.getfixturevalue("host" if place == "node" else "page")

    async def connect(visitor: Visitor, base: str) -> Client:
        cookies = dict(visitor.http.cookies)
        url = base + visitor.prefix
        token = {"X-CSRFToken": visitor.http.headers["X-CSRFToken"]}
        options = {"url": url, "websocket": f"{url}/socket", "headers": token}
        if isinstance(runtime, NodeHost):
            await runtime.call("visit", **options, cookies=cookies)
            return runtime.call
        await runtime.open(f"{base}/pages/blank", cookies=cookies)
        client = partial(runtime.ask, "/scripts/follower.mjs")
        await client("visit", **options)
        return client

    return connect


IN_BOTH = pytest.mark.parametrize("connect", ["node", "chromium"], indirect=True)


def events(frames: list[Frame]) -> list[dict[str, Any]]:
    return [{"id": frame.id, "chunk": frame.data} for frame in frames]


async def log_of(visitor: Visitor, chat: str) -> list[dict[str, Any]]:
    """Return what an uninterrupted reader sees."""
    whole = await visitor.replay(chat, start=0)
    assert whole is not None
    return events(whole.frames)


async def connect_badly(connect: Connect, visitor: Visitor, proxy: Proxy, *, highest: int = 20_000) -> Client:
    """Let the client go to a site where some connections break before anything is said on them."""
    # Enough for a page. Its connection is used again, and must not last for ever.
    proxy.bytes_before_cut = lambda: 2000
    client = await connect(visitor, proxy.base)
    draw = random.Random(10)
    # Most break early: each order of magnitude is as likely as the next.
    proxy.bytes_before_cut = lambda: int(100 * (highest / 100) ** draw.random())
    return client


@IN_BOTH
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_is_cut_at_any_byte_gathers_what_an_uninterrupted_reader_sees(
    server: Server, connect: Connect, way: str
) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor, cutting_proxy(server.port) as proxy:
        await visitor.ask(chat, "The session begins with a first question.")
        client = await connect_badly(connect, visitor, proxy, highest=HIGHEST[way])
        async with visitor.starting(chat, *SCRIPT):
            await client("follow", name=chat, stream=chat, ways=[way], **{"from": 0})
            told = await client("ended", name=chat)
        expected = await log_of(visitor, chat)

    assert told["end"]["reason"] == "finished", told["end"]
    assert told["ways"] == [way]
    assert told["events"] == expected
    # The first one may be that of the page.
    assert proxy.cuts > 1


async def test_a_client_that_changes_its_way_in_mid_answer_gathers_the_same(server: Server, connect: Connect) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor:
        await visitor.ask(chat, "The session begins with a first question.")
        client = await connect(visitor, server.base)
        async with visitor.starting(chat, *SCRIPT):
            told = await client("relay", stream=chat, ways=WAYS, every=20)
        expected = await log_of(visitor, chat)

    assert told["events"] == expected
    assert told["end"]["reason"] in ("finished", "nothing")
    assert told["turns"] > 10


@IN_BOTH
async def test_a_start_over_a_bad_line_asks_once_and_gets_its_answer(server: Server, connect: Connect) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor, cutting_proxy(server.port) as proxy:
        await visitor.ask(chat, "The session begins with a first question.")
        client = await connect_badly(connect, visitor, proxy)
        await client("start", name=chat, body=visitor.body(chat, *SCRIPT), ways=["websocket", "sse"])
        told = await client("ended", name=chat)
        generations = (await visitor.messages(chat))["generations"]
        expected = await log_of(visitor, chat)

    assert len(generations) == 2
    assert told["end"]["reason"] == "finished"
    assert told["events"] == expected[-len(told["events"]) :]
    assert told["events"][0]["chunk"]["type"] == "start"


@pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)
async def test_the_named_end_event_is_the_end_of_text(server: Server, connect: Connect) -> None:
    chat = new_id()
    async with Visitor(server.base, "/api/text") as visitor:
        client = await connect(visitor, server.base)
        for way in ("sse", "poll"):
            await client("start", name=way, body=visitor.body(chat, "a", "b"), ways=[way])
            told = await client("ended", name=way)
            assert [event["chunk"] for event in told["events"]] == ["a", "b"]
            assert told["end"]["reason"] == "finished"
        await client("start", name="bad", body=visitor.body(chat, {"fail": "boom"}))
        failed = (await client("ended", name="bad"))["end"]

    assert (failed["reason"], failed["error"]) == ("failed", "An error occurred.")


@pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)
@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_is_an_end_of_its_own(server: Server, connect: Connect, way: str) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor:
        await visitor.ask(chat, "The session begins with a first question.")
        client = await connect(visitor, server.base)
        async with visitor.starting(chat, "Before. ", {"gate": chat}):
            await visitor.gate_reached(chat)
            await client("follow", name=chat, stream=chat, ways=[way])
            await client("has", name=chat, count=1)
            assert await client("stop", stream=chat) is True
            told = await client("ended", name=chat)
        assert await client("stop", stream=chat) is False

    assert told["end"]["reason"] == "stopped"


@pytest.mark.parametrize("server", ["daphne-sqlite"], indirect=True)
async def test_without_a_websocket_an_event_stream_serves(server: Server, connect: Connect) -> None:
    chat = new_id()
    async with Visitor(server.base, "/api/text") as visitor, visitor.starting(chat, "a", {"gate": chat}):
        client = await connect(visitor, server.base)
        # Nothing serves sockets at this prefix.
        await client("follow", name=chat, stream=chat)
        opened = await client("opened", name=chat)
        await visitor.open_gate(chat)
        told = await client("ended", name=chat)

    assert (opened["transport"], told["ways"]) == ("sse", ["sse"])


@pytest.mark.parametrize(
    ("connect", "kind", "log", "way"),
    [
        ("node", "daphne", "sqlite", "websocket"),
        ("node", "uvicorn", "s2", "websocket"),
        ("node", "uvicorn", "sqlite", "sse"),
        ("node", "daphne", "s2", "poll"),
        ("chromium", "daphne", "sqlite", "websocket"),
        ("chromium", "uvicorn", "s2", "websocket"),
        ("chromium", "uvicorn", "sqlite", "sse"),
        ("chromium", "daphne", "s2", "sse"),
        ("chromium", "uvicorn", "sqlite", "poll"),
        ("chromium", "daphne", "s2", "poll"),
    ],
    indirect=["connect", "log"],
)
async def test_a_live_client_goes_on_with_a_server_that_was_started_again(
    make_server: Callable[..., Server], log: Log, connect: Connect, kind: str, way: str
) -> None:
    chat = new_id()
    server = make_server(kind, log=log, LEASE_SECONDS=1)
    async with Visitor(server.base) as visitor, cutting_proxy(server.port) as proxy:
        await visitor.ask(chat, "First.")
        client = await connect_badly(connect, visitor, proxy, highest=HIGHEST[way])
        await client("follow", name=chat, stream=chat, live=True, ways=[way], **{"from": 0})
        # It does not end by itself, nor grow beyond what a poll's answer can bring through the proxy.
        async with visitor.starting(chat, {"count": 200, "every_ms": 2}, {"gate": chat}) as response:
            await client("has", name=chat, count=60)
            server.kill()
            await response.aclose()
        server.restart()
        async with Visitor(server.base) as again:
            again.http.cookies.update(visitor.http.cookies)
            assert await again.ended(chat) == "interrupted"
            await again.arrive()
            await again.ask(chat, "Last.")
            expected = await log_of(again, chat)

        await client("has", name=chat, count=len(expected))
        told = await client("close", name=chat)

    assert told["events"] == expected
    assert told["ways"] == [way]
    assert told["openings"] > 1
