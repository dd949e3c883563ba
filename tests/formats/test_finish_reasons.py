"""Why a model has stopped, from each library's own objects to what a client of each format and the app are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.protocol.layout import EndFacts, EndReason, new_generation_id
from resumable_stream.readers.reader import Reader

from . import test_producers as known
from .seen import CALLING, CUT_OFF, FILTERED, FORMATS, USUAL, see
from .test_producers import library

UNUSUAL = {"agui": {"finishReason": "other"}, "aisdk": "other", "html": "other", "text": "other"}
OTHER = USUAL | UNUSUAL
WORDS = {"length": CUT_OFF, "content-filter": FILTERED, "stop": USUAL, "other": OTHER, "tool-calls": CALLING}


def chat(reason: str) -> list[Any]:
    chunk_class = library("openai.types.chat").ChatCompletionChunk
    return [chunk_class.construct(**known.chat_chunk(*parts)) for parts in (({"content": "Hello"},), ({}, reason))]


def litellm(reason: str) -> list[Any]:
    chunk_class = library("litellm.types.utils").ModelResponseStream
    return [chunk_class(**known.chat_chunk(*parts)) for parts in (({"content": "Hello"},), ({}, reason))]


def response(kind: str, reason: str | None = None, refusal: bool = False) -> list[Any]:
    types = library("openai.types.responses")
    place = {"item_id": "i", "output_index": 0, "content_index": 0, "sequence_number": 1}
    if refusal:
        said = types.ResponseRefusalDeltaEvent(type="response.refusal.delta", delta="Hello", **place)
    else:
        said = types.ResponseTextDeltaEvent(type="response.output_text.delta", delta="Hello", logprobs=[], **place)
    end_class = types.ResponseIncompleteEvent if kind == "response.incomplete" else types.ResponseCompletedEvent
    end = types.Response.construct(incomplete_details={"reason": reason} if reason else None)
    return [said, end_class.construct(type=kind, response=end, sequence_number=2)]


def agents(*given: Any) -> list[Any]:
    event_class = library("agents").RawResponsesStreamEvent
    return [event_class(data=event) for event in response(*given)]


def anthropic(reason: str) -> list[Any]:
    types = library("anthropic.types")
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    message |= {"stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    text = {"type": "text", "text": "Hello"}
    ending = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 2}}
    return [
        types.RawMessageStartEvent.model_validate({"type": "message_start", "message": message}),
        types.RawContentBlockStartEvent.model_validate(
            {"type": "content_block_start", "index": 0, "content_block": text}
        ),
        types.RawContentBlockStopEvent.model_validate({"type": "content_block_stop", "index": 0}),
        types.RawMessageDeltaEvent.model_validate({"type": "message_delta", **ending}),
        types.RawMessageStopEvent.model_validate({"type": "message_stop"}),
    ]


def langchain(**metadata: Any) -> list[Any]:
    piece = library("langchain_core.messages").AIMessageChunk
    return [piece(content="Hello"), piece(content="", response_metadata=metadata, chunk_position="last")]


SAID: list[tuple[str, list[Any]]] = [
    *(("length", chat("length")), ("content-filter", chat("content_filter")), ("stop", chat("stop"))),
    *(("length", litellm("length")), ("content-filter", litellm("content_filter"))),
    ("length", response("response.incomplete", "max_output_tokens")),
    ("content-filter", response("response.incomplete", "content_filter")),
    ("content-filter", response("response.completed", None, True)),
    ("stop", response("response.completed")),
    ("length", agents("response.incomplete", "max_output_tokens")),
    ("content-filter", agents("response.completed", None, True)),
    *(("length", anthropic("max_tokens")), ("length", anthropic("model_context_window_exceeded"))),
    *(("content-filter", anthropic("refusal")), ("other", anthropic("pause_turn")), ("stop", anthropic("end_turn"))),
    *(("length", langchain(finish_reason="length")), ("content-filter", langchain(finish_reason="content_filter"))),
    *(("length", langchain(stop_reason="max_tokens")), ("content-filter", langchain(stop_reason="refusal"))),
    *(("length", langchain(done_reason="length")), ("length", langchain(finish_reason="MAX_TOKENS"))),
    *(("content-filter", langchain(stopReason="guardrail_intervened")), ("stop", langchain(finish_reason="stop"))),
    ("length", langchain(status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
]
# Anthropic's own events say it in its own words.
OWN_WORDS = {"pause_turn": "pause_turn", "model_context_window_exceeded": "model_context_window_exceeded"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("reason", "items"), SAID, ids=lambda value: value if isinstance(value, str) else "")
def test_client_is_told_why_the_model_has_stopped(name: str, reason: str, items: list[Any]) -> None:
    seen = see(name, items)

    assert seen.text == "Hello"
    own = getattr(getattr(items[-2], "delta", None), "stop_reason", "")
    assert seen.finish == (OWN_WORDS.get(own, WORDS[reason][name]) if name == "anthropic" else WORDS[reason][name])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("reason", "items"), SAID, ids=lambda value: value if isinstance(value, str) else "")
def test_app_is_told_why_the_model_has_stopped(name: str, reason: str, items: list[Any]) -> None:
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.start()
    assert encoder.finish_reason is None
    for item in items:
        encoder.encode(item)
    encoder.finish()

    assert encoder.finish_reason == reason


@pytest.mark.parametrize("name", FORMATS)
def test_last_call_of_a_model_counts(name: str) -> None:
    assert see(name, [*chat("length"), *chat("stop")]).finish == USUAL[name]


def test_finish_chunk_of_the_app_counts() -> None:
    encoder = get_format("aisdk").encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.encode({"type": "start"})
    encoder.encode({"type": "finish", "finishReason": "content-filter"})
    assert encoder.finish_reason == "content-filter"


def test_run_finished_of_the_app_counts() -> None:
    encoder = get_format("tanstack").encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.encode({"type": "RUN_FINISHED", "runId": "r", "threadId": "t", "finishReason": "length"})
    assert encoder.finish_reason == "length"


async def test_on_end_receives_why_the_model_has_stopped() -> None:
    told: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    async def on_end(end: End) -> None:
        told.set_result(end)

    engine, stream = ChatEngine(format="aisdk", on_end=on_end), f"chat/finish/{new_generation_id()}"
    started = await engine.start(stream, chat("length"))
    reader = engine.reader(stream, started)
    assert isinstance(reader, Reader)
    async for _ in reader.frames():
        pass
    end = await told
    assert (end.reason, end.finish_reason) == (EndReason.FINISHED, "length")


@pytest.mark.parametrize("reason", ["length", None])
def test_log_keeps_why_the_model_has_stopped(reason: Any) -> None:
    facts = EndFacts(generation_id="g", reason=EndReason.FINISHED, finish_reason=reason)
    assert EndFacts.parse(facts.record().headers).finish_reason == reason


def test_reason_that_nobody_knows_on_the_log_is_passed_over() -> None:
    assert EndFacts.parse((("rs-end", "finished"), ("rs-finish", "bored"))).finish_reason is None
