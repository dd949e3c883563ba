"""What ``mistralai`` streams, made by the real package of what a provider on this machine sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats.item_types import Finish, ToolInput
from resumable_stream.formats.producers import ProducerError
from tests.support.canned_provider import Provider, sse

from .seen import CALLING, CUT_OFF, FORMATS, USUAL, WITH_FILES, Seen, see
from .test_producers import call, library, read_all

IMAGE = "data:image/png;base64,iVBORw=="


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def calling(arguments: Any, name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}, **more}]}


THINKING = [
    {"type": "text", "text": "hm"},
    {"type": "reference", "reference_ids": [1]},
    {"type": "tool_reference", "tool": "web_search", "title": "A", "url": "https://example.com/a"},
]
ANSWER = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": [{"type": "thinking", "thinking": THINKING[:2]}]}),
    chunk({"content": [{"type": "text", "text": "Hel"}, {"type": "reference", "reference_ids": [1, 2]}]}),
    chunk({"content": "lo"}),
    chunk({"content": [{"type": "image_url", "image_url": {"url": IMAGE}}, {"type": "new_kind", "value": 1}]}),
    chunk(calling('{"city": "Paris"}', id="c1", index=0)),
    chunk(calling('{"city": "Rome"}', id="c2", index=1), "tool_calls") | {"usage": {"total_tokens": 9}},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def stream(provider: Provider, chunks: list[dict[str, Any]], *, is_async: bool = False) -> list[Any]:
    """Stream by the package's client, by either of its ways."""
    provider.answer("text/event-stream", sse(chunks) + b"data: [DONE]\n\n")
    made = library("mistralai.client").Mistral(api_key="x", server_url=provider.url)
    asked = {"model": "mistral", "messages": [{"role": "user", "content": "Hello?"}]}
    if not is_async:
        with made as client, client.chat.stream(**asked) as events:
            return list(events)

    async def collect() -> list[Any]:
        async with made as client, await client.chat.stream_async(**asked) as events:
            return [event async for event in events]

    return asyncio.run(collect())


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_format_shows_what_has_a_place_in_it(provider: Provider, is_async: bool):
    items = stream(provider, ANSWER, is_async=is_async)
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CALLING[name]), name
        if name == "text":
            continue
        assert seen.reasoning == "hm", name
        assert seen.calls == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})], name
        assert seen.call_ids == ["c1", "c2"], name
        assert seen.files == ([("image/png", IMAGE)] if name in WITH_FILES else []), name


def test_an_agents_chunks_are_read(provider: Provider):
    provider.answer("text/event-stream", sse(ANSWER) + b"data: [DONE]\n\n")
    made = library("mistralai.client").Mistral(api_key="x", server_url=provider.url)
    with made as client, client.agents.stream(agent_id="a", messages=[{"role": "user", "content": "Hello?"}]) as events:
        assert see("aisdk", list(events)).text == "Hello"


@pytest.mark.parametrize("items", [ANSWER, [sse(ANSWER)]], ids=["json", "encoded"])
def test_the_json_of_the_same_chunks_is_read_alike(provider: Provider, items: list[Any]):
    objects = stream(provider, ANSWER)
    for name in FORMATS:
        assert see(name, items) == see(name, objects), name


def test_lists_are_read_in_other_packages_objects_too():
    chunk_class = library("openai.types.chat").ChatCompletionChunk
    objects = [chunk_class.construct(**data) for data in ANSWER[:4]]
    assert see("aisdk", objects) == Seen(text="Hello", reasoning="hm")


@pytest.mark.parametrize(("reason", "words"), [("stop", USUAL), ("length", CUT_OFF)])
def test_clients_are_told_why_the_model_has_stopped(provider: Provider, reason: str, words: dict[str, Any]):
    items = stream(provider, [chunk({"content": "Hello"}), chunk({"content": ""}, reason)])
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", words[name]), name


def test_an_end_that_is_an_error_fails_the_answer(provider: Provider):
    items = stream(provider, [chunk({"content": "Hel"}), chunk({"content": ""}, "error")])
    for name in FORMATS:
        with pytest.raises(ProducerError, match="has failed"):
            see(name, items)


def test_a_call_in_pieces_without_an_id_is_one_call(provider: Provider):
    pieces = [calling('{"city":'), calling('"Paris"}', name="")]
    begin, *rest, finish = read_all(stream(provider, [*map(chunk, pieces), chunk({}, "tool_calls")]))
    assert begin.call_id.startswith("call-")
    assert [begin, *rest] == call('{"city":', '"Paris"}', call_id=begin.call_id)
    assert finish == Finish("tool-calls")


def test_arguments_may_be_an_object(provider: Provider):
    (item,) = read_all(stream(provider, [chunk(calling({"city": "Paris"}, id="c1"))]))
    assert item == ToolInput("c1", "weather", {"city": "Paris"})


def test_a_page_that_a_tool_has_found_is_a_source():
    seen = see("aisdk", [chunk({"content": THINKING[2:]})])
    assert seen.sources == [("https://example.com/a", "A")]


CONVERSATION: list[dict[str, Any]] = [
    {"type": "conversation.response.started", "conversation_id": "x"},
    {"type": "tool.execution.started", "id": "t1", "name": "web_search", "arguments": '{"q":'},
    {"type": "tool.execution.delta", "id": "t1", "name": "web_search", "arguments": '"x"}'},
    {"type": "tool.execution.done", "id": "t1", "name": "web_search", "info": {"found": 1}},
    {"type": "message.output.delta", "id": "m", "content": {"type": "thinking", "thinking": THINKING[:1]}},
    {"type": "message.output.delta", "id": "m", "content": "Hel"},
    {"type": "message.output.delta", "id": "m", "content": {"type": "text", "text": "lo"}},
    {"type": "message.output.delta", "id": "m", "content": THINKING[2]},
    {"type": "function.call.delta", "id": "f", "name": "weather", "tool_call_id": "c1", "arguments": '{"city":'},
    {"type": "function.call.delta", "id": "f", "name": "weather", "tool_call_id": "c1", "arguments": '"Paris"}'},
    {
        "type": "conversation.response.done",
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "connector_tokens": 0},
    },
]


def converse(provider: Provider, events: list[dict[str, Any]], *, is_async: bool = False) -> list[Any]:
    """Stream a conversation by the package's client, by either of its ways."""
    body = b"".join(f"event: {event['type']}\n".encode() + sse([event]) for event in events)
    provider.answer("text/event-stream", body)
    made = library("mistralai.client").Mistral(api_key="x", server_url=provider.url)
    if not is_async:
        with made as client, client.beta.conversations.start_stream(inputs="Hello?", model="m") as stream:
            return list(stream)

    async def collect() -> list[Any]:
        start = made.beta.conversations.start_stream_async
        async with made, await start(inputs="Hello?", model="m") as stream:
            return [event async for event in stream]

    return asyncio.run(collect())


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_conversation_is_shown_in_every_format(provider: Provider, is_async: bool):
    items = converse(provider, CONVERSATION, is_async=is_async)
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CALLING[name]), name
        if name == "text":
            continue
        assert seen.reasoning == "hm", name
        assert seen.calls == [("web_search", {"q": "x"}), ("weather", {"city": "Paris"})], name
        assert seen.sources == ([("https://example.com/a", "A")] if name in WITH_FILES else []), name
        assert see(name, CONVERSATION) == see(name, [sse(CONVERSATION)]) == seen, name


def test_an_error_in_a_conversation_fails_the_answer(provider: Provider):
    failure = {"type": "conversation.response.error", "message": "secret insides", "code": 500}
    items = converse(provider, [*CONVERSATION[:6], failure])
    for name in FORMATS:
        for source in (items, [sse([*CONVERSATION[:6], failure])]):
            with pytest.raises(ProducerError, match="secret insides"):
                see(name, source)
