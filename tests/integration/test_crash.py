"""The server is ended with SIGKILL while it writes, again and again, at moments that a seed draws."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat

import httpx
import pytest

from resumable_stream.protocol.layout import promised_seconds

from ..support.patience import PATIENCE_SECONDS
from .log import Log, fences_of, strays_of
from .servers import KINDS, Server
from .visitor import Gathered, Visitor, expect, frames, gather, new_id

CHATS = 3
ROUNDS = 5


class Killer:
    """Kills the server at a moment that a seed draws: so many frames shown to all readers, and a little later."""

    def __init__(self, server: Server, seed: int, *, most_frames: int) -> None:
        draw = random.Random(seed)
        self._server = server
        self._frames_left = draw.randint(1, most_frames)
        # Appends follow each other at some milliseconds: any point between two of them is as likely as another.
        self._delay = draw.uniform(0, 0.02)

    def frame_shown(self) -> None:
        self._frames_left -= 1
        if self._frames_left == 0:
            asyncio.get_running_loop().call_later(self._delay, self._server.kill)


async def read_until_killed(visitor: Visitor, chat: str, killer: Killer, started: asyncio.Barrier) -> Gathered:
    gathered = Gathered()
    async with visitor.starting(chat, {"count": 1_000_000, "every_ms": 1}) as response:
        await expect(response, 200)
        await started.wait()
        with suppress(httpx.TransportError):
            async for frame in frames(response):
                gathered.frames.append(frame)
                killer.frame_shown()
    return gathered


def assert_counts_from_zero(text: str) -> None:
    numbers = [int(number) for number in text.split()]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_after_sigkill_the_log_holds_everything_that_was_shown_once_and_in_order(
    make_server: Callable[..., Server], kind: str, seed: int
) -> None:
    server = make_server(kind, LEASE_SECONDS=1)
    killer = Killer(server, seed, most_frames=600)
    chats = [new_id() for _ in range(CHATS)]
    started = asyncio.Barrier(CHATS)
    async with Visitor(server.base) as visitor:
        # The first message makes the session, which the concurrent ones then share.
        await visitor.ask(new_id(), "Hello.")
        shown = await asyncio.gather(*(read_until_killed(visitor, chat, killer, started) for chat in chats))

        server.restart()
        await asyncio.gather(*map(check_chat, repeat(visitor), repeat(server), chats, shown))


async def check_chat(visitor: Visitor, server: Server, chat: str, before: Gathered) -> None:
    # A page that is loaded again resumes: it gets all of it, and the word that it was interrupted.
    resumed = await visitor.resume(chat)
    assert resumed is not None
    assert resumed.complete
    assert resumed.types[-1] == "error"
    assert resumed.frames[: len(before.frames)] == before.frames
    assert_counts_from_zero(resumed.text)

    # Then the person asks again.
    assert (await visitor.ask(chat, "Next.")).text == "Next."

    records = await server.log.records_of(chat)
    assert fences_of(records) == ["claim", "interrupted", "claim", "finished"]
    assert strays_of(records) == []
    told = (await visitor.messages(chat))["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "user", "assistant"]
    assert "".join(part["text"] for part in told[1]["parts"] if part["type"] == "text") == resumed.text


@pytest.mark.parametrize("kind", KINDS)
async def test_the_next_message_needs_no_reader_to_clear_the_way(make_server: Callable[..., Server], kind: str) -> None:
    server = make_server(kind, LEASE_SECONDS=1)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        async with visitor.starting(chat, "Before. ", {"gate": chat}) as response:
            await visitor.gate_reached(chat)
            server.kill()
            await gather(response)

        server.restart()
        answer = await ask_until_taken(visitor, chat)

        assert answer.text == "Next."
        assert fences_of(await server.log.records_of(chat)) == ["claim", "interrupted", "claim", "finished"]


async def ask_until_taken(visitor: Visitor, chat: str) -> Gathered:
    """Ask again for as long as the dead writer's lease makes the chat look busy."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with visitor.starting(chat, "Next.") as response:
                if response.status_code != 409:
                    await expect(response, 200)
                    return await gather(response)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_log_killed_many_times_keeps_every_turn(make_server: Callable[..., Server], kind: str) -> None:
    server = make_server(kind, LEASE_SECONDS=1)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        for turn in range(3):
            shown = await read_until_killed(visitor, chat, Killer(server, turn, most_frames=60), asyncio.Barrier(1))
            server.restart()
            resumed = await visitor.resume(chat)
            assert resumed is not None
            assert resumed.frames[: len(shown.frames)] == shown.frames

        records = await server.log.records_of(chat)
        assert fences_of(records) == ["claim", "interrupted"] * 3
        assert strays_of(records) == []


async def test_a_reader_of_an_answer_whose_server_died_long_ago_is_told_at_once(
    make_server: Callable[..., Server], log: Log
) -> None:
    server = make_server("uvicorn", log=log, LEASE_SECONDS=1)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        async with visitor.starting(chat, "Before. ", {"gate": chat}) as response:
            await visitor.gate_reached(chat)
            server.kill()
            shown = await gather(response)
        await log.wait_for_silence(chat, seconds=promised_seconds(1))

        server.restart()
        # A poll that waits for nothing: what it is told is known at that moment.
        query = {"id": chat, "from": str(shown.cursor), "wait": "0"}
        told = (await visitor.http.get(f"{visitor.prefix}/replay", params=query)).json()

    assert told["end"]["reason"] == "interrupted"
    assert told["end"]["cause"] == "lease-expired"
    assert fences_of(await log.records_of(chat)) == ["claim", "interrupted"]


async def test_a_message_within_the_lease_of_a_dead_server_is_told_what_to_do(
    make_server: Callable[..., Server], log: Log
) -> None:
    server = make_server("uvicorn", log=log, LEASE_SECONDS=60)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        async with visitor.starting(chat, "Before. ", {"gate": chat}) as response:
            await visitor.gate_reached(chat)
            server.kill()
            await gather(response)
        await log.wait_for_silence(chat, seconds=1)

        server.restart()
        async with visitor.starting(chat, "Next.") as response:
            text = (await response.aread()).decode()
            assert response.status_code == 409, text
        assert "or was broken off: nothing has come for" in text
        assert 0 < int(response.headers["Retry-After"]) < promised_seconds(60)

        await expect(await visitor.stop(chat), 202)
        assert (await visitor.ask(chat, "Next.")).text == "Next."
    assert fences_of(await log.records_of(chat)) == ["claim", "stopped", "claim", "finished"]
