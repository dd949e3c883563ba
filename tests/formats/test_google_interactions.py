"""What ``client.interactions`` of ``google-genai`` streams, made by the real package."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats.producers import ProducerError
from tests.support.canned_provider import Provider, sse

from .seen import CALLING, CUT_OFF, FORMATS, USUAL, WITH_FILES, see
from .test_producers import library

PNG = "iVBORw=="
CITATION = {"type": "url_citation", "url": "https://example.com/a", "title": "A"}
STATE = {"id": "x", "object": "interaction", "model": "m"}


def begin(index: int, kind: str, **step: Any) -> dict[str, Any]:
    return {"event_type": "step.start", "index": index, "step": {"type": kind, **step}}


def delta(index: int, kind: str, **piece: Any) -> dict[str, Any]:
    return {"event_type": "step.delta", "index": index, "delta": {"type": kind, **piece}}


def stop(index: int) -> dict[str, Any]:
    return {"event_type": "step.stop", "index": index}


def end(status: str) -> dict[str, Any]:
    return {"event_type": "interaction.completed", "interaction": {**STATE, "status": status}}


ANSWER: list[dict[str, Any]] = [
    {"event_type": "interaction.created", "interaction": {**STATE, "status": "in_progress"}},
    begin(0, "thought"),
    delta(0, "thought_summary", content={"type": "text", "text": "hm"}),
    delta(0, "thought_signature", signature="c2ln"),
    stop(0),
    begin(1, "model_output"),
    delta(1, "text", text="Hel"),
    delta(1, "text", text="lo"),
    delta(1, "text_annotation_delta", annotations=[CITATION]),
    delta(1, "image", mime_type="image/png", data=PNG),
    stop(1),
    begin(2, "function_call", id="c1", name="weather", arguments={}),
    delta(2, "arguments_delta", arguments='{"city":'),
    delta(2, "arguments_delta", arguments='"Paris"}'),
    stop(2),
    begin(3, "function_call", id="c2", name="weather", arguments={"city": "Rome"}),
    stop(3),
    end("requires_action"),
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def stream(provider: Provider, events: list[dict[str, Any]], *, is_async: bool = False) -> list[Any]:
    body = b"".join(f"event: {event['event_type']}\n".encode() + sse([event]) for event in events)
    provider.answer("text/event-stream", body)
    client = library("google.genai").Client(api_key="x", http_options={"base_url": provider.url})
    asked = {"model": "m", "input": "Hello?", "stream": True}
    if not is_async:
        with client:
            return list(client.interactions.create(**asked))

    async def collect() -> list[Any]:
        async with client.aio as aio:
            return [event async for event in await aio.interactions.create(**asked)]

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
        assert seen.files == ([("image/png", f"data:image/png;base64,{PNG}")] if name in WITH_FILES else []), name
        assert seen.sources == ([("https://example.com/a", "A")] if name in WITH_FILES else []), name
        assert see(name, ANSWER) == see(name, [sse(ANSWER)]) == seen, name


@pytest.mark.parametrize(("status", "words"), [("completed", USUAL), ("incomplete", CUT_OFF)])
def test_clients_are_told_why_the_model_has_stopped(provider: Provider, status: str, words: dict[str, Any]):
    items = stream(provider, [begin(0, "model_output"), delta(0, "text", text="Hello"), stop(0), end(status)])
    assert {name: see(name, items).finish for name in FORMATS} == words


@pytest.mark.parametrize(
    "failure", [end("failed"), {"event_type": "error", "error": {"code": "internal", "message": "secret insides"}}]
)
def test_a_failure_in_the_stream_fails_the_answer(provider: Provider, failure: dict[str, Any]):
    events = [begin(0, "model_output"), delta(0, "text", text="Hel"), failure]
    items = stream(provider, events)
    for name in FORMATS:
        for source in (items, [sse(events)]):
            with pytest.raises(ProducerError, match="has failed"):
                see(name, source)
