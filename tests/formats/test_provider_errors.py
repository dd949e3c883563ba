"""A provider's own error event, and its event stream cut anywhere, in every format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.formats.producers import ProducerError

from ..support.logs import FaultyLog, use_faulty_log
from ..support.virtual_time import in_virtual_time
from .test_producers import ANTHROPIC, CHAT, RESPONSES, library

FORMATS = ["agui", "aisdk", "anthropic", "html", "tanstack", "text"]
WORDS = "secret insides"
ERRORS: dict[str, dict[str, Any]] = {
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}, "request_id": "r"},
    "responses": {"type": "error", "sequence_number": 1, "code": "server_error", "message": WORDS, "param": None},
    "failed response": {
        "type": "response.failed",
        "sequence_number": 1,
        "response": {"id": "r", "status": "failed", "error": {"code": "server_error", "message": WORDS}},
    },
    "chat completions": {"error": {"message": WORDS, "code": 500}},
    "openrouter": {
        "id": "x",
        "object": "chat.completion.chunk",
        "error": {"code": 502, "message": WORDS},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    },
    "vllm": {"object": "error", "message": WORDS, "type": "BadRequestError", "code": 400},
}
ONLY_FORWARDED: dict[str, dict[str, Any]] = {
    "a word": {"error": WORDS},
    "ai sdk": {"type": "error", "errorText": WORDS},
    "ag-ui": {"type": "RUN_ERROR", "message": WORDS},
}
"""What an app may also word like that itself, and then as a dict."""


def encoded(*events: Any) -> bytes:
    return b"".join(f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def in_pieces(stream: bytes) -> Iterator[bytes]:
    for start in range(0, len(stream), 7):
        yield stream[start : start + 7]


WAYS = {
    "dict": lambda event: [event],
    "bytes": lambda event: [encoded(event)],
    "pieces": lambda e: in_pieces(encoded(e)),
}
CASES = [
    *(pytest.param(event, way, id=f"{name}-{how}") for name, event in ERRORS.items() for how, way in WAYS.items()),
    *(
        pytest.param(event, WAYS[how], id=f"{name}-{how}")
        for name, event in ONLY_FORWARDED.items()
        for how in ("bytes", "pieces")
    ),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("event", "way"), CASES)
@in_virtual_time
async def test_words_of_a_providers_error_reach_on_error_and_no_reader(
    settings: Any, name: str, event: dict[str, Any], way: Any
) -> None:
    log = use_faulty_log(settings)
    told: list[str] = []
    over = asyncio.Event()

    async def on_error(_context: Any, error: Exception) -> str:
        assert isinstance(error, ProducerError)
        told.append(str(error))
        return "Sorry."

    async def on_end(end: Any) -> None:
        told.append(end.reason.value)
        over.set()

    async def generate() -> Any:
        yield "Hel"
        for item in way(event):
            yield item

    await ChatEngine(format=name, on_error=on_error, on_end=on_end).start("s", generate)
    await over.wait()

    words, reason = told
    assert (WORDS in words, reason) == (True, "failed")
    assert WORDS not in stored(log)
    assert "Sorry." in stored(log)


def stored(log: FaultyLog) -> str:
    return "".join(f"{record.body}{record.headers}" for record in log.records("s"))


@pytest.mark.parametrize("name", FORMATS)
def test_error_of_pydantic_ais_ai_sdk_adapter_is_not_shown_to_people(name: str) -> None:
    chunk = library("pydantic_ai.ui.vercel_ai.response_types").ErrorChunk(error_text=WORDS)
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))

    with pytest.raises(ProducerError, match=WORDS):
        encoder.encode(chunk)


@pytest.mark.parametrize("events", [CHAT, ANTHROPIC, RESPONSES], ids=["chat completions", "anthropic", "responses"])
@pytest.mark.parametrize("name", FORMATS)
@given(cuts=st.lists(st.integers(0, 5000)))
def test_event_stream_is_the_same_answer_wherever_its_reads_end(name: str, events: Any, cuts: list[int]) -> None:
    stream = encoded(*events)
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})

    assert answer(name, [stream[start:stop] for start, stop in pairwise(borders)]) == answer(name, [stream])


def answer(name: str, items: list[bytes]) -> list[str]:
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m", chat_id="c", run_id="r"))
    return [*encoder.start(), *(chunk for item in items for chunk in encoder.encode(item)), *encoder.finish()]
