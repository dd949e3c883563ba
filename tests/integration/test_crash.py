"""The server is ended with SIGKILL while it writes, again and again, at moments that a seed draws."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest

from .log import fences_of, records_of, strays_of
from .servers import KINDS, Server
from .visitor import Gathered, Visitor, expect, frames, gather, new_id

CHATS = 3
ROUNDS = 5


class KillAfter:
    """Kills the server once its readers have been handed so many frames together."""

    def __init__(self, server: Server, frame_count: int) -> None:
        self._server = server
        self._left = frame_count

    def count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._server.kill()


async def read_until_killed(visitor: Visitor, chat: str, countdown: KillAfter, started: asyncio.Barrier) -> Gathered:
    gathered = Gathered()
    async with visitor.starting(chat, {"count": 1_000_000, "every_ms": 1}) as response:
        await expect(response, 200)
        await started.wait()
        with suppress(httpx.TransportError):
            async for frame in frames(response):
                gathered.frames.append(frame)
                countdown.count()
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
    countdown = KillAfter(server, random.Random(seed).randint(1, 600))
    chats = [new_id() for _ in range(CHATS)]
    started = asyncio.Barrier(CHATS)
    async with Visitor(server.base) as visitor:
        # The first message makes the session, which the concurrent ones then share.
        await visitor.ask(new_id(), "Hello.")
        shown = await asyncio.gather(*(read_until_killed(visitor, chat, countdown, started) for chat in chats))

        server.restart()
        for chat, before in zip(chats, shown, strict=True):
            await check_chat(visitor, server, chat, before)


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

    records = await records_of(server.directory, chat)
    assert fences_of(records) == ["claim", "interrupted", "claim", "finished"]
    assert strays_of(records) == []
    told = (await visitor.messages(chat))["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "user", "assistant"]
    assert "".join(part["text"] for part in told[1]["parts"] if part["type"] == "text") == resumed.text


@pytest.mark.parametrize("kind", KINDS)
async def test_the_next_message_needs_no_reader_to_clear_the_way(make_server: Callable[..., Server], kind: str) -> None:
    server = make_server(kind)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        async with visitor.starting(chat, "Before. ", {"gate": chat}) as response:
            await visitor.gate_reached(chat)
            server.kill()
            await gather(response)

        server.restart()
        answer = await visitor.ask(chat, "Next.")

        assert answer.text == "Next."
        assert fences_of(await records_of(server.directory, chat)) == ["claim", "interrupted", "claim", "finished"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_log_killed_many_times_keeps_every_turn(make_server: Callable[..., Server], kind: str) -> None:
    server = make_server(kind, LEASE_SECONDS=1)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        for turn in range(3):
            shown = await read_until_killed(visitor, chat, KillAfter(server, 10 + 20 * turn), asyncio.Barrier(1))
            server.restart()
            resumed = await visitor.resume(chat)
            assert resumed is not None
            assert resumed.frames[: len(shown.frames)] == shown.frames

        records = await records_of(server.directory, chat)
        assert fences_of(records) == ["claim", "interrupted"] * 3
        assert strays_of(records) == []
