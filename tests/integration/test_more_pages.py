"""The manual's scripts for assistant-ui's transport and for fetch-event-source, with the stock packages."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.manual import ROOT, code_blocks

from .node_host import NodeHost
from .pages import Page
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .test_text_clients import headers_of
from .visitor import Visitor, new_id, text_of, user_message

pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

(TRANSPORT,) = code_blocks("docs/clients/assistant-ui.md", "javascript")
ASSISTANT_UI = (
    TRANSPORT
    + """
const kept = new Map();
globalThis.window = {
  sessionStorage: {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  },
};
const storage = transport.getResumableAdapter().storage;
const gather = async (stream) => {
  const chunks = [];
  for await (const chunk of stream ?? []) chunks.push(chunk);
  return chunks;
};
export default async (chatId, message, gate) => {
  const request = { chatId, messages: [message], trigger: "submit-message" };
  const reader = (await transport.sendMessages(request)).getReader();
  await reader.read();
  const known = storage.getStreamId(chatId);
  await reader.cancel(); // The page is loaded again.
  const resumed = await transport.reconnectToStream({ chatId });
  await fetch(`/gates/${gate}/open`, { method: "POST" });
  const chunks = await gather(resumed);
  delete globalThis.window;
  return { known, chunks, left: [...kept.values()] };
};
"""
)
(BEACON,) = re.findall(r"``(navigator\.sendBeacon\(.*\))``", (ROOT / "docs/clients/ai-sdk.md").read_text())
(ASK,) = code_blocks("docs/clients/fetch-event-source.md", "javascript")
FETCH_EVENTS = (
    ASK
    + """
export default async (api, chatId, message, headers) => {
  const answer = document.createElement("p");
  try {
    const end = await ask(api, chatId, message, answer, headers);
    return { end, text: answer.textContent };
  } catch (error) {
    return { error: error.message, text: answer.textContent };
  }
};
"""
)


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        # A session of its own, which the clients share.
        await visitor.ask(new_id(), "Hello.")
        yield visitor


async def test_assistant_uis_transport_resumes_by_the_id_that_it_was_given(
    script_host: NodeHost, visitor: Visitor
) -> None:
    chat, gate = f"auth0|{new_id()}", new_id()
    await script_host.call("visit", base=str(visitor.http.base_url), headers={"Cookie": headers_of(visitor)["Cookie"]})
    message = user_message("Half ", {"gate": gate}, "and whole.")

    found = await script_host.call("run", script=ASSISTANT_UI, given=[chat, message, gate])

    assert (found["known"], found["left"]) == (chat, [])
    assert text_of(found["chunks"]) == "Half and whole."


@pytest.fixture(scope="module")
def fetch_events(node_project: Path) -> str:
    """The script with the package in it, as pages have it."""
    command = ["node_modules/.bin/esbuild", "--bundle", "--format=esm"]
    done = subprocess.run(command, input=FETCH_EVENTS, cwd=node_project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def ask_in_a_page(browser: NodeHost, visitor: Visitor, script: str, *given: Any, base: str = "") -> Any:
    page = Page(browser, new_id())
    site = base or str(visitor.http.base_url).rstrip("/")
    await page.open(f"{site}/pages/blank", cookies=dict(visitor.http.cookies))
    token = {"X-CSRFToken": visitor.http.headers["X-CSRFToken"]}
    return await page.call("run", script=script, given=["/api/text", *given, token])


@pytest.mark.parametrize("lowest", [0, 600], ids=["before the first event", "after some"])
async def test_fetch_event_source_reads_one_answer_over_many_breaks(
    browser: NodeHost, visitor: Visitor, server: Server, fetch_events: str, lowest: int
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        cuts = seeded_cuts(7, lowest, 1200)
        passes = iter([None, *(cuts() for _ in range(3))])
        proxy.bytes_before_cut = lambda: next(passes, None)
        script = '[{"count": 60, "every_ms": 1}, "end."]'
        found = await ask_in_a_page(browser, visitor, fetch_events, chat, script, base=proxy.base)

    assert found == {"end": {"reason": "finished"}, "text": "".join(f"{number} " for number in range(60)) + "end."}
    async with Visitor(server.base, "/api/text") as reader:
        reader.http.cookies.update(visitor.http.cookies)
        assert len((await reader.messages(chat))["generations"]) == 1


async def test_fetch_event_source_does_not_ask_again_after_a_refusal(
    browser: NodeHost, visitor: Visitor, fetch_events: str
) -> None:
    found = await ask_in_a_page(browser, visitor, fetch_events, "a/b", "[]")

    assert found["text"] == ""
    assert "The chat's id must be" in found["error"]


async def test_a_page_that_goes_stops_its_answer_with_a_beacon(browser: NodeHost, visitor: Visitor) -> None:
    chat = new_id()
    asking = asyncio.create_task(visitor.ask(chat, "Half ", {"gate": chat}))
    await visitor.gate_reached(chat)
    page = Page(browser, new_id())
    await page.open(f"{str(visitor.http.base_url).rstrip('/')}/pages/blank", cookies=dict(visitor.http.cookies))
    script = f"export default (api, chatId, token) => {BEACON};"

    is_queued = await page.call("run", script=script, given=["/api/chat", chat, visitor.http.headers["X-CSRFToken"]])

    assert is_queued
    assert await visitor.ended(chat) == "stopped"
    await asking
