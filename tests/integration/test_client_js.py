"""The JavaScript client under Node, against servers that are cut off, killed and started again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.node_suites import CLIENT

from .log import Log
from .node_host import NodeHost
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Frame, Visitor, new_id

WAYS = ("websocket", "sse", "poll")
BLOB = '\u2028\u2029\x00\\"\n\U0001f600' * 100
SCRIPT: tuple[Any, ...] = ({"count": 150, "every_ms": 2}, BLOB, {"count": 150, "every_ms": 2})


@pytest.fixture(scope="module")
def client(start_node: Callable[..., NodeHost], node_project: Path) -> NodeHost:
    installed = node_project / "resumable_stream"
    shutil.copytree(CLIENT, installed)
    (installed / "package.json").write_text('{"type": "module"}')
    return start_node("client.mjs")


def site(visitor: Visitor, base: str, *ways: str) -> dict[str, Any]:
    """Say who the visitor is, and where to go, by which ways."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    headers = {"X-CSRFToken": visitor.http.headers["X-CSRFToken"]}
    return {"base": base, "prefix": visitor.prefix, "cookies": cookies, "headers": headers, "transports": ways or WAYS}


def events(frames: list[Frame]) -> list[dict[str, Any]]:
    return [{"id": frame.id, "chunk": frame.data} for frame in frames]


async def log_of(visitor: Visitor, chat: str) -> list[dict[str, Any]]:
    """Return what an uninterrupted reader sees."""
    whole = await visitor.replay(chat, start=0)
    assert whole is not None
    return events(whole.frames)


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_is_cut_at_any_byte_gathers_what_an_uninterrupted_reader_sees(
    server: Server, client: NodeHost, way: str
) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor, cutting_proxy(server.port) as proxy:
        await visitor.ask(chat, "The session begins with a first question.")
        # Some connections break before anything is said on them. A poll's answer must fit now and then.
        proxy.bytes_before_cut = seeded_cuts(len(way), 100, 40_000 if way == "poll" else 6000)
        async with visitor.starting(chat, *SCRIPT):
            await client.call("follow", name=chat, stream=chat, **site(visitor, proxy.base, way), **{"from": 0})
            told = await client.call("ended", name=chat)
        expected = await log_of(visitor, chat)

    assert told["events"] == expected
    assert (told["end"]["reason"], told["ways"]) == ("finished", [way])
    assert proxy.cuts > 0


async def test_a_client_that_changes_its_way_in_mid_answer_gathers_the_same(server: Server, client: NodeHost) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor:
        await visitor.ask(chat, "The session begins with a first question.")
        async with visitor.starting(chat, *SCRIPT):
            told = await client.call("relay", stream=chat, ways=WAYS, every=20, **site(visitor, server.base))
        expected = await log_of(visitor, chat)

    assert told["events"] == expected
    assert told["end"]["reason"] in ("finished", "nothing")
    assert told["turns"] > 10


async def test_a_start_over_a_bad_line_asks_once_and_gets_its_answer(server: Server, client: NodeHost) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor, cutting_proxy(server.port) as proxy:
        await visitor.ask(chat, "The session begins with a first question.")
        proxy.bytes_before_cut = seeded_cuts(7, 100, 6000)
        where = site(visitor, proxy.base, "websocket", "sse")
        await client.call("start", name=chat, body=visitor.body(chat, *SCRIPT), **where)
        told = await client.call("ended", name=chat)
        generations = (await visitor.messages(chat))["generations"]
        expected = await log_of(visitor, chat)

    assert len(generations) == 2
    assert told["end"]["reason"] == "finished"
    assert told["events"] == expected[-len(told["events"]) :]
    assert told["events"][0]["chunk"]["type"] == "start"


@pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)
async def test_the_named_end_event_is_the_end_of_text(server: Server, client: NodeHost) -> None:
    chat = new_id()
    async with Visitor(server.base, "/api/text") as visitor:
        for way in ("sse", "poll"):
            await client.call("start", name=way, body=visitor.body(chat, "a", "b"), **site(visitor, server.base, way))
            told = await client.call("ended", name=way)
            assert [event["chunk"] for event in told["events"]] == ["a", "b"]
            assert told["end"]["reason"] == "finished"
        await client.call("start", name="bad", body=visitor.body(chat, {"fail": "boom"}), **site(visitor, server.base))
        failed = (await client.call("ended", name="bad"))["end"]

    assert (failed["reason"], failed["error"]) == ("failed", "An error occurred.")


@pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)
@pytest.mark.parametrize("way", WAYS)
async def test_a_stop_is_an_end_of_its_own(server: Server, client: NodeHost, way: str) -> None:
    chat = new_id()
    async with Visitor(server.base) as visitor:
        await visitor.ask(chat, "The session begins with a first question.")
        async with visitor.starting(chat, "Before. ", {"gate": chat}):
            await visitor.gate_reached(chat)
            await client.call("follow", name=chat, stream=chat, **site(visitor, server.base, way))
            await client.call("has", name=chat, count=1)
            assert await client.call("stop", stream=chat, **site(visitor, server.base)) is True
            told = await client.call("ended", name=chat)
        assert await client.call("stop", stream=chat, **site(visitor, server.base)) is False

    assert told["end"]["reason"] == "stopped"


@pytest.mark.parametrize("server", ["daphne-sqlite"], indirect=True)
async def test_without_a_websocket_an_event_stream_serves(server: Server, client: NodeHost) -> None:
    chat = new_id()
    async with Visitor(server.base, "/api/text") as visitor, visitor.starting(chat, "a", {"gate": chat}):
        # Nothing serves sockets at this prefix.
        await client.call("follow", name=chat, stream=chat, **site(visitor, server.base))
        opened = await client.call("opened", name=chat)
        await visitor.open_gate(chat)
        told = await client.call("ended", name=chat)

    assert (opened["transport"], told["ways"]) == ("sse", ["sse"])


@pytest.mark.parametrize(
    ("kind", "log", "way"),
    [
        ("daphne", "sqlite", "websocket"),
        ("uvicorn", "s2", "websocket"),
        ("uvicorn", "sqlite", "sse"),
        ("daphne", "s2", "poll"),
    ],
    indirect=["log"],
)
async def test_a_live_client_goes_on_with_a_server_that_was_started_again(
    make_server: Callable[..., Server], log: Log, client: NodeHost, kind: str, way: str
) -> None:
    chat = new_id()
    server = make_server(kind, log=log, LEASE_SECONDS=1)
    async with Visitor(server.base) as visitor:
        await visitor.ask(chat, "First.")
        await client.call("follow", name=chat, stream=chat, live=True, **site(visitor, server.base, way), **{"from": 0})
        async with visitor.starting(chat, {"count": 1_000_000, "every_ms": 2}) as response:
            await client.call("has", name=chat, count=60)
            server.kill()
            await response.aclose()
    server.restart()
    async with Visitor(server.base) as again:
        again.http.cookies.update(visitor.http.cookies)
        assert await again.ended(chat) == "interrupted"
        await again.arrive()
        await again.ask(chat, "Last.")
        expected = await log_of(again, chat)

    await client.call("has", name=chat, count=len(expected))
    told = await client.call("close", name=chat)
    assert told["events"] == expected
    assert told["openings"] > 1
