"""The manual's scripts for TanStack AI and AG-UI, with the stock packages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.manual import code_blocks

from .node_host import NodeHost
from .servers import Server
from .tanstack_tabs import CONNECTION
from .test_text_clients import headers_of
from .visitor import Visitor, new_id

pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

LIVE, NATIVE = code_blocks("docs/clients/tanstack.md", "javascript")
AGENT, ASK_AGENT = code_blocks("docs/clients/ag-ui.md", "javascript")
(RENAMED,) = code_blocks("docs/coming-from-s2-resumable-stream.md", "javascript")

# What `useChat` does, without React.
CHAT = """
import { ChatClient } from "@tanstack/ai-client";

const textOf = (client) => {
  const last = client.getMessages().at(-1);
  return last?.role === "assistant" ? last.parts.map((part) => part.content).join("") : "";
};
const becomes = async (condition) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
};
const open = (options) => new ChatClient({ ...options, onError() {} });
"""
LIVE_USE = """
export default async (chatId, text) => {
  const connection = connect(chatId);
  const [first, second] = [0, 1].map(() => open({ connection: connect(chatId) }));
  first.subscribe();
  second.subscribe();
  void first.sendMessage(text);
  await becomes(() => textOf(second) === "Not the whole ");
  const stopped = await connection.stop();
  await becomes(() => ![first, second].some((one) => one.getIsLoading() || one.getSessionGenerating()));
  const told = [first, second].map((one) => [textOf(one), one.getStatus()]);
  [first, second].forEach((one) => one.unsubscribe());
  return { stopped, told };
};
"""
NATIVE_USE = """
export default async (chatId, text) => {
  const first = open({ connection, threadId: chatId, persistence: true });
  first.attach();
  if (text) void first.sendMessage(text);
  await becomes(() => textOf(first).includes("Half"));
  if (text) first.dispose();
  else await becomes(() => !first.getIsLoading());
  return textOf(first);
};
"""
AGENT_USE = f"""
async function ask(chatId, text, subscriber) {{
  {ASK_AGENT}
  return agent;
}}
async function resume(chatId, subscriber) {{
  const {{ agent, resumed }} = await agentOf(chatId, subscriber);
  await resumed;
  return agent;
}}
export default async (chatId, text) => {{
  let told = "";
  const onTextMessageContentEvent = async ({{ event }}) => {{
    told += event.delta;
    // The answer goes on once somebody has joined it.
    if (!text && told === "Half ") await fetch(`/gates/${{chatId}}/open`, {{ method: "POST" }});
  }};
  const subscriber = {{ onTextMessageContentEvent }};
  const agent = await (text ? ask(chatId, text, subscriber) : resume(chatId, subscriber));
  return [told, agent.messages.at(-1).content];
}};
"""


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        # A session of its own, which the scripts share.
        await visitor.ask(new_id(), "Hello.")
        yield visitor


@pytest.fixture
async def run(script_host: NodeHost, visitor: Visitor) -> Callable[..., Any]:
    await script_host.call("visit", base=str(visitor.http.base_url), headers={"Cookie": headers_of(visitor)["Cookie"]})

    async def run(script: str, prefix: str, *given: Any) -> Any:
        script = script.replace("/static/resumable_stream/tanstack.js", str(CONNECTION)).replace("/api/chat", prefix)
        return await script_host.call("run", script=script, given=given)

    return run


async def test_its_live_page_shows_what_another_tab_sends_and_stops_it(run: Callable[..., Any]) -> None:
    chat = new_id()
    script = json.dumps(["Not the whole ", {"gate": chat}, "answer."])

    told = await run(CHAT + LIVE + LIVE_USE, "/api/tanstack", chat, script)

    assert told == {"stopped": True, "told": [["Not the whole ", "ready"]] * 2}


async def test_its_page_with_the_librarys_own_resuming_goes_on_after_a_reload(
    run: Callable[..., Any], visitor: Visitor
) -> None:
    chat = new_id()
    script = json.dumps(["Half ", {"gate": chat}, "and whole."])
    before = await run(CHAT + NATIVE + NATIVE_USE, "/api/native", chat, script)
    after = asyncio.create_task(run(CHAT + NATIVE + NATIVE_USE, "/api/native", chat, None))
    await visitor.open_gate(chat)

    assert (before, await after) == ("Half ", "Half and whole.")


async def test_its_agent_is_sent_the_same_run_again(run: Callable[..., Any], visitor: Visitor) -> None:
    chat = new_id()
    script = json.dumps(["Half ", {"gate": chat}, "and whole."])
    first = asyncio.create_task(run(AGENT + AGENT_USE, "/api/agui", chat, script))
    await visitor.gate_reached(chat)
    again = await run(AGENT + AGENT_USE, "/api/agui", chat, None)

    assert [await first, again] == [["Half and whole."] * 2] * 2
    # Nothing runs any more, and nothing is told twice.
    assert await run(AGENT + AGENT_USE, "/api/agui", chat, None) == ["", "Half and whole."]


async def test_the_connection_has_the_packages_name_too(run: Callable[..., Any]) -> None:
    use = 'export default () => Object.keys(createS2Connection({ sendUrl: "/" }));'

    assert await run(RENAMED + use, "/api/tanstack") == ["connect", "stop"]
