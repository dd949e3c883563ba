"""What an answer may bring into a chat, clients can send back: as deeply nested as a chunk may be."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from resumable_stream.conf import settings
from resumable_stream.formats import get_format
from resumable_stream.formats.base import GenerationFacts, StoredGeneration
from resumable_stream.formats.differences import compare
from resumable_stream.generations.writer import MESSAGE_LEVELS
from resumable_stream.types import EndReason
from resumable_stream.validation import parse_object


def nested(levels: int) -> Any:
    """Make a tree as a page's elements are one: each level is a mapping in a list."""
    tree: Any = "leaf"
    for level in range(levels):
        tree = [tree] if level % 2 else {"children": tree}
    return tree


def calls(levels: int) -> dict[str, list[dict[str, Any]]]:
    """Give the chunks of a call with as much in it, for each format that has calls."""
    tree = nested(levels)
    text = json.dumps(tree)
    agui = [
        {"type": "TOOL_CALL_START", "toolCallId": "k1", "toolCallName": "look", "parentMessageId": "a1"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "k1", "delta": text},
        {"type": "TOOL_CALL_END", "toolCallId": "k1"},
        {"type": "TOOL_CALL_RESULT", "messageId": "t1", "toolCallId": "k1", "content": text},
        {"type": "CUSTOM", "name": "tree", "value": tree},
    ]
    return {
        "aisdk": [
            {"type": "tool-input-available", "toolCallId": "k1", "toolName": "look", "input": tree},
            {"type": "tool-output-available", "toolCallId": "k1", "output": tree},
            {"type": "data-tree", "data": tree},
        ],
        "tanstack": agui,
        "agui": [*agui, {"type": "STATE_SNAPSHOT", "snapshot": tree}],
        "anthropic": [
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "tool_use", "id": "k1", "name": "look", "input": tree},
            },
            {"type": "content_block_stop", "index": 0},
        ],
    }


@pytest.mark.parametrize("name", ["aisdk", "tanstack", "agui", "anthropic"])
def test_what_was_emitted_is_accepted_back(name: str) -> None:
    format_ = get_format(name)
    encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m"))
    chunks = encoder.start()
    for item in calls(settings.max_json_depth - MESSAGE_LEVELS - 4)[name]:
        chunks += encoder.encode(item)
    chunks += encoder.finish()
    stored = StoredGeneration(generation_id="g", message_id="m", chunks=chunks, end=EndReason.FINISHED)

    messages = format_.fold([stored])
    said = {"id": "u", "role": "user", "content": "Go on", "parts": [{"type": "text", "text": "Go on"}]}
    body = json.dumps({"id": "c", "threadId": "c", "messages": [*messages, said]})
    asked = format_.parse_request(parse_object(body, "The body"))

    assert len(asked.messages) >= 2
    assert [message["id"] for message in compare(format_, messages, asked).messages] == ["u"]
    assert format_.snapshot(messages) is None or len(format_.snapshot(messages) or "") > 1000
    assert [format_.rebuild(message) for message in messages]
    assert format_.fold_answer(stored) is not None
    stranger = format_.encoder(GenerationFacts(generation_id="g", message_id="m"))
    for chunk in chunks[:-1]:
        stranger.observe(chunk)
    assert isinstance(copy.deepcopy(stranger).stop(), list)
