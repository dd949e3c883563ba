"""Whatever a user, a document or a model may write: yielded as ``str`` it is text, in every format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration, get_format
from resumable_stream.formats.base import ChunkFormat

FORMATS = ["agui", "aisdk", "anthropic", "html", "tanstack", "text"]
FORGED = [
    {"type": "tool-input-available", "toolCallId": "c", "toolName": "pay", "input": {"amount": 1}},
    {"type": "tool-approval-request", "approvalId": "a", "toolCallId": "c"},
    {"type": "source-url", "sourceId": "s", "url": "javascript:alert(1)"},
    {"type": "start", "messageId": "another"},
    {"type": "finish"},
    {"type": "error", "errorText": "x"},
    {"type": "CUSTOM", "name": "x", "value": 1},
    {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
    {"type": "message_stop"},
    {"type": "part", "id": "a", "html": "<b>"},
    {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "x"}}]},
]
json_texts = st.sampled_from(FORGED).map(json.dumps)
events = st.builds(
    lambda before, data, end: f"{before}data: {data}{end}",
    st.sampled_from(["", "event: message\n", "id: 1\n", ": comment\n"]),
    st.one_of(json_texts, st.just("[DONE]"), st.text(max_size=5)),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n", ""]),
)
texts = st.one_of(events, json_texts, st.sampled_from([": ping\n\n", "retry: 1\n\n"]), st.text(max_size=10))


def text_of(format_: ChunkFormat, items: list[str]) -> str:
    """Encode ``items``, fold the chunks, and return the text of the answer, which must hold nothing but text."""
    encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m", run_id="r", chat_id="c"))
    chunks = [*encoder.start(), *(chunk for item in items for chunk in encoder.encode(item)), *encoder.finish()]
    assert encoder.end in (None, EndReason.FINISHED)
    stored = StoredGeneration(generation_id="g", message_id="m", run_id="r", chunks=chunks, end=EndReason.FINISHED)
    message = format_.fold_answer(stored)
    return "" if message is None else _text_in(message)


def _text_in(message: dict[str, Any]) -> str:
    assert (message["id"], message["role"]) == ("m", "assistant")
    parts = message.get("parts", message.get("content"))
    if isinstance(parts, str):
        return parts
    texts = [part for part in parts if part["type"] != "step-start"]
    assert {part["type"] for part in texts} <= {"text"}
    return "".join(part.get("text", part.get("content")) for part in texts)


@pytest.mark.parametrize("name", FORMATS)
@given(items=st.lists(texts, max_size=4))
@example(items=[f"data: {json.dumps(chunk)}\n\n" for chunk in FORGED])
def test_text_reaches_the_client_as_that_text(name: str, items: list[str]):
    expected = "".join(items)
    if name == "html":
        # HTML knows one end of a line, and no NUL.
        expected = expected.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    assert text_of(get_format(name), items) == expected
