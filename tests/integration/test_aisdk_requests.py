"""What the stock ``ai`` package says in its requests: what is replaced, what goes on, and what is brought along."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from ..support.manual import code_blocks
from .node_host import NodeHost
from .servers import Server
from .tabs import AI_SDKS, Browser, Tab, TabState
from .test_aisdk_clients import RICH
from .test_aisdk_continuation import call
from .visitor import Step, Visitor, new_id

WAYS = (*product(("uvicorn-sqlite",), AI_SDKS), ("uvicorn-s2", "ai7"))
pytestmark = pytest.mark.parametrize(("server", "version"), WAYS, indirect=["server"], scope="module")


@pytest.fixture
async def browser(version: str, ai_sdks: dict[str, NodeHost], server: Server) -> Browser:
    return await Browser(ai_sdks[version], server.base).arrive()


async def stored_messages(browser: Browser, chat: str) -> list[dict[str, Any]]:
    """Return the chat as a reload of the page shows it."""
    async with await browser.visitor() as visitor:
        messages: list[dict[str, Any]] = (await visitor.messages(chat))["messages"]
        return messages


async def ends(browser: Browser, chat: str) -> list[str]:
    async with await browser.visitor() as visitor:
        return [one["end"] for one in (await visitor.messages(chat))["generations"]]


async def in_mid_answer(browser: Browser, chat: str, **options: Any) -> tuple[Tab, str]:
    """Ask, and return the tab while the answer is being written, with the name of the gate that holds it."""
    gate = new_id()
    tab = await browser.open(chat, **options)
    await tab.send("Old", {"gate": gate}, " and unseen.")
    await tab.shows("Old")
    return tab, gate


async def asked(tab: Tab, *steps: Step) -> TabState:
    await tab.send(*steps)
    return await tab.settled()


def ids(messages: list[dict[str, Any]]) -> list[str]:
    return [message["id"] for message in messages]


async def assert_replaced(browser: Browser, chat: str, tab: Tab, text: str) -> TabState:
    state = await tab.settled()
    assert (state.status, state.error, state.text) == ("ready", None, text)
    assert await ends(browser, chat) == ["stopped", "finished"]
    return state


async def test_regenerating_in_mid_answer(browser: Browser, control: Visitor) -> None:
    chat = new_id()
    tab, gate = await in_mid_answer(browser, chat)
    await tab.stop()
    await tab.regenerate()
    await tab.responds()
    # The same question: its answer waits at the same gate.
    await control.open_gate(gate)

    state = await assert_replaced(browser, chat, tab, "Old and unseen.")
    assert await stored_messages(browser, chat) == state.messages


async def test_an_edit_in_mid_answer(browser: Browser) -> None:
    chat = new_id()
    tab, _ = await in_mid_answer(browser, chat)
    question = (await stored_messages(browser, chat))[0]
    await tab.stop()
    await tab.send("New.", instead_of=question["id"])

    state = await assert_replaced(browser, chat, tab, "New.")
    assert ids(state.messages)[0] == question["id"]
    assert ids(await stored_messages(browser, chat)) == ids(state.messages)


async def test_a_question_sent_in_the_middle_of_an_answer(browser: Browser, version: str) -> None:
    chat = new_id()
    has_queue = version == "ai7"
    tab, _ = await in_mid_answer(browser, chat, queues=has_queue)
    if has_queue:
        await tab.send_now("New.")
    else:
        await tab.stop()
        await tab.send("New.")

    state = await assert_replaced(browser, chat, tab, "New.")
    assert ids(await stored_messages(browser, chat)) == ids(state.messages)


async def test_a_question_of_another_tab_is_refused(browser: Browser, control: Visitor) -> None:
    chat = new_id()
    first, gate = await in_mid_answer(browser, chat)
    other = await browser.open(chat, messages=await stored_messages(browser, chat))
    assert (await asked(other, "Never said.")).status == "error"
    await control.open_gate(gate)

    assert (await first.settled()).text == "Old and unseen."


async def test_the_output_of_a_pages_own_tool_survives_a_reload(browser: Browser) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    await asked(tab, *call())
    await tab.put_output("c1", "yes")
    state = await asked(tab, "Two.")

    told = await stored_messages(browser, chat)
    assert ids(told) == ids(state.messages)
    (part,) = [part for part in told[1]["parts"] if "toolCallId" in part]
    assert (part["state"], part["output"]) == ("output-available", "yes")


async def test_a_message_whose_sending_failed_survives_a_reload(browser: Browser) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    await asked(tab, "One.")
    await tab.go_offline()
    assert (await asked(tab, "Lost.")).status == "error"
    await tab.go_online()
    state = await asked(tab, "Two.")

    assert (state.status, len(state.messages)) == ("ready", 5)
    assert await stored_messages(browser, chat) == state.messages


async def test_a_deleted_message_stays_deleted(browser: Browser) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    for text in ("One.", "Two.", "Three."):
        state = await asked(tab, text)
    await tab.forget(*ids(state.messages)[2:4])
    state = await asked(tab, "Four.")

    assert len(state.messages) == 6
    assert await stored_messages(browser, chat) == state.messages


@pytest.mark.parametrize("gone", [slice(0, 2), slice(4, 6)], ids=["first", "last"])
async def test_a_message_that_the_page_names_as_deleted_stays_deleted_at_either_end(
    browser: Browser, gone: slice
) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    for text in ("One.", "Two.", "Three."):
        state = await asked(tab, text)
    deleted = ids(state.messages)[gone]
    await tab.forget(*deleted)
    await tab.send("Four.", body={"deletedMessageIds": deleted})
    state = await tab.settled()

    assert len(state.messages) == 6
    assert await stored_messages(browser, chat) == state.messages


async def test_a_greeting_of_the_page_survives_a_reload(browser: Browser) -> None:
    chat = new_id()
    greeting = {"id": "greeting", "role": "assistant", "parts": [{"type": "text", "text": "Welcome!"}]}
    tab = await browser.open(chat, messages=[greeting])
    state = await asked(tab, "One.")

    assert len(state.messages) == 3
    assert await stored_messages(browser, chat) == state.messages


async def test_a_deep_output_is_taken_back(browser: Browser) -> None:
    chat = new_id()
    tree: Any = {"tag": "p"}
    for _ in range(100):
        tree = {"tag": "div", "children": [tree]}
    tab = await browser.open(chat)
    output = {"type": "tool-output-available", "toolCallId": "c1", "output": tree}
    await asked(tab, {"type": "tool-input-available", "toolCallId": "c1", "toolName": "look", "input": {}}, output)
    state = await asked(tab, "Two.")

    assert (state.status, state.text) == ("ready", "Two.")
    assert await stored_messages(browser, chat) == state.messages


async def test_a_page_that_sends_only_its_newest_message_has_the_same_chat(browser: Browser) -> None:
    (options,) = [block for block in code_blocks("docs/chat-views.md", "js") if "prepareSendMessagesRequest" in block]
    chat = new_id()
    tab = await browser.open(chat, options=options)
    await asked(tab, "One.")
    await asked(tab, "Two.")
    await tab.regenerate()
    state = await tab.settled()

    assert (state.status, state.text, len(state.messages)) == ("ready", "Two.", 4)
    assert await stored_messages(browser, chat) == state.messages


async def test_a_large_picture_is_taken_back(browser: Browser) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    await asked(tab, {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64," + "A" * 64}, "Look.")
    picture = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64," + "A" * 3_000_000}
    state = await tab.settled()
    big = await browser.open(chat, messages=[*state.messages[:1], {**state.answer, "parts": [picture]}])
    state = await asked(big, "Two.")

    assert (state.status, state.text) == ("ready", "Two.")


async def test_an_approval_for_an_earlier_answer(browser: Browser, version: str) -> None:
    if version == "ai5":
        pytest.skip("AI SDK 5 has no approvals.")
    chat = new_id()
    approval: Step = {"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c1"}
    then: list[Step] = [{"type": "tool-output-available", "toolCallId": "c1", "output": "done"}, "Done."]
    tab = await browser.open(chat)
    await asked(tab, *call(*then), approval)
    before = (await asked(tab, "Meanwhile.")).messages
    await tab.approve("a1")
    await tab.go_on()
    state = await tab.settled()

    told = await stored_messages(browser, chat)
    assert (state.status, state.error) == ("ready", None)
    assert ids(told) == ids(state.messages) == ids(before)
    assert told[3] == before[3]
    if version == "ai7":  # ai6 sends no messageId for it, and goes on in its last message.
        assert [part.get("text") for part in told[1]["parts"]][-1] == "Done."
        assert told == state.messages


async def test_a_conversation_stores_each_message_once(browser: Browser, server: Server) -> None:
    chat = new_id()
    tab = await browser.open(chat)
    for steps in ((*RICH, "First."), RICH, RICH):
        await tab.send(*steps)
        state = await tab.settled()
    assert ids(await stored_messages(browser, chat)) == ids(state.messages)

    records = [dict(record.headers) for record in await server.log.records_of(chat)]
    stored = [json.loads(headers["rs-json"]) for headers in records if headers.get("rs") == "user"]
    assert [message["role"] for message in stored] == ["user"] * 3
    assert not [headers for headers in records if "rs-whole" in headers]
