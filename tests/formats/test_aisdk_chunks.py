from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats.aisdk.chunks import CHUNK_TYPES, is_taken
from resumable_stream.formats.jsontext import encode

from .ai_client import AIClient
from .strategies import answers, json_values

FIELDS = (
    *("id", "delta", "messageId", "messageMetadata", "providerMetadata", "toolCallId", "toolName", "input", "output"),
    *("errorText", "inputTextDelta", "dynamic", "providerExecuted", "title", "toolMetadata", "inputEncoding"),
    *("preliminary", "approvalId", "approved", "reason", "isAutomatic", "signature", "sourceId", "url", "mediaType"),
    *("filename", "kind", "parts", "citations", "data", "transient", "finishReason", "unheard-of"),
)
VALUES = st.one_of(
    json_values,
    st.sampled_from(["json", "text", "stop", "unknown", "interrupted", True, {}, {"a": {}}, {"a": {"b": 1}}, {"a": 1}]),
    st.lists(
        st.sampled_from(
            (
                {"type": "text", "text": "a"},
                {"type": "text"},
                {"type": "file", "url": "a", "mediaType": "b", "providerReference": {"a": "b"}},
                {"type": "file", "url": "a", "mediaType": "b", "providerReference": {"a": 1}},
                {"source": {"type": "source", "sourceType": "url", "id": "a", "url": "b"}, "startIndex": 0},
                {"source": {"type": "source", "sourceType": "url", "id": "a", "url": "b"}, "startIndex": -1},
                {"source": {"type": "source", "sourceType": "url", "id": "a"}},
                {"source": {"type": "source", "sourceType": "document", "id": "a", "mediaType": "b", "title": "c"}},
                {"source": {"type": "source", "sourceType": "other"}},
            )
        ),
        max_size=2,
    ),
)
TYPES = st.sampled_from([*sorted(CHUNK_TYPES), "data-", "data-x", "done", "tool-call", ""])


@st.composite
def near_chunks(draw: st.DrawFn) -> Any:
    """A chunk as clients take it, with a few of its fields changed, dropped or added."""
    chunks = [chunk for chunk in draw(answers(7)) if isinstance(chunk, dict)]
    chunk = dict(draw(st.sampled_from(chunks)))
    if draw(st.booleans()):
        chunk["type"] = draw(TYPES)
    for name in draw(st.lists(st.sampled_from([*chunk, *FIELDS]), max_size=3)):
        if draw(st.booleans()):
            chunk.pop(name, None)
        else:
            chunk[name] = draw(VALUES)
    return json.loads(encode(chunk))


@given(chunks=st.lists(st.one_of(near_chunks(), json_values), min_size=1, max_size=20))
@settings(max_examples=100)
def test_what_is_taken_is_what_the_clients_schema_takes(ai: AIClient, chunks: list[Any]):
    chunks = [chunk for chunk in chunks if "__proto__" not in encode(chunk)]
    assert [is_taken(chunk, ai.version) for chunk in chunks] == ai.takes(chunks)


SOURCE = {"type": "source", "sourceType": "url", "id": "s", "url": "u"}
DOCUMENT = {"type": "source", "sourceType": "document", "id": "s", "mediaType": "m", "title": "t"}
FILE = {"type": "file", "mediaType": "m", "url": "u"}


@pytest.mark.parametrize(
    "citation",
    [
        {"source": SOURCE, "startIndex": 0, "endIndex": 9, "citedText": "x"},
        {"source": {**SOURCE, "title": "t", "providerMetadata": {}}},
        {"source": {**SOURCE, "filename": 1}},
        {"source": {**DOCUMENT, "filename": "f"}},
        {"source": {**DOCUMENT, "filename": 1}},
        {"source": {**DOCUMENT, "title": None}},
        {"source": {**SOURCE, "sourceType": "other"}},
        {"source": {**SOURCE, "type": "other"}},
        {"source": "x"},
        {"source": SOURCE, "startIndex": -1},
        {"source": SOURCE, "startIndex": 1.5},
        {"source": SOURCE, "startIndex": 2**53},
        {"source": SOURCE, "endIndex": True},
        {},
        "x",
    ],
)
def test_citations_are_checked_as_the_client_does(ai: AIClient, citation: Any):
    chunk = {"type": "text-end", "id": "t", "citations": [citation]}
    assert [is_taken(chunk, ai.version)] == ai.takes([chunk])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "x", "providerMetadata": {}},
        {"type": "text", "text": 1},
        {**FILE, "filename": "f", "providerReference": {"openai": "x"}},
        {**FILE, "providerReference": {"openai": 1}},
        {**FILE, "providerReference": []},
        {**FILE, "url": None},
        {"type": "other", "text": "x"},
        "x",
    ],
)
def test_parts_of_steering_messages_are_checked_as_the_client_does(ai: AIClient, part: Any):
    chunk = {"type": "steering-message", "id": "u", "parts": [part]}
    assert [is_taken(chunk, ai.version)] == ai.takes([chunk])


def test_each_version_takes_what_the_one_before_took_but_for_a_finish_reason():
    chunk = {"type": "finish", "finishReason": "unknown"}
    assert [is_taken(chunk, version) for version in (5, 6, 7)] == [True, False, False]


@pytest.mark.parametrize("value", [None, [], "text-start", 1, {}, {"type": 1}, {"type": None}])
def test_what_is_no_object_with_a_type_is_not_taken(value: Any):
    assert not is_taken(value)
