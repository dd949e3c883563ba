"""AG-UI's stock ``HttpAgent``, which verifies the order of events, against running servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from .node_host import NodeHost
from .servers import Server
from .tanstack_tabs import Agent, Browser, RunState
from .test_tanstack_live import RICH, RICH_TEXT
from .visitor import Visitor, new_id


@pytest.fixture
async def browser(tanstack: NodeHost, server: Server) -> AsyncIterator[Browser]:
    async with Browser(tanstack, server.base, "/api/agui") as browser:
        yield browser


def text_of(state: RunState) -> str:
    assert state.messages[-1]["role"] == "assistant"
    return str(state.messages[-1]["content"])


async def test_a_conversation_is_what_the_server_tells_of_it(browser: Browser) -> None:
    chat = new_id()
    agent = await browser.agent(chat)
    first = await agent.run("Hello.")
    second = await agent.run(*RICH)

    assert (first.error, second.error) == (None, None)
    assert (text_of(first), text_of(second)) == ("Hello.", RICH_TEXT)
    assert [first.events[0], first.events[-1]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert "TOOL_CALL_RESULT" in second.events
    assert second.messages == await browser.told(chat)


async def test_a_run_of_the_same_name_is_the_same_run(browser: Browser, control: Visitor) -> None:
    chat, gate, run_id = new_id(), new_id(), new_id()
    await (await browser.agent(chat)).run("Hello.")
    first = await browser.agent(chat)
    script = ("Before. ", {"gate": gate}, "After.")
    running = asyncio.create_task(first.run(*script, run_id=run_id))
    await control.gate_reached(gate)

    # Another page, which knows what was said and the run's name.
    second = await browser.agent(chat, messages=await browser.told(chat))
    joining = asyncio.create_task(second.run(run_id=run_id))
    await control.open_gate(gate)

    uninterrupted, joined = await running, await joining
    assert joined.error is None
    later = await (await browser.agent(chat, messages=joined.messages[:-1])).run(run_id=run_id)
    assert joined.events == uninterrupted.events
    assert [text_of(state) for state in (uninterrupted, joined, later)] == ["Before. After."] * 3
    assert joined.messages == later.messages == await browser.told(chat)


@pytest.mark.parametrize("is_old", [False, True], ids=["1.0", "0.0.59"])
async def test_a_stopped_run_is_in_order(browser: Browser, control: Visitor, is_old: bool) -> None:
    chat, gate = new_id(), new_id()
    agent: Agent = await browser.agent(chat, is_old=is_old)
    script = ("Half", *RICH[4:6], {"gate": gate})
    # The session is this browser's from its first request on.
    await agent.run("Hello.")
    running = asyncio.create_task(agent.run(*script))
    await control.gate_reached(gate)
    async with await browser.visitor() as visitor:
        assert (await visitor.stop(chat)).status_code == 202

    state = await running
    assert (state.error, state.events[-1]) == (None, "RUN_FINISHED")
    assert state.messages == await browser.told(chat)


async def test_a_failing_model_is_an_error_without_its_insides(browser: Browser) -> None:
    chat = new_id()
    state = await (await browser.agent(chat)).run("Half an ", {"fail": "secret detail"})

    assert (state.error, state.events[-1]) == ("An error occurred.", "RUN_ERROR")
    assert text_of(state) == "Half an "


async def test_a_run_after_an_aborted_one_replaces_it(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    agent = await browser.agent(chat)
    await agent.run("Hello.")
    running = asyncio.create_task(agent.run("Old", {"gate": gate}, " and unseen."))
    await control.gate_reached(gate)
    await agent.abort()
    await running
    state = await agent.run("New.")

    assert (state.error, text_of(state)) == (None, "New.")
    async with await browser.visitor() as visitor:
        generations = (await visitor.messages(chat))["generations"]
    assert [one["end"] for one in generations] == ["finished", "stopped", "finished"]


async def test_a_second_run_at_once_is_refused(browser: Browser, control: Visitor) -> None:
    chat, gate = new_id(), new_id()
    agent = await browser.agent(chat)
    await agent.run("Hello.")
    running = asyncio.create_task(agent.run("One at ", {"gate": gate}, "a time."))
    await control.gate_reached(gate)

    refused = await (await browser.agent(chat)).run("Never said.")
    await control.open_gate(gate)

    assert refused.error is not None
    assert "409" in refused.error
    assert text_of(await running) == "One at a time."


async def test_a_conversation_stores_each_message_once(browser: Browser, server: Server) -> None:
    chat = new_id()
    agent = await browser.agent(chat)
    for steps in ((*RICH, "First."), RICH, RICH):
        state = await agent.run(*steps)
    assert state.messages == await browser.told(chat)

    records = [dict(record.headers) for record in await server.log.records_of(chat)]
    stored = [json.loads(headers["rs-json"]) for headers in records if headers.get("rs") == "user"]
    assert [message["role"] for message in stored] == ["user"] * 3
    assert not [headers for headers in records if "rs-whole" in headers]
