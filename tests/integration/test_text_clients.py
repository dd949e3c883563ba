"""EventSource, Chromium's and the npm package's, and plain ``fetch``, with the manual's own scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.manual import code_blocks

from .node_host import NodeHost
from .pages import Page
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Step, Visitor, expect, new_id

pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

SCRIPT: tuple[Step, ...] = ("Hello ", '<b>&"\r\n \0\u2028', {"type": "note"}, "world.")
TEXT = 'Hello <b>&"\r\n \0\u2028world.'

_GATHER_EVENTS = """
{code}
export default async (way, api, chatId, given, headers) => {{
  const plain = {{ textContent: "", append(text) {{ this.textContent += text; }} }};
  const answer = globalThis.document?.createElement?.("p") ?? plain;
  const end = way === "ask" ? await ask(api, chatId, given, answer, headers) : await follow(api, chatId, given, answer);
  return {{ text: answer.textContent, end }};
}};
"""
_GATHER_BODY = """
{code}
export default async (way, api, chatId, given, headers) => {{
  let text = "";
  const pieces = ask(api, chatId, given, headers);
  for (;;) {{
    const {{ value, done }} = await pieces.next();
    if (done) return {{ text, end: value }};
    if (typeof value === "string") text += value;
  }}
}};
"""
_USE_BODY = """
{code}
export default async (chatId, {{ "X-CSRFToken": token }}) => {{
  const answer = document.getElementById("answer");
  {use}
  return answer.textContent;
}};
"""
(FOLLOW,) = code_blocks("docs/clients/eventsource.md", "javascript")
EVENTS = _GATHER_EVENTS.format(code=FOLLOW)
ASK, USE = code_blocks("docs/clients/fetch-text.md", "javascript")
BODY = _GATHER_BODY.format(code=ASK)
USE_BODY = _USE_BODY.format(code=ASK, use=USE).replace("/api/chat", "/api/hello")

Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base, "/api/posted-text") as visitor:
        # A session of its own, which the clients share.
        await expect(await visitor.http.post(visitor.prefix, json={"id": new_id(), "message": "[]"}), 202)
        yield visitor


def headers_of(visitor: Visitor) -> dict[str, str]:
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
    return {"Cookie": cookies, "X-CSRFToken": visitor.http.headers["X-CSRFToken"]}


@pytest.fixture(params=["node", "chromium"])
def run(request: pytest.FixtureRequest, visitor: Visitor) -> Run:
    """Run a script on the site, or behind a proxy of it."""
    host: NodeHost = request.getfixturevalue({"node": "script_host", "chromium": "browser"}[request.param])

    async def in_node(script: str, *given: Any, base: str = "") -> dict[str, Any]:
        await host.call("visit", base=base or str(visitor.http.base_url), headers=headers_of(visitor))
        result: dict[str, Any] = await host.call("run", script=script, given=[*given, {}])
        return result

    async def in_browser(script: str, *given: Any, base: str = "") -> dict[str, Any]:
        page = Page(host, new_id())
        site = base or str(visitor.http.base_url).rstrip("/")
        await page.open(f"{site}/pages/blank", cookies=dict(visitor.http.cookies))
        token = {"X-CSRFToken": visitor.http.headers["X-CSRFToken"]}
        result: dict[str, Any] = await page.call("run", script=script, given=[*given, token])
        return result

    return in_node if request.param == "node" else in_browser


async def start(visitor: Visitor, chat: str, *steps: Step) -> str:
    """Start an answer, and return where it begins."""
    response = await visitor.http.post(visitor.prefix, json={"id": chat, "message": json.dumps(steps)})
    await expect(response, 202)
    cursor: str = response.headers["X-Generation-Cursor"]
    return cursor


CLIENTS = pytest.mark.parametrize(
    ("script", "prefix"), [(EVENTS, "/api/posted-text"), (BODY, "/api/text")], ids=["EventSource", "fetch"]
)


@CLIENTS
async def test_an_answer_arrives_whole(run: Run, visitor: Visitor, script: str, prefix: str) -> None:
    made = await run(script, "ask", prefix, new_id(), json.dumps(SCRIPT))

    assert made == {"text": TEXT, "end": {"reason": "finished"}}


@CLIENTS
async def test_a_client_whose_connections_are_cut_gathers_what_an_uninterrupted_one_does(
    run: Run, visitor: Visitor, server: Server, script: str, prefix: str
) -> None:
    count = {"count": 250, "every_ms": 2}
    async with cutting_proxy(server.port) as proxy:
        # Enough for the page and the start; the events go on in the same connection.
        proxy.bytes_before_cut = seeded_cuts(1, 2500, 6000)
        made = await run(script, "ask", prefix, new_id(), json.dumps([count]), base=proxy.base)

    assert made == {"text": "".join(f"{number} " for number in range(250)), "end": {"reason": "finished"}}
    assert proxy.cuts > 0


@pytest.mark.parametrize("run", ["chromium"], indirect=True)
async def test_a_page_asks_and_shows_what_it_is_told(run: Run) -> None:
    assert await run(USE_BODY, new_id()) == "Hello Hello?"


async def test_a_page_with_our_own_client_asks_and_shows_what_it_is_told(browser: NodeHost, server: Server) -> None:
    page = Page(browser, new_id())
    await page.open(f"{server.base}/pages/javascript-client/{new_id()}")

    await page.sees('#answer:has-text("Hello Why is the sky blue?")')
    # This site has no websockets there, which the client has to find out.
    assert not [problem for problem in await page.call("problems") if "WebSocket connection" not in problem]


async def test_clients_who_join_in_mid_answer_are_told_of_a_stop(run: Run, visitor: Visitor) -> None:
    chat = new_id()
    cursor = await start(visitor, chat, "Not the whole ", {"gate": chat}, "answer.")
    await visitor.gate_reached(chat)
    told = await visitor.messages(chat)
    assert (str(told["cursor"]), told["generations"][-1]["end"]) == (cursor, None)

    async def stop() -> None:
        await expect(await visitor.stop(chat), 202)

    following = [run(EVENTS, "follow", visitor.prefix, chat, told["cursor"]) for _ in range(2)]
    *made, _ = await asyncio.gather(*following, stop())

    assert made == [{"text": "Not the whole ", "end": {"reason": "stopped"}}] * 2
    assert (await visitor.messages(chat))["messages"][-1]["content"] == "Not the whole "


async def test_a_failure_is_told_in_our_words(run: Run, visitor: Visitor) -> None:
    made = await run(EVENTS, "ask", visitor.prefix, new_id(), json.dumps(["Half an ", {"fail": "secret detail"}]))

    assert made == {"text": "Half an ", "end": {"reason": "failed", "error": "An error occurred."}}


async def test_a_reader_who_has_it_all_is_closed_for_good(run: Run, visitor: Visitor) -> None:
    chat = new_id()
    await start(visitor, chat, "Hello.")
    assert await visitor.ended(chat) == "finished"

    cursor = (await visitor.messages(chat))["cursor"]

    with pytest.raises(Exception, match="The answer cannot be read"):
        await run(EVENTS, "follow", visitor.prefix, chat, cursor)
