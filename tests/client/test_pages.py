"""The manual's pages on clients are true: each view that they show answers as they say.

What they show for the browser is run by ``tests/integration``, with the clients themselves.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import include, path

from ..support.event_source import Event, parse
from ..support.manual import ROOT, UrlConf, code_blocks, run_python

PAGES = sorted((ROOT / "docs" / "clients").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_is_valid_python(page: Path) -> None:
    for block in code_blocks(str(page), "python"):
        ast.parse(block)


def shown(page: str, **given: Any) -> dict[str, Any]:
    """Run the Python of a client's page and return its names."""
    return run_python(f"docs/clients/{page}.md", **given)


async def read(response: Any) -> list[Event]:
    assert response.status_code == 200
    if not response.streaming:
        return parse(response.content)
    return parse(b"".join([part async for part in response.streaming_content]))


async def post(client: AsyncClient, **body: Any) -> Any:
    return await client.post("/api/chat", {"id": "c1", **body}, content_type="application/json")


async def test_the_ai_sdks_view_streams_its_chunks() -> None:
    view = shown("ai-sdk")["SupportChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
        events = await read(await post(AsyncClient(), messages=[message]))

    chunks = [json.loads(event.data) for event in events]
    assert [chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta"] == ["You said: ", "Hello"]
    assert chunks[1] == {"type": "data-note", "data": "Thinking of a reply."}


async def test_assistant_uis_view_names_the_chat_with_each_stream() -> None:
    view = shown("assistant-ui")["SupportChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}
        client = AsyncClient()
        started = await post(client, messages=[message])
        await read(started)
        resumed = await client.get("/api/chat/c1/stream")
        nothing = await client.get("/api/chat/c2/stream")

    assert [one.headers.get("X-Resumable-Stream-Id") for one in (started, resumed, nothing)] == ["c1", "c1", None]


async def test_the_view_for_fetch_event_source_answers_the_same_post_with_the_same_answer() -> None:
    view = shown("fetch-event-source")["TextChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        client, key = AsyncClient(), {"Idempotency-Key": "k"}
        body = {"id": "c1", "message": "world"}
        first, again = [
            await read(await client.post("/api/chat", body, content_type="application/json", headers=key))
            for _ in range(2)
        ]

    assert again == first
    assert [json.loads(event.data) for event in first[:-1]] == ["Hello ", "world"]


async def test_anthropics_view_passes_on_what_its_library_streams() -> None:
    asked: list[Any] = []

    async def create(**given: Any) -> AsyncIterator[Any]:
        async def events() -> AsyncIterator[Any]:
            yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}

        asked.append(given)
        return events()

    client = SimpleNamespace(messages=SimpleNamespace(create=create))
    view = shown("anthropic", client=client, MODEL="m")["ClaudeChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        events = await read(await post(AsyncClient(), messages=[{"role": "user", "content": "Hello"}]))

    assert asked[0]["messages"] == [{"role": "user", "content": "Hello"}]
    assert [event.type for event in events] == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


def texts_of(events: list[Event]) -> list[str]:
    """Return the deltas of AG-UI's and TanStack AI's events."""
    chunks = [json.loads(event.data) for event in events]
    return [chunk["delta"] for chunk in chunks if chunk["type"] == "TEXT_MESSAGE_CONTENT"]


TANSTACK_MESSAGE = {"id": "m1", "role": "user", "parts": [{"type": "text", "content": "Hello"}]}


async def test_tanstacks_views_answer_the_two_ways_to_connect() -> None:
    names = shown("tanstack")
    client = AsyncClient()
    live, native = (names[view].urls() for view in ("LiveChat", "NativeChat"))
    with override_settings(
        ROOT_URLCONF=UrlConf(path("live", include(live)), path("native", include(native, "native")))
    ):
        started = await client.post("/live", {"id": "c1", "messages": [TANSTACK_MESSAGE]}, "application/json")
        body = {"threadId": "c2", "runId": "r1", "messages": [{"id": "m2", "role": "user", "content": "Hello"}]}
        run = await read(await client.post("/native", body, "application/json"))
        again = await read(await client.get("/native?offset=-1&runId=r1"))
        loaded = await client.get("/native?threadId=c2")

    assert started.status_code == 202
    assert texts_of(run) == texts_of(again) == ["Hello", "You said: ", "Hello"]
    assert [message["role"] for message in loaded.json()["messages"]] == ["user", "assistant"]


async def test_agui_s_view_passes_on_events_and_text() -> None:
    view = shown("ag-ui")["AgentChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        messages = [{"id": "m1", "role": "user", "content": "Hello"}]
        events = await read(await post(AsyncClient(), threadId="c1", runId="r1", messages=messages))

    assert texts_of(events) == ["You said: ", "Hello"]
    assert {json.loads(event.data)["type"] for event in events} >= {"STEP_STARTED", "STEP_FINISHED", "RUN_FINISHED"}


async def test_the_npm_packages_three_routes_are_the_views_own() -> None:
    async def answer(messages: list[Any]) -> AsyncIterator[str]:
        yield "Hi"

    names = run_python("docs/coming-from-s2-resumable-stream.md", answer=answer)
    client = AsyncClient()
    with override_settings(ROOT_URLCONF=UrlConf(*names["urlpatterns"])):
        assert (await post(client, messages=[TANSTACK_MESSAGE])).status_code == 202
        assert (await client.get("/api/chat/replay?id=c1")).status_code == 200
        assert (await client.delete("/api/chat", {"id": "c1"}, "application/json")).status_code in (202, 204)


async def test_the_view_for_an_event_source_answers_at_once_and_streams_to_whoever_follows() -> None:
    view = shown("eventsource")["TextChat"]
    client = AsyncClient()
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        started = await post(client, message="you")
        events = await read(await client.get(f"/api/chat/replay?id=c1&from={started['X-Generation-Cursor']}"))

    assert started.status_code == 202
    assert [(event.type, json.loads(event.data)) for event in events] == [
        ("message", "Hello "),
        ("message", "you"),
        ("end", {"reason": "finished"}),
    ]


async def test_the_view_for_fetch_streams_at_once() -> None:
    view = shown("fetch-text")["TextChat"]
    with override_settings(ROOT_URLCONF=UrlConf(path("api/chat", include(view.urls())))):
        started = await post(AsyncClient(), message="you")
        events = await read(started)

    assert started["X-Generation-Cursor"] == "0"
    assert "".join(json.loads(event.data) for event in events[:-1]) == "Hello you"


def _templates() -> list[dict[str, Any]]:
    (page,) = code_blocks("docs/clients/htmx.md", "html")
    loaders = [
        ("django.template.loaders.locmem.Loader", {"chat.html": page}),
        "django.template.loaders.app_directories.Loader",
    ]
    return [{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}}]


async def test_htmx_gets_a_page_a_fragment_and_the_page_with_the_answer() -> None:
    names = shown("htmx")
    urls = UrlConf(path("api/chat", include(names["PageChat"].urls())), path("<str:chat_id>", names["chat_page"]))
    client = AsyncClient()
    values = {**settings.RESUMABLE_STREAM, "HISTORY_TURNS": 2}
    with override_settings(ROOT_URLCONF=urls, TEMPLATES=_templates(), RESUMABLE_STREAM=values):
        empty: HttpResponse = await client.get("/c1")
        started = await client.post("/api/chat", {"id": "c1", "message": "<you>"})
        events = await read(await client.get(f"/api/chat/c1/stream?from={started['X-Generation-Cursor']}"))
        page = await client.get("/c1")
        for number in range(2):
            await client.post("/api/chat", {"id": "c1", "message": f"number {number}"})
            await read(await client.get("/api/chat/c1/stream?from=0"))
        newest = (await client.get("/c1")).content.decode()
        (link,) = re.findall('href="([?]before=[^"]+)"', newest)
        earlier = await client.get(f"/c1{link}")
        unknown = await client.get("/c1?before=nowhere")

    assert "hx-post" in empty.content.decode()
    assert "<article" not in empty.content.decode()
    assert "sse-connect" in started.content.decode()
    assert events[-1].type == "end"
    assert "Hello &lt;you&gt;" in page.content.decode()
    assert "sse-connect" not in page.content.decode()
    assert "Hello number 0" in newest
    assert "&lt;you&gt;" not in newest
    assert "Hello &lt;you&gt;" in earlier.content.decode()
    assert "Earlier" not in earlier.content.decode()
    assert unknown.status_code == 404
