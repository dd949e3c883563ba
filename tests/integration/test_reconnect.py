"""A reader whose connection is cut again and again gathers what one uninterrupted reader sees."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from ..support.patience import PATIENCE_SECONDS
from .proxy import Proxy, cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Frame, Gathered, Reading, Step, Visitor, expect, gather, new_id

BLOB = '\u2028\u2029\x00\\"\n' * 100
SCRIPT: tuple[Step, ...] = ({"count": 150, "every_ms": 2}, BLOB, {"count": 150, "every_ms": 2})
PREFIXES = ("/api/chat", "/api/single-use", "/api/shared", "/api/text")


async def gather_over_cuts(visitor: Visitor, proxy: Proxy, chat: str, cursor: int) -> list[Frame]:
    """Reconnect with the cursor until the answer is over."""
    gathered: list[Frame] = []
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        httpx.AsyncClient(base_url=proxy.base, cookies=visitor.http.cookies) as http,
    ):
        while True:
            query = httpx.QueryParams({"id": chat, "from": cursor})
            try:
                async with http.stream("GET", f"{visitor.prefix}/replay", params=query) as response:
                    if response.status_code == 204:
                        return gathered
                    await expect(response, 200)
                    part = await gather(response)
            except httpx.TransportError:
                continue
            gathered += part.frames
            cursor = part.cursor or cursor
            if part.complete:
                return gathered


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("seed", range(3))
async def test_a_reader_who_is_cut_gathers_what_an_uninterrupted_one_sees(
    server: Server, prefix: str, seed: int
) -> None:
    chat = new_id()
    async with Visitor(server.base, prefix) as visitor, cutting_proxy(server.port) as proxy:
        # The headers take some 500 bytes, so that most connections bring a few frames and some bring none.
        proxy.bytes_before_cut = seeded_cuts(seed, 300, 6000)
        async with visitor.starting(chat, *SCRIPT) as response:
            uninterrupted = Reading(response)
            first = (await uninterrupted.take(1)).frames[0]
            gathered = await gather_over_cuts(visitor, proxy, chat, first.id)
            whole = await uninterrupted.rest()

    assert whole.complete
    assert [first, *gathered] == whole.frames
    assert proxy.cuts > 0
    ids = [frame.id for frame in whole.frames]
    assert ids == sorted(set(ids))


async def test_a_cursor_inside_an_answer_that_is_over_is_served_to_the_end(visitor: Visitor) -> None:
    chat = new_id()
    answer = await visitor.ask(chat, {"count": 50, "every_ms": 0})

    for index, frame in enumerate(answer.frames[:-1]):
        rest = await visitor.replay(chat, start=frame.id)
        assert rest == Gathered(answer.frames[index + 1 :], complete=True)
    assert await visitor.replay(chat, start=answer.cursor) is None


async def test_last_event_id_wins_over_the_query(visitor: Visitor) -> None:
    chat = new_id()
    answer = await visitor.ask(chat, "A ", "B ", "C ")
    cursor = str(answer.frames[2].id)

    async with visitor.http.stream(
        "GET", f"{visitor.prefix}/replay", params={"id": chat, "from": 0}, headers={"Last-Event-ID": cursor}
    ) as response:
        assert (await gather(response)).frames == answer.frames[3:]


async def test_with_delivery_by_replay_another_request_brings_the_answer(server: Server) -> None:
    chat = new_id()
    async with Visitor(server.base, "/api/replay") as visitor:
        async with visitor.starting(chat, {"gate": chat}, "Delivered.") as response:
            await expect(response, 202)
            assert await response.aread() == b""
        async with visitor.http.stream("GET", f"{visitor.prefix}/{chat}/stream") as response:
            await expect(response, 200)
            await visitor.open_gate(chat)
            assert (await gather(response)).text == "Delivered."


async def test_a_reader_who_leaves_does_not_end_the_answer(visitor: Visitor) -> None:
    chat = new_id()
    async with visitor.starting(chat, "Before. ", {"gate": chat}, "After.") as response:
        await Reading(response).take(3)

    await visitor.open_gate(chat)

    assert await visitor.ended(chat) == "finished"
    replayed = await visitor.replay(chat, start=0)
    assert replayed is not None
    assert replayed.text == "Before. After."


async def test_a_repeated_post_with_a_cursor_attaches_and_asks_nothing_twice(visitor: Visitor) -> None:
    chat = new_id()
    body = visitor.body(chat, "Before. ", {"gate": chat}, "After.")
    async with visitor.http.stream("POST", visitor.prefix, json=body) as response:
        seen = await Reading(response).take(3)

    headers = {"Last-Event-ID": str(seen.cursor)}
    async with visitor.http.stream("POST", visitor.prefix, json=body, headers=headers) as response:
        await expect(response, 200)
        await visitor.open_gate(chat)
        rest = await gather(response)

    replayed = await visitor.replay(chat, start=0)
    assert replayed is not None
    assert seen.frames + rest.frames == replayed.frames
    assert len((await visitor.messages(chat))["generations"]) == 1
