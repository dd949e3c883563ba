"""Answers of the AI SDK that go on in another generation: after the output of a page's own tool, or an approval.

The log has only the continuation; whoever resumes it must hold the earlier parts all the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from .node_host import NodeHost
from .servers import Server
from .tabs import AI_SDKS, Browser, Tab
from .visitor import Step, Visitor, new_id

pytestmark = pytest.mark.parametrize("server", ["uvicorn-sqlite"], indirect=True)


def call(*then: Step) -> list[Step]:
    """Steps that end with a tool call of the page; ``then`` is how the answer goes on."""
    return [
        {"type": "start-step"},
        "Let me ask.",
        {"type": "tool-input-available", "toolCallId": "c1", "toolName": "ask", "input": {"then": list(then)}},
    ]


async def asked(browser: Browser, chat: str, steps: list[Step]) -> Tab:
    tab = await browser.open(chat)
    await tab.send(*steps)
    await tab.settled()
    return tab


def shown_parts(messages: list[dict[str, Any]]) -> list[Any]:
    """Return the answer's parts without ids that each client makes up for itself."""
    parts = messages[-1]["parts"]
    return [(part["type"], part.get("text"), part.get("state"), part.get("output")) for part in parts]


@pytest.mark.parametrize("version", AI_SDKS)
async def test_whoever_resumes_a_continuation_keeps_what_came_before(
    ai_sdks: dict[str, NodeHost], server: Server, control: Visitor, version: str
) -> None:
    chat, gate = new_id(), new_id()
    browser = await Browser(ai_sdks[version], server.base).arrive()
    first = await asked(browser, chat, call("It says ", {"gate": gate}, "yes."))
    await first.put_output("c1", "yes")
    await first.go_on()
    await control.gate_reached(gate)

    # As a page is rendered while the answer is being continued: with nothing, or with what the server has of the chat.
    async with await browser.visitor() as visitor:
        stored = (await visitor.messages(chat))["messages"]
    seconds = [await browser.open(chat, messages=messages) for messages in ([], stored[:1], stored)]
    for second in seconds:
        await second.resume()
    await control.open_gate(gate)

    whole = await first.settled()
    assert whole.text == "Let me ask.It says yes."
    assert whole.error is None
    for second in seconds:
        resumed = await second.settled()
        assert (resumed.status, resumed.error) == ("ready", None)
        assert resumed.answer["id"] == whole.answer["id"]
        assert shown_parts(resumed.messages) == shown_parts(whole.messages)
    async with await browser.visitor() as visitor:
        assert shown_parts((await visitor.messages(chat))["messages"]) == shown_parts(whole.messages)


@pytest.mark.parametrize("version", AI_SDKS[1:])
async def test_a_continuation_that_opens_with_a_tools_output_can_be_resumed(
    ai_sdks: dict[str, NodeHost], server: Server, control: Visitor, version: str
) -> None:
    chat, gate = new_id(), new_id()
    browser = await Browser(ai_sdks[version], server.base).arrive()
    then: list[Step] = [
        {"type": "tool-output-available", "toolCallId": "c1", "output": "done"},
        {"gate": gate},
        "Done.",
    ]
    approval: Step = {"type": "tool-approval-request", "approvalId": "a1", "toolCallId": "c1"}
    first = await asked(browser, chat, [*call(*then), approval])
    await first.approve("a1")
    await first.go_on()
    await control.gate_reached(gate)

    second = await browser.open(chat)
    await second.resume()
    await control.open_gate(gate)

    whole, resumed = await first.settled(), await second.settled()
    assert (resumed.status, resumed.error) == ("ready", None)
    assert resumed.text == "Let me ask.Done."
    assert shown_parts(resumed.messages) == shown_parts(whole.messages)
