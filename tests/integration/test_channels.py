"""Channels' consumers on real servers, and readers who change doors in the middle of an answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from .log import Log, fences_of, strays_of
from .node_host import NodeHost
from .servers import KINDS, Server
from .sockets import pairs_of, socket_of
from .tabs import Browser
from .visitor import Visitor, expect, frames, new_id

Pair = tuple[int, Any]


@pytest.fixture
async def owner(visitor: Visitor) -> Visitor:
    """A visitor who has a session: a websocket cannot set the cookie."""
    await visitor.ask(new_id(), "Hello.")
    return visitor


async def test_an_answer_is_started_followed_and_stopped_over_websockets(owner: Visitor) -> None:
    chat = new_id()
    async with socket_of(owner) as first, socket_of(owner) as second:
        started = await first.start(chat, "Hello ", {"gate": chat})
        assert started["type"] == "started"
        heard = await first.hear_until("caught_up")
        await owner.gate_reached(chat)
        await second.say("subscribe", chat)
        await second.say("stop", chat, generation=started["generation"])
        told = await second.hear_until("end")
        heard += await first.hear_until("end")

    assert pairs_of(heard) == pairs_of(told)
    assert [chunk["type"] for _, chunk in pairs_of(told)] == ["start", "text-start", "text-delta", "text-end", "abort"]
    assert heard[-1]["reason"] == told[-1]["reason"] == "stopped"
    assert heard[-1]["generation"] == started["generation"]


def sent_as(code: int) -> tuple[int, int]:
    """Return the forms of a close code: daphne cannot send those that are not an application's own."""
    return code, code + 3000


async def test_mistakes_are_answered_with_the_documented_codes(owner: Visitor) -> None:
    for frame, code in [(b"\x00", 1003), ("[]", 1007)]:
        async with socket_of(owner) as socket:
            await socket.send(frame)
            assert await socket.closed() in sent_as(code)
    async with socket_of(owner) as socket:
        for _ in range(20):
            await socket.send("{}")
        assert await socket.closed() in sent_as(1008)


async def test_a_page_of_another_site_opens_no_socket(owner: Visitor) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket_of(owner, Origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    async with socket_of(owner, Origin=str(owner.http.base_url).rstrip("/")) as socket:
        await socket.say("subscribe", new_id())
        assert (await socket.hear())["type"] == "subscribed"


async def test_a_socket_that_does_not_read_holds_up_nobody_and_then_gets_it_all(owner: Visitor) -> None:
    chat = new_id()
    async with socket_of(owner) as sleeper, socket_of(owner) as reader:
        await sleeper.start(chat, {"gate": chat}, {"repeat": "x" * 1000, "times": 8000})
        await reader.say("subscribe", chat)
        heard = await reader.hear_until("caught_up")
        await owner.open_gate(chat)
        # More than the buffers of the network and of the server take.
        whole = pairs_of(heard + await reader.hear_until("end"))
        late = pairs_of(await sleeper.hear_until("end"))

    assert len(whole) > 8000
    assert late == whole


# -- doors ---------------------------------------------------------------------------------------------------------

Door = Callable[[Visitor, str, int | None], AsyncIterator[Pair | None]]
"""Yields chunks with their cursors, then ``None`` if the answer is over."""


async def by_socket(visitor: Visitor, chat: str, cursor: int | None) -> AsyncIterator[Pair | None]:
    async with socket_of(visitor) as socket:
        await socket.say("subscribe", chat, **({} if cursor is None else {"from": cursor}))
        while (frame := await socket.hear())["type"] != "end":
            if frame["type"] == "chunk":
                yield frame["id"], frame["chunk"]
        assert frame["reason"] in ("finished", "nothing")
        yield None


async def _by_events(visitor: Visitor, path: str, chat: str, cursor: int | None) -> AsyncIterator[Pair | None]:
    query = httpx.QueryParams({"id": chat, **({} if cursor is None else {"from": cursor})})
    async with visitor.http.stream("GET", path, params=query) as response:
        if response.status_code != 204:
            await expect(response, 200)
            async with aclosing(frames(response)) as found:  # type: ignore[type-var]
                async for frame in found:
                    yield frame.id, frame.data
        yield None


def by_consumer(visitor: Visitor, chat: str, cursor: int | None) -> AsyncIterator[Pair | None]:
    return _by_events(visitor, "/channels/chat/replay", chat, cursor)


def by_view(visitor: Visitor, chat: str, cursor: int | None) -> AsyncIterator[Pair | None]:
    return _by_events(visitor, f"{visitor.prefix}/replay", chat, cursor)


async def by_poll(visitor: Visitor, chat: str, cursor: int | None) -> AsyncIterator[Pair | None]:
    while True:
        query = httpx.QueryParams({"id": chat, "wait": 5, **({} if cursor is None else {"from": cursor})})
        response = await visitor.http.get(f"{visitor.prefix}/replay", params=query)
        if response.status_code == 204:
            break
        await expect(response, 200)
        answer = response.json()
        for event in answer["events"]:
            yield event["id"], event["chunk"]
        cursor = answer["cursor"]
        if answer["end"] is not None:
            break
    yield None


DOORS: dict[str, Door] = {"socket": by_socket, "consumer": by_consumer, "view": by_view, "poll": by_poll}


async def wander(visitor: Visitor, chat: str, chance: random.Random) -> list[Pair]:
    """Read an answer through one door after the other, and leave each after a few chunks."""
    found: list[Pair] = []
    while True:
        door = DOORS[chance.choice(list(DOORS))]
        patience = chance.randrange(1, 60)
        cursor = found[-1][0] if found else 0
        async with aclosing(door(visitor, chat, cursor)) as pairs:  # type: ignore[type-var]
            async for pair in pairs:
                if pair is None:
                    return found
                found.append(pair)
                patience -= 1
                if not patience:
                    break


async def test_whatever_door_a_reader_takes_it_gathers_what_one_reader_sees(owner: Visitor) -> None:
    chat = new_id()
    async with socket_of(owner) as socket:
        await socket.start(chat, {"count": 150, "every_ms": 4}, "ö \N{SUN WITH FACE}", {"repeat": "ab ", "times": 200})
        wanderers = [asyncio.create_task(wander(owner, chat, random.Random(seed))) for seed in range(8)]
        whole = pairs_of(await socket.hear_until("end"))
        gathered = await asyncio.gather(*wanderers)

    assert len(whole) > 350
    assert [cursor for cursor, _ in whole] == sorted({cursor for cursor, _ in whole})
    assert all(one == whole for one in gathered)


# -- the end of a server -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_at_sigterm_sockets_get_their_frames_and_come_again_elsewhere(
    make_server: Callable[..., Server], log: Log, kind: str
) -> None:
    server = make_server(kind, log=log, SHUTDOWN_GRACE_SECONDS=0)
    chat, quiet = new_id(), new_id()
    async with Visitor(server.base) as visitor:
        await visitor.ask(new_id(), "Hello.")
        async with socket_of(visitor) as socket, socket_of(visitor) as idle:
            await socket.say("subscribe", quiet, live=True)
            await socket.hear_until("caught_up")
            await socket.start(chat, {"count": 20, "every_ms": 1}, {"gate": chat})
            await visitor.gate_reached(chat)
            server.terminate()
            ends: dict[str, Any] = {}
            heard = []
            while len(ends) < 2:
                heard.append(await socket.hear())
                if heard[-1]["type"] == "end":
                    ends[heard[-1]["stream"]] = heard[-1]
            assert await socket.closed() in sent_as(1012)
            assert await idle.closed() in sent_as(1012)
        server.wait()
        assert (ends[chat]["reason"], ends[quiet]["reason"]) == ("interrupted", "shutdown")
        assert ends[quiet]["reconnect"] is True
        server.restart()
        async with socket_of(visitor) as socket:
            await socket.say("subscribe", chat, **{"from": 0})
            assert pairs_of(await socket.hear_until("end")) == pairs_of(heard)
    records = await log.records_of(chat)
    assert fences_of(records) == ["claim", "interrupted"]
    assert strays_of(records) == []


# -- the AI SDK's own transport ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ai7(start_node: Callable[..., NodeHost]) -> NodeHost:
    return start_node("aisdk.mjs", "ai7")


@pytest.fixture
async def browser(server: Server, ai7: NodeHost) -> Browser:
    """A browser session with a page that speaks by websocket, after a first message over HTTP."""
    browser = Browser(ai7, server.base)
    await browser.arrive()
    tab = await browser.open(new_id())
    await tab.send("Hello.")
    await tab.settled()
    return browser


async def test_the_stock_websocket_transport_sends_resumes_and_leaves(browser: Browser, server: Server) -> None:
    chat = new_id()
    async with Visitor(server.base) as control:
        first = await browser.open(chat, way="socket")
        await first.send("One ", {"gate": chat}, "two.")
        await first.shows("One ")
        second = await browser.open(chat, way="socket")
        await second.resume()
        await second.shows("One ")
        await first.stop()
        await control.gate_reached(chat)
        await control.open_gate(chat)
        state = await second.settled()
        await first.settled()

        assert (state.status, state.error, state.text) == ("ready", None, "One two.")
        async with await browser.visitor() as visitor:
            told = (await visitor.messages(chat))["messages"]
        assert told[-1] == state.answer
        # A page that has it all keeps it, and one that was away when the answer ended gets it.
        for held in (told, told[:-1]):
            again = await browser.open(chat, way="socket", messages=held)
            await again.resume()
            assert (await again.settled()).messages == told


async def test_the_stock_websocket_transport_shows_failures_and_refusals(browser: Browser, server: Server) -> None:
    chat = new_id()
    tab = await browser.open(chat, way="socket")
    await tab.send("Then ", {"fail": "secret"})
    failed = await tab.settled()
    assert (failed.status, failed.error, failed.text) == ("error", "An error occurred.", "Then ")

    async with Visitor(server.base) as control:
        busy = new_id()
        await tab_that_waits(browser, busy)
        late = await browser.open(busy, way="socket")
        await late.send("Me too.")
        refused = await late.settled()
        assert refused.status == "error"
        assert "already being written" in (refused.error or "")
        await control.open_gate(busy)


async def tab_that_waits(browser: Browser, chat: str) -> None:
    tab = await browser.open(chat, way="socket")
    await tab.send("One ", {"gate": chat})
    await tab.shows("One ")
