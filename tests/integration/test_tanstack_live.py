"""TanStack AI's stock client in live mode, on our connection, against running servers.

Two versions of the client run under Node. What each tab holds in the end is compared with the other tabs and with what
the server tells of the chat.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .node_host import NodeHost
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .tanstack_tabs import Browser, Message, Tab, TabState
from .visitor import Step, Visitor, new_id

CLIENTS = ("0.8", "0.33")
BUSY = "An answer is already being written in this chat. Wait for it to end, or stop it first."

RICH: tuple[Step, ...] = (
    {"type": "REASONING_MESSAGE_START", "messageId": "r1", "role": "reasoning"},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r1", "delta": "The weather "},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r1", "delta": "is asked for."},
    {"type": "REASONING_MESSAGE_END", "messageId": "r1"},
    {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "weather"},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '{"city":'},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '"Bern"}'},
    {"type": "TOOL_CALL_END", "toolCallId": "c1"},
    {"type": "TOOL_CALL_RESULT", "messageId": "t1", "toolCallId": "c1", "content": '{"degrees":17}'},
    "In Bern it is ",
    "17 °C.\u2028 \N{SUN WITH FACE}",
)
OWN_REASONING: tuple[Step, ...] = (
    {"type": "RUN_STARTED", "runId": "own", "threadId": "own"},
    {"type": "REASONING_START", "messageId": "r1"},
    {"type": "REASONING_MESSAGE_START", "messageId": "r1", "role": "reasoning"},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r1", "delta": "Hm"},
    {"type": "REASONING_MESSAGE_END", "messageId": "r1"},
    {"type": "REASONING_END", "messageId": "r1"},
)
OWN_CALL: tuple[Step, ...] = (
    {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "weather", "parentMessageId": "m1"},
    {"type": "TOOL_CALL_END", "toolCallId": "c1"},
    {"type": "TOOL_CALL_RESULT", "messageId": "t1", "toolCallId": "c1", "content": '{"degrees":17}'},
)
OWN_TEXT: tuple[Step, ...] = (
    {"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": "Sunny."},
    {"type": "TEXT_MESSAGE_END", "messageId": "m1"},
    {"type": "RUN_FINISHED", "runId": "own", "threadId": "own", "finishReason": "stop"},
)
# What producers stream that speak the library's own events.
OWN_EVENTS = {
    "text": (*OWN_REASONING, *OWN_TEXT),
    "a call and text": (*OWN_REASONING, *OWN_CALL, *OWN_TEXT),
    "text and a call": (*OWN_REASONING, *OWN_TEXT[:-1], *OWN_CALL, OWN_TEXT[-1]),
}
RICH_TEXT = "In Bern it is 17 °C.\u2028 \N{SUN WITH FACE}"


@pytest.fixture
async def browser(tanstack: NodeHost, server: Server) -> AsyncIterator[Browser]:
    async with Browser(tanstack, server.base, "/api/tanstack") as browser:
        yield browser


@pytest.fixture
async def once(tanstack: NodeHost, server: Server) -> AsyncIterator[Browser]:
    """A browser on a site without sessions."""
    async with Browser(tanstack, server.base, "/api/tanstack-once") as browser:
        yield browser


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def open_live(browser: Browser, chat: str, client: str, **options: str) -> Tab:
    return await browser.open(chat, way="live", client=client, **options)


def essence(messages: list[Message], client: str) -> list[Message]:
    """Return what a client must hold of what the server tells: everything, but older ones build other parts."""
    if client != "0.8":
        return messages
    said = [[part["content"] for part in message["parts"] if part["type"] == "text"] for message in messages]
    return [{"id": one["id"], "role": one["role"], "text": text} for one, text in zip(messages, said, strict=True)]


def assert_is_one_message(state: TabState) -> None:
    """Check that the second answer, which begins with reasoning, is one message."""
    assert [message["role"] for message in state.messages] == ["user", "assistant"] * 2
    assert state.messages[-1]["parts"][0]["type"] == "thinking"
    assert state.text == "Sunny."


async def assert_told(browser: Browser, chat: str, client: str, state: TabState) -> None:
    assert essence(state.messages, client) == essence(await browser.told(chat), client)


@pytest.mark.parametrize("steps", OWN_EVENTS.values(), ids=OWN_EVENTS)
async def test_a_producers_message_is_one_message_in_every_tab(
    browser: Browser, client: str, steps: tuple[Step, ...]
) -> None:
    chat = new_id()
    first = await open_live(browser, chat, client)
    await first.send("Hello.")
    await first.settled(2)
    second = await open_live(browser, chat, client)
    await second.settled(2)
    await first.send(*steps)

    for state in [await first.settled(4), await second.settled(4)]:
        assert_is_one_message(state)
        await assert_told(browser, chat, client, state)


async def test_every_tab_holds_the_chat_whenever_it_came(browser: Browser, control: Visitor, client: str) -> None:
    chat, gate = new_id(), new_id()
    first = await open_live(browser, chat, client)
    await first.send("Hello.")
    await first.settled(2)
    early = await open_live(browser, chat, client)
    await early.settled(2)
    await first.send(*RICH[:6], {"gate": gate}, *RICH[6:])
    await control.gate_reached(gate)
    late = await open_live(browser, chat, client)
    await late.has(4)
    await control.open_gate(gate)

    states = [await tab.settled(4) for tab in (first, early, late)]
    after = await (await open_live(browser, chat, client)).settled(4)

    assert [state.text for state in (*states, after)] == [RICH_TEXT] * 4
    assert [state.status for state in states] == ["ready"] * 3
    assert states[1].messages == states[0].messages
    assert states[2].messages == states[0].messages
    assert essence(after.messages, client) == essence(states[0].messages, client)
    await assert_told(browser, chat, client, states[0])


@pytest.mark.parametrize("seed", range(2))
async def test_a_subscription_that_breaks_again_and_again_misses_nothing(
    browser: Browser, server: Server, client: str, seed: int
) -> None:
    chat = new_id()
    whole = await open_live(browser, chat, client)
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = seeded_cuts(seed, 800, 4000)
        broken = await open_live(browser, chat, client, base=proxy.base)
        await whole.send(*RICH[:9], {"count": 100, "every_ms": 1})
        state = await broken.settled(2)
        assert proxy.cuts > 1

    uninterrupted = await whole.settled(2)
    assert uninterrupted.text == "".join(f"{number} " for number in range(100))
    assert state.messages == uninterrupted.messages
    await assert_told(browser, chat, client, state)


async def test_who_subscribes_again_in_mid_answer_holds_it_once(
    browser: Browser, control: Visitor, client: str
) -> None:
    chat, gate = new_id(), new_id()
    tab = await open_live(browser, chat, client)
    await tab.send("First.")
    await tab.settled(2)
    await tab.send("Second, ", {"gate": gate}, "whole.")
    await tab.shows("Second, ")

    await tab.resubscribe()
    await control.open_gate(gate)

    state = await tab.settled(4)
    assert state.text == "Second, whole."
    await assert_told(browser, chat, client, state)


async def test_a_stop_ends_the_answer_in_every_tab(browser: Browser, control: Visitor, client: str) -> None:
    chat, gate = new_id(), new_id()
    tabs = [await open_live(browser, chat, client) for _ in range(2)]
    await tabs[0].send("Not the whole ", {"gate": gate}, "answer.")
    for tab in tabs:
        await tab.shows("Not the whole ")

    assert await tabs[1].stop()
    assert not await tabs[1].stop()

    for tab in tabs:
        state = await tab.settled(2)
        assert (state.status, state.error, state.text) == ("ready", None, "Not the whole ")
        await assert_told(browser, chat, client, state)
    # The next turn has nothing of it.
    await tabs[1].send("Next.")
    assert (await tabs[0].settled(4)).text == "Next."


async def test_a_failing_model_shows_an_error_and_none_of_its_insides(browser: Browser, client: str) -> None:
    chat = new_id()
    first, second = [await open_live(browser, chat, client) for _ in range(2)]
    await first.send("Half an ", {"fail": "secret detail"})

    state = await first.settled(2)

    assert (state.status, state.error, state.text) == ("error", "An error occurred.", "Half an ")
    assert (await second.settled(2)).text == "Half an "


async def test_a_second_message_at_once_is_refused_and_disturbs_nothing(
    browser: Browser, control: Visitor, client: str
) -> None:
    chat, gate = new_id(), new_id()
    first, second = [await open_live(browser, chat, client) for _ in range(2)]
    await first.send("One at ", {"gate": gate}, "a time.")
    await first.shows("One at ")

    await second.send("Never said.")
    refused = await second.fails()
    await control.open_gate(gate)

    assert refused.error == BUSY
    state = await first.settled(2)
    assert (state.status, state.text) == ("ready", "One at a time.")
    await assert_told(browser, chat, client, state)


async def test_asking_again_in_mid_answer_replaces_it(browser: Browser, control: Visitor, client: str) -> None:
    chat, gate = new_id(), new_id()
    tab = await open_live(browser, chat, client)
    await tab.send("Old", {"gate": gate}, " and new.")
    await tab.shows("Old")
    await tab.halt()
    await tab.reload()
    await tab.shows("Old")
    await control.open_gate(gate)

    assert (await tab.settled(2)).text.endswith("Old and new.")
    async with await browser.visitor() as visitor:
        generations = (await visitor.messages(chat))["generations"]
    assert [one["end"] for one in generations] == ["stopped", "finished"]


async def test_asking_again_replaces_the_answer_for_who_comes_later(browser: Browser, client: str) -> None:
    chat = new_id()
    tab = await open_live(browser, chat, client)
    await tab.send("An answer.")
    first = await tab.settled(2)

    await tab.reload()
    second = await tab.settled(2)

    assert second.messages[-1]["id"] != first.messages[-1]["id"]
    await assert_told(browser, chat, client, second)
    assert (await (await open_live(browser, chat, client)).settled(2)).text == "An answer."


@pytest.mark.parametrize("way", ["response", "recovering"])
async def test_a_run_without_a_session_survives_its_connection(
    once: Browser, server: Server, client: str, way: str
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = seeded_cuts(len(way), 600, 3000)
        tab = await once.open(chat, way=way, client=client, base=proxy.base)
        await tab.send(*RICH[:9], {"count": 60, "every_ms": 1})
        state = await tab.settled(2)
        assert proxy.cuts

    assert (state.status, state.text) == ("ready", "".join(f"{number} " for number in range(60)))
    await assert_told(once, chat, client, state)


async def test_a_run_without_a_session_is_found_on_the_next_page(once: Browser, control: Visitor, client: str) -> None:
    chat, gate = new_id(), new_id()
    first = await once.open(chat, way="response", client=client)
    await first.send("Before. ", {"gate": gate}, "After.")
    await first.shows("Before.")
    await first.leave()

    second = await once.open(chat, way="recovering", client=client)
    await second.shows("Before.")
    await control.open_gate(gate)

    state = await second.settled(2)
    assert state.text == "Before. After."
    await assert_told(once, chat, client, state)
