"""Sources, images, refusals, transcripts and custom calls of OpenAI's and Anthropic's own objects, in every format."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from resumable_stream.generations.sources import items_of

from ..support.manual import run_python
from . import test_producers as known
from .seen import FILTERED, FORMATS, WITH_FILES, see
from .test_producers import library

PAGE = ("https://example.com/a", "A")
CITATION = {"type": "url_citation", "url": PAGE[0], "title": PAGE[1], "start_index": 0, "end_index": 2}


def chat(delta: dict[str, Any], **fields: Any) -> Any:
    return library("openai.types.chat").ChatCompletionChunk.construct(**known.chat_chunk(delta), **fields)


def annotated_chat() -> list[Any]:
    return [chat({"content": "Hi", "annotations": [{"type": "url_citation", "url_citation": CITATION}]})]


def perplexity() -> list[Any]:
    results = [{"url": PAGE[0], "title": PAGE[1], "date": None}]
    return [chat({"content": piece}, search_results=results) for piece in ("H", "i")]


def responses() -> list[Any]:
    types = library("openai.types.responses")
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    text = types.ResponseTextDeltaEvent(type="response.output_text.delta", delta="Hi", logprobs=[], **place)
    added = {"type": "response.output_text.annotation.added", "annotation_index": 0, "annotation": CITATION, **place}
    return [text, types.ResponseOutputTextAnnotationAddedEvent.model_validate(added)]


def anthropic() -> list[Any]:
    types = library("anthropic.types")
    citation = {"type": "web_search_result_location", "url": PAGE[0], "title": PAGE[1]}
    citation |= {"cited_text": "x", "encrypted_index": "x"}
    events = [{"type": "text_delta", "text": "Hi"}, {"type": "citations_delta", "citation": citation}]
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta_class = types.RawContentBlockDeltaEvent
    return [
        types.RawContentBlockStartEvent.model_validate(block),
        *(delta_class.model_validate({"type": "content_block_delta", "index": 0, "delta": event}) for event in events),
    ]


@pytest.mark.parametrize("items", [annotated_chat, perplexity, responses, anthropic], ids=lambda made: made.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_pages_that_model_cites_are_carried_once(name: str, items: Any) -> None:
    seen = see(name, items() + items()[1:])

    assert seen.text.startswith("Hi")
    assert seen.sources == ([PAGE] if name in WITH_FILES else [])


@pytest.mark.parametrize("name", FORMATS)
def test_image_that_model_draws_is_carried(name: str) -> None:
    types = library("openai.types.responses")
    item = {"type": "image_generation_call", "id": "i", "status": "completed", "result": "cG5n"}
    event = {"type": "response.output_item.done", "item": item, "output_index": 0, "sequence_number": 1}
    seen = see(name, [types.ResponseOutputItemDoneEvent.model_validate(event), "Hi"])

    assert seen.files == ([("image/png", "data:image/png;base64,cG5n")] if name in WITH_FILES else [])
    assert seen.text == "Hi"


@pytest.mark.parametrize("name", FORMATS)
def test_refusal_is_shown_and_told(name: str) -> None:
    chunks = [chat({"refusal": "I can't "}), chat({"refusal": "say."})]
    finish = library("openai.types.chat").ChatCompletionChunk.construct(**known.chat_chunk({}, "stop"))
    seen = see(name, [*chunks, finish])

    assert (seen.text, seen.finish) == ("I can't say.", FILTERED[name])


@pytest.mark.parametrize("name", FORMATS)
def test_transcript_of_audio_is_text(name: str) -> None:
    types = library("openai.types.responses")
    event = {"type": "response.audio.transcript.delta", "delta": "Hello", "sequence_number": 1}
    assert see(name, [types.ResponseAudioTranscriptDeltaEvent.construct(**event)]).text == "Hello"
    assert see(name, [chat({"audio": {"id": "a", "transcript": "Hello"}})]).text == "Hello"


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "text"])
def test_custom_call_has_text_for_input(name: str) -> None:
    types = library("openai.types.responses")
    item = {"type": "custom_tool_call", "id": "i", "call_id": "c1", "name": "sql", "input": '"select 1"'}
    event = {"type": "response.output_item.done", "item": item, "output_index": 0, "sequence_number": 1}
    seen = see(name, [types.ResponseOutputItemDoneEvent.model_validate(event)])

    ((called, value),) = seen.calls
    assert called == "sql"
    assert "select 1" in str(value)


@pytest.mark.parametrize("name", FORMATS)
async def test_managers_of_helper_streams_may_be_returned(name: str) -> None:
    sdk = library("anthropic")
    with sdk.Anthropic(api_key="x", http_client=known.answering(sdk, known.ANTHROPIC)) as client:
        given = client.messages.stream(model="m", max_tokens=9, messages=[])
        items = [item async for item in items_of(given)]
    assert see(name, items).text == "Hello"

    sdk = library("openai")
    with sdk.OpenAI(api_key="x", http_client=known.answering(sdk, known.CHAT[:3])) as client:
        given = client.chat.completions.stream(model="m", messages=[])
        items = [item async for item in items_of(given)]
    assert see(name, items).text == "Hello"


async def test_manuals_way_to_map_another_library() -> None:
    async def stream(_history: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(text="Hi", score=1)

    async def history() -> list[Any]:
        return []

    view = run_python("docs/producers.md", other_library=SimpleNamespace(stream=stream))["Chat"]()
    items = [item async for item in view.generate(SimpleNamespace(history=history))]
    assert items == ["Hi", {"type": "data-score", "data": 1}]
    assert see("aisdk", items).text == "Hi"
