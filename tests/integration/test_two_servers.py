"""Two server processes on one log: what one writes, the other shows, stops, and ends when its writer has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from .log import Log, fences_of, strays_of
from .servers import Server
from .visitor import Reading, Step, Visitor, expect, gather, new_id


@pytest.fixture
def servers(request: pytest.FixtureRequest, make_server: Callable[..., Server], log: Log) -> tuple[Server, Server]:
    """Two servers, with the settings that the test brings along."""
    settings = getattr(request, "param", {})
    return make_server("uvicorn", log=log, **settings), make_server("daphne", log=log, **settings)


@asynccontextmanager
async def visits(servers: tuple[Server, Server]) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """One visitor, whose requests reach now the one server and now the other."""
    here, there = servers
    async with Visitor(here.base) as first, Visitor(there.base) as second:
        await first.ask(new_id(), "Hello.")
        second.http.cookies.clear()
        second.http.cookies.update(first.http.cookies)
        await second.arrive()
        yield first, second


async def test_an_answer_is_followed_through_another_process(servers: tuple[Server, Server]) -> None:
    chat = new_id()
    steps: tuple[Step, ...] = ("Before. ", {"gate": chat}, {"count": 100, "every_ms": 1})
    async with visits(servers) as (here, there), here.starting(chat, *steps) as response:
        await here.gate_reached(chat)
        async with there.http.stream("GET", f"{there.prefix}/{chat}/stream") as other_response:
            await expect(other_response, 200)
            follower = Reading(other_response)
            # What stood before the gate: start, text-start and the first words.
            await follower.take(3)
            await here.open_gate(chat)
            written = await gather(response)
            followed = await follower.rest()

    assert followed == written
    assert written.complete


async def test_an_answer_is_stopped_through_another_process(servers: tuple[Server, Server]) -> None:
    chat = new_id()
    async with visits(servers) as (here, there):
        async with here.starting(chat, "Before. ", {"gate": chat}, "After.") as response:
            generation = response.headers["X-Generation-Id"]
            reading = Reading(response)
            # On the log, rather than on its way: what comes to that after a stop by somebody else is lost.
            await reading.take(3)
            await here.gate_reached(chat)

            assert (await there.stop(chat, generation=generation)).status_code == 202

            stopped = await reading.rest()
        # The source was told, too: the gate opens for nobody.
        await here.open_gate(chat)
        assert (await there.ask(chat, "Next.")).text == "Next."

    assert stopped.types[-1] == "abort"
    assert stopped.text == "Before. "
    records = await servers[0].log.records_of(chat)
    assert fences_of(records) == ["claim", "stopped", "claim", "finished"]
    assert strays_of(records) == []


async def test_an_answer_is_replaced_through_another_process(servers: tuple[Server, Server]) -> None:
    chat = new_id()
    async with visits(servers) as (here, there):
        async with here.starting(chat, "Before. ", {"gate": chat}, "After.") as response:
            reading = Reading(response)
            await reading.take(3)
            await here.gate_reached(chat)

            body = {**there.body(chat, "New."), "trigger": "regenerate-message"}
            async with there.http.stream("POST", there.prefix, json=body) as other:
                await expect(other, 200)
                assert (await gather(other)).text == "New."

            replaced = await reading.rest()
        # The source was told, too: the gate opens for nobody.
        await here.open_gate(chat)

    assert replaced.types[-1] == "abort"
    assert replaced.text == "Before. "
    records = await servers[0].log.records_of(chat)
    assert fences_of(records) == ["claim", "stopped", "claim", "finished"]
    assert strays_of(records) == []


async def test_a_chat_is_busy_in_every_process(servers: tuple[Server, Server]) -> None:
    chat = new_id()
    async with visits(servers) as (here, there), here.starting(chat, "One ", {"gate": chat}, "answer.") as response:
        await here.gate_reached(chat)

        refusal = await there.http.post(there.prefix, json=there.body(chat, "Another."))

        assert refusal.status_code == 409
        assert refusal.headers["X-Generation-Id"] == response.headers["X-Generation-Id"]
        await here.open_gate(chat)
        assert (await gather(response)).text == "One answer."


# Only here: a writer that is held up for longer than a short lease is taken for one that has died.
@pytest.mark.parametrize("servers", [{"LEASE_SECONDS": 1}], indirect=True, ids=["short lease"])
async def test_who_follows_through_another_process_learns_that_the_writer_has_died(
    servers: tuple[Server, Server],
) -> None:
    chat = new_id()
    async with visits(servers) as (here, there):
        async with here.starting(chat, "Before. ", {"gate": chat}, "Never said.") as response:
            await here.gate_reached(chat)
            follower = asyncio.create_task(there.resume(chat))
            servers[0].kill()
            await gather(response)

            followed = await follower
        assert (await there.ask(chat, "Next.")).text == "Next."

    assert followed is not None
    assert followed.complete
    assert followed.text == "Before. "
    assert followed.types[-1] == "error"
    records = await servers[0].log.records_of(chat)
    assert fences_of(records) == ["claim", "interrupted", "claim", "finished"]
    assert strays_of(records) == []
