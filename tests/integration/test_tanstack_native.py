"""TanStack AI's stock client with its own way of resuming, over its own connections, against running servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from .node_host import NodeHost
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .tanstack_tabs import Browser
from .test_tanstack_live import OWN_EVENTS, RICH, RICH_TEXT, assert_is_one_message
from .visitor import Step, Visitor, new_id


@pytest.fixture
async def browser(tanstack: NodeHost, server: Server) -> AsyncIterator[Browser]:
    async with Browser(tanstack, server.base, "/api/native") as browser:
        yield browser


@pytest.fixture(params=["events", "lines"])
def way(request: pytest.FixtureRequest) -> str:
    """``fetchServerSentEvents`` or ``fetchHttpStream``."""
    found: str = request.param
    return found


async def test_a_conversation_is_what_the_server_tells_of_it(browser: Browser, way: str) -> None:
    chat = new_id()
    tab = await browser.open(chat, way=way)
    await tab.send("Hello.")
    await tab.settled(2)
    await tab.send(*RICH)

    state = await tab.settled(4)

    assert (state.status, state.error, state.text) == ("ready", None, RICH_TEXT)
    assert state.messages == await browser.told(chat)


@pytest.mark.parametrize("steps", OWN_EVENTS.values(), ids=OWN_EVENTS)
async def test_a_producers_message_is_one_message(browser: Browser, way: str, steps: tuple[Step, ...]) -> None:
    chat = new_id()
    tab = await browser.open(chat, way=way)
    await tab.send("Hello.")
    await tab.settled(2)
    await tab.send(*steps)

    state = await tab.settled(4)

    assert_is_one_message(state)
    assert state.messages == await browser.told(chat)


@pytest.mark.parametrize("seed", range(2))
async def test_a_run_that_is_cut_again_and_again_arrives_whole(
    browser: Browser, server: Server, way: str, seed: int
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        # The first cut falls after some frames: without one, the client has nothing to go on from.
        proxy.bytes_before_cut = seeded_cuts(seed, 1500, 5000)
        tab = await browser.open(chat, way=way, base=proxy.base)
        await tab.send(*RICH[:9], {"count": 100, "every_ms": 1})
        state = await tab.settled(2)
        assert proxy.cuts > 1

    assert (state.status, state.error) == ("ready", None)
    assert state.text == "".join(f"{number} " for number in range(100))
    assert state.messages == await browser.told(chat)


async def test_a_socket_carries_runs_survives_cuts_and_lets_others_join(
    browser: Browser, server: Server, control: Visitor
) -> None:
    chat, gate = new_id(), new_id()
    # A socket cannot give a new visitor a session; a request can.
    requesting = await browser.open(new_id(), way="events")
    await requesting.send("Hello.")
    await requesting.settled(2)
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = seeded_cuts(1, 2500, 5000)
        tab = await browser.open(chat, way="socket", base=proxy.base)
        await tab.send(*RICH[:9], {"count": 100, "every_ms": 1}, {"gate": gate}, "end.")
        await control.gate_reached(gate)
        joining = asyncio.create_task((await browser.open(chat, way="socket")).join(tab))
        await control.open_gate(gate)
        state = await tab.settled(2)
        assert proxy.cuts > 1

    assert (state.status, state.error) == ("ready", None)
    assert state.text == "".join(f"{number} " for number in range(100)) + "end."
    assert state.messages == await browser.told(chat)
    joined = await joining
    assert [joined[0]["type"], joined[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert "".join(chunk["delta"] for chunk in joined if chunk["type"] == "TEXT_MESSAGE_CONTENT").endswith(state.text)


async def test_a_stop_over_a_socket_ends_the_run(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    requesting = await browser.open(new_id(), way="events")
    await requesting.send("Hello.")
    await requesting.settled(2)
    tab = await browser.open(chat, way="socket")
    await tab.send("Not the whole ", {"gate": gate}, "answer.")
    await tab.shows("Not the whole ")

    await tab.halt()

    async with await browser.visitor() as visitor:
        assert await visitor.ended(chat) == "stopped"


async def test_a_page_that_is_loaded_in_mid_answer_goes_on_with_it(
    browser: Browser, control: Visitor, way: str
) -> None:
    chat, gate = new_id(), new_id()
    first = await browser.open(chat, way=way, persistence=True)
    await first.send("Before this.")
    await first.settled(2)
    await first.send(*RICH[:10], {"gate": gate}, *RICH[10:])
    await first.shows(RICH[9])
    reloaded = await browser.open(chat, way=way, persistence=True)
    await reloaded.shows(RICH[9])
    await control.open_gate(gate)

    states = [await tab.settled(4) for tab in (first, reloaded)]
    later = await (await browser.open(chat, way=way, persistence=True)).settled(4)

    told = await browser.told(chat)
    assert [state.text for state in states] == [RICH_TEXT] * 2
    assert [state.messages for state in (*states, later)] == [told] * 3


async def test_a_page_that_is_left_and_loaded_again_after_the_end_has_it_all(
    browser: Browser, control: Visitor, way: str
) -> None:
    chat, gate = new_id(), new_id()
    first = await browser.open(chat, way=way, persistence=True)
    await first.send("Half ", {"gate": gate}, "and whole.")
    await first.shows("Half ")
    await first.leave()
    await control.open_gate(gate)
    async with await browser.visitor() as visitor:
        assert await visitor.ended(chat) == "finished"

    state = await (await browser.open(chat, way=way, persistence=True)).settled(2)

    assert state.text == "Half and whole."
    assert state.messages == await browser.told(chat)


async def test_a_stop_ends_the_run_and_not_the_chat(browser: Browser, control: Visitor, way: str) -> None:
    chat, gate = new_id(), new_id()
    tab = await browser.open(chat, way=way)
    await tab.send("Not the whole ", {"gate": gate}, "answer.")
    await tab.shows("Not the whole ")

    async with await browser.visitor() as visitor:
        assert (await visitor.stop(chat)).status_code == 202

    state = await tab.settled(2)
    assert (state.status, state.error, state.text) == ("ready", None, "Not the whole ")
    await tab.send("Next.")
    assert (await tab.settled(4)).text == "Next."
    assert (await tab.settled(4)).messages == await browser.told(chat)


async def test_another_answer_that_is_asked_for_in_mid_answer_replaces_it(
    browser: Browser, control: Visitor, way: str
) -> None:
    chat, gate = new_id(), new_id()
    tab = await browser.open(chat, way=way)
    await tab.send("Old", {"gate": gate}, " and new.")
    await tab.shows("Old")
    await tab.halt()
    await tab.reload()
    await tab.has(2)
    await control.open_gate(gate)

    assert (await tab.settled(2)).text == "Old and new."
    async with await browser.visitor() as visitor:
        generations = (await visitor.messages(chat))["generations"]
    assert [one["end"] for one in generations] == ["stopped", "finished"]


async def test_a_failing_model_shows_an_error_and_none_of_its_insides(browser: Browser, way: str) -> None:
    chat = new_id()
    tab = await browser.open(chat, way=way)
    await tab.send("Half an ", {"fail": "secret detail"})

    state = await tab.settled(2)

    assert (state.status, state.error, state.text) == ("error", "An error occurred.", "Half an ")


async def test_a_second_run_at_once_is_refused_and_disturbs_nothing(
    browser: Browser, control: Visitor, way: str
) -> None:
    chat, gate = new_id(), new_id()
    first, second = [await browser.open(chat, way=way) for _ in range(2)]
    await first.send("One at ", {"gate": gate}, "a time.")
    await first.shows("One at ")

    await second.send("Never said.")
    refused = await second.fails()
    await control.open_gate(gate)

    assert refused.error is not None
    assert "409" in refused.error
    assert (await first.settled(2)).text == "One at a time."
    assert (await first.settled(2)).messages == await browser.told(chat)


async def test_a_conversation_stores_each_message_once(browser: Browser, server: Server, way: str) -> None:
    chat = new_id()
    tab = await browser.open(chat, way=way)
    for count, steps in enumerate(((*RICH, "First."), RICH, RICH), 1):
        await tab.send(*steps)
        state = await tab.settled(2 * count)
    assert state.messages == await browser.told(chat)

    records = [dict(record.headers) for record in await server.log.records_of(chat)]
    stored = [json.loads(headers["rs-json"]) for headers in records if headers.get("rs") == "user"]
    assert [message["role"] for message in stored] == ["user"] * 3
    assert not [headers for headers in records if "rs-whole" in headers]
