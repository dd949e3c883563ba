"""The stock ``@anthropic-ai/sdk``, unmodified, against running servers: its own client, by the manual's ``fetch``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.formats.test_anthropic import RAW
from tests.support.manual import code_blocks

from .node_host import NodeHost
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Step, Visitor, expect, new_id

pytestmark = pytest.mark.parametrize("server", ["daphne-sqlite", "uvicorn-s2"], indirect=True)

PREFIX = "/api/anthropic"
RESUMABLE, USE = code_blocks("docs/clients/anthropic.md", "javascript")
SCRIPT = f"""
import Anthropic from "@anthropic-ai/sdk";
import {{ MessageStream }} from "@anthropic-ai/sdk/lib/MessageStream";
import {{ Stream }} from "@anthropic-ai/sdk/core/streaming";

{RESUMABLE}

const ways = {{
  async ask(api, chatId, content) {{
    const headers = () => ({{}});
    const messages = [{{ role: "user", content }}];
    const shown = [];
    const show = (delta) => shown.push(delta);
    {USE}
    return {{ message, shown: shown.join("") }};
  }},
  async follow(api, chatId, cursor) {{
    const response = await fetch(`${{api}}/replay?id=${{chatId}}&from=${{cursor}}`);
    const raw = Stream.fromSSEResponse(response, new AbortController());
    return {{ message: await MessageStream.fromReadableStream(raw.toReadableStream()).finalMessage() }};
  }},
}};

const told = (error) => ({{ status: error.status ?? null, error: error.error?.error?.message ?? `${{error}}` }});
export default (way, ...given) => ways[way](...given).catch(told);
"""


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base, PREFIX) as visitor:
        # A session of its own, which the clients share.
        body = {"id": new_id(), "messages": [{"role": "user", "content": "[]"}]}
        await expect(await visitor.http.post(PREFIX, json=body), 200)
        yield visitor


class Client:
    """The SDK in one session on one site."""

    def __init__(self, host: NodeHost, visitor: Visitor) -> None:
        self._host = host
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.http.cookies.items())
        self._headers = {"Cookie": cookies, "X-CSRFToken": visitor.http.headers["X-CSRFToken"]}
        self._base = str(visitor.http.base_url)

    async def ask(self, chat: str, *steps: Step, base: str = "") -> dict[str, Any]:
        return await self._run("ask", chat, json.dumps(steps), base=base)

    async def follow(self, chat: str, cursor: int) -> dict[str, Any]:
        return await self._run("follow", chat, cursor)

    async def _run(self, way: str, *given: Any, base: str = "") -> dict[str, Any]:
        await self._host.call("visit", base=base or self._base, headers=self._headers)
        result: dict[str, Any] = await self._host.call("run", script=SCRIPT, given=[way, PREFIX, *given])
        if "message" in result:
            # What the SDK adds to every message.
            assert result["message"].pop("parsed_output") is None
        return result


@pytest.fixture
def client(script_host: NodeHost, visitor: Visitor) -> Client:
    return Client(script_host, visitor)


async def answer_of(visitor: Visitor, chat: str) -> dict[str, Any]:
    """Return the last message as the server tells it."""
    message: dict[str, Any] = (await visitor.messages(chat))["messages"][-1]
    return message


async def test_an_answer_arrives_whole_and_is_told_again(client: Client, visitor: Visitor) -> None:
    chat = new_id()

    made = await client.ask(chat, "Hello ", "there.\u2028")

    assert made["shown"] == "Hello there.\u2028"
    assert made["message"]["content"] == [{"type": "text", "text": "Hello there.\u2028"}]
    assert made["message"]["stop_reason"] == "end_turn"
    assert await answer_of(visitor, chat) == made["message"]
    assert (await client.follow(chat, 0))["message"] == made["message"]


async def test_raw_events_of_every_kind_become_the_message_that_the_sdk_builds(
    client: Client, visitor: Visitor
) -> None:
    chat = new_id()

    made = await client.ask(chat, *RAW)

    assert [block["type"] for block in made["message"]["content"]] == [
        *("thinking", "text", "tool_use", "redacted_thinking"),
    ]
    assert made["message"]["content"][2]["input"] == {"city": "Paris"}
    assert await answer_of(visitor, chat) == made["message"]


async def test_a_client_whose_connections_are_cut_gathers_what_an_uninterrupted_one_does(
    client: Client, visitor: Visitor, server: Server
) -> None:
    chat = new_id()
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = seeded_cuts(3, 1000, 9000)
        made = await client.ask(chat, {"count": 250, "every_ms": 2}, *RAW, base=proxy.base)

    assert made["shown"] == "".join(f"{number} " for number in range(250)) + "Hello"
    assert proxy.cuts > 0
    assert await answer_of(visitor, chat) == made["message"] == (await client.follow(chat, 0))["message"]


async def test_a_second_client_joins_in_mid_answer_and_both_get_the_stopped_message(
    client: Client, visitor: Visitor
) -> None:
    chat = new_id()
    asking = asyncio.create_task(client.ask(chat, "Not the whole ", {"gate": chat}, "answer."))
    await visitor.gate_reached(chat)
    told = await visitor.messages(chat)
    following = asyncio.create_task(client.follow(chat, told["cursor"]))

    await expect(await visitor.stop(chat), 202)

    first, second = await asking, await following
    assert first["message"] == second["message"] == await answer_of(visitor, chat)
    assert first["message"]["content"] == [{"type": "text", "text": "Not the whole "}]
    assert first["message"]["stop_reason"] is None


async def test_a_failure_rejects_in_our_words_and_what_was_there_is_kept(client: Client, visitor: Visitor) -> None:
    chat = new_id()

    made = await client.ask(chat, "Half an ", {"fail": "secret detail"})

    assert made == {"status": None, "error": "An error occurred."}
    assert (await answer_of(visitor, chat))["content"] == [{"type": "text", "text": "Half an "}]


async def test_a_second_message_at_once_is_refused(client: Client, visitor: Visitor) -> None:
    chat = new_id()
    asking = asyncio.create_task(client.ask(chat, "One at ", {"gate": chat}, "a time."))
    await visitor.gate_reached(chat)

    assert (await client.ask(chat, "Never said."))["status"] == 409
    await visitor.open_gate(chat)

    assert (await asking)["shown"] == "One at a time."
