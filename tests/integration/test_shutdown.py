"""SIGTERM under load: nothing new begins, what can end ends, what cannot is marked, readers come back by cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from ..support.patience import PATIENCE_SECONDS
from .log import fences_of
from .servers import KINDS, Server
from .visitor import Gathered, Reading, Visitor, expect, gather, new_id

MakeServer = Callable[..., Server]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def ask_until_refused(visitor: Visitor) -> httpx.Response:
    """Start chats until one start is refused: the signal takes a moment to arrive."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            response = await visitor.http.post(visitor.prefix, json=visitor.body(new_id(), "Hello."))
            if response.status_code != 200:
                return response


async def test_a_server_that_was_told_to_end_refuses_new_messages_and_says_when_to_come_back(
    make_server: MakeServer, kind: str
) -> None:
    server = make_server(kind, SHUTDOWN_GRACE_SECONDS=PATIENCE_SECONDS)
    async with Visitor(server.base) as visitor:
        chat = new_id()
        async with visitor.starting(chat, "Still ", {"gate": chat}, "here.") as response:
            await visitor.gate_reached(chat)
            server.terminate()

            refusal = await ask_until_refused(visitor)
            # What the server waits for is over then: it may end before it has answered this.
            with suppress(httpx.TransportError):
                await visitor.open_gate(chat)

            assert refusal.status_code == 503
            assert int(refusal.headers["Retry-After"]) > 0
            assert (await gather(response)).text == "Still here."
    server.wait()


async def test_an_answer_that_ends_within_the_grace_is_whole(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind, SHUTDOWN_GRACE_SECONDS=PATIENCE_SECONDS)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        async with visitor.starting(chat, {"count": 100, "every_ms": 10}) as response:
            reading = Reading(response)
            await reading.take(10)
            server.terminate()
            answer = await reading.rest()
        server.wait()

        server.restart()
        assert answer.complete
        assert answer.text == "".join(f"{number} " for number in range(100))
        assert await visitor.ended(chat) == "finished"


async def test_an_answer_that_goes_on_beyond_the_grace_ends_as_interrupted(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind, SHUTDOWN_GRACE_SECONDS=0.2)
    chats = [new_id() for _ in range(4)]
    async with Visitor(server.base) as visitor:
        await visitor.ask(new_id(), "Hello.")
        began = asyncio.Barrier(len(chats))
        answers = await asyncio.gather(*(endless_answer(visitor, chat, server, began) for chat in chats))
        server.wait()

        server.restart()
        for chat, answer in zip(chats, answers, strict=True):
            assert fences_of(await server.log.records_of(chat)) == ["claim", "interrupted"]
            # Who was closed before the last words came has them by cursor; nobody's body ended cleanly without them.
            rest = await visitor.replay(chat, start=answer.cursor)
            assert answer.complete is (rest is None)
            last = rest or answer
            assert last.types[-1] == "error"
            assert (await visitor.ask(chat, "Next.")).text == "Next."


async def endless_answer(visitor: Visitor, chat: str, server: Server, began: asyncio.Barrier) -> Gathered:
    """Read an answer without end; the reader who comes last to the barrier ends the server."""
    async with visitor.starting(chat, {"count": 1_000_000, "every_ms": 5}) as response:
        reading = Reading(response)
        await reading.take(5)
        if await began.wait() == 0:
            server.terminate()
        return await reading.rest()


async def test_a_waiting_reader_is_closed_and_comes_back_by_its_cursor(make_server: MakeServer, kind: str) -> None:
    server = make_server(kind, SHUTDOWN_GRACE_SECONDS=0.2)
    chat = new_id()
    async with Visitor(server.base) as visitor:
        first = await visitor.ask(chat, "First.")
        async with waiting_reader(visitor, chat, first.cursor) as reader:
            second = await visitor.ask(chat, "Second.")
            await reader.take(len(second.frames))
            server.terminate()
            closed = await reader.rest()
        server.wait()
        assert closed.frames == second.frames

        server.restart()
        async with waiting_reader(visitor, chat, closed.cursor) as reader:
            third = await visitor.ask(chat, "Third.")
            assert (await reader.take(len(third.frames))).frames == third.frames


@asynccontextmanager
async def waiting_reader(visitor: Visitor, chat: str, cursor: int) -> AsyncIterator[Reading]:
    """Open a reader that waits for what comes; it is there when the server has answered."""
    query = httpx.QueryParams({"id": chat, "from": cursor, "live": 1})
    async with visitor.http.stream("GET", f"{visitor.prefix}/replay", params=query) as response:
        await expect(response, 200)
        yield Reading(response)
