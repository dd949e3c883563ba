"""The manual's script for the AI SDK, with the stock transport of each version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.manual import code_blocks

from .node_host import NodeHost
from .servers import Server
from .test_text_clients import headers_of
from .visitor import Visitor, new_id, text_of, user_message

pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

USE = """
const gather = async (stream) => {
  const chunks = [];
  for await (const chunk of stream ?? []) chunks.push(chunk);
  return chunks;
};
const ways = {
  send: async (chatId, messages) =>
    gather(await transport.sendMessages({ chatId, messages, trigger: "submit-message" })),
  resumeAndStop: async (chatId) => {
    const stream = await transport.reconnectToStream({ chatId });
    return { status: (await stopAnswer(chatId)).status, chunks: await gather(stream) };
  },
  load,
};
export default (way, ...given) => ways[way](...given);
"""
_, PAGE = code_blocks("docs/clients/ai-sdk.md", "javascript")
SCRIPT = PAGE + USE


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        # A session of its own, which the scripts share.
        await visitor.ask(new_id(), "Hello.")
        yield visitor


@pytest.mark.parametrize("package", ["ai5", "ai6", "ai7"])
async def test_its_page_sends_resumes_loads_and_stops(script_host: NodeHost, visitor: Visitor, package: str) -> None:
    chat = new_id()
    # The script brings the token itself.
    await script_host.call("visit", base=str(visitor.http.base_url), headers={"Cookie": headers_of(visitor)["Cookie"]})

    async def run(*given: Any) -> Any:
        return await script_host.call("run", script=SCRIPT.replace('from "ai"', f'from "{package}"'), given=given)

    message = user_message("Not the whole ", {"gate": chat}, "answer.")
    sending = asyncio.create_task(run("send", chat, [message]))
    await visitor.gate_reached(chat)
    loaded = await run("load", chat)
    resumed = await run("resumeAndStop", chat)

    assert [one["id"] for one in loaded["messages"]] == [message["id"]]
    assert json.loads(loaded["messages"][0]["parts"][0]["text"])[0] == "Not the whole "
    assert text_of(await sending) == "Not the whole "
    assert (resumed["status"], text_of(resumed["chunks"])) == (202, "Not the whole ")
    assert len((await run("load", chat))["messages"]) == 2
