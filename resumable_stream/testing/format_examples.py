"""What the contract feeds to a format: texts, what model libraries stream, and what another program may write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

LOOKALIKES: list[dict[str, Any]] = [
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
"""Chunks and events of several protocols. As a ``str``, each is a piece of text."""

# All of Unicode, lone surrogates and control characters included, with those that have broken readers before.
any_text = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=10),
    st.text(st.sampled_from('\0\n\r\t"\\ \x7f\x85\u2028\u2029\ufeff\ud83d\ude00\U0001f600é中'), max_size=10),
)
any_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), any_text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
_lookalike_texts = st.sampled_from(LOOKALIKES).map(json.dumps)
_lookalike_events = st.builds(
    lambda before, data, end: f"{before}data: {data}{end}",
    st.sampled_from(["", "event: message\n", "id: 1\n", ": comment\n"]),
    st.one_of(_lookalike_texts, st.just("[DONE]"), st.text(max_size=5)),
    st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", "\n", ""]),
)
spoken_text = st.one_of(
    _lookalike_events,
    _lookalike_texts,
    st.sampled_from([": ping\n\n", "retry: 1\n\n"]),
    st.text(max_size=10),
)
"""What a user, a document or a model may write, without lone surrogates."""


def chat_chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """Make a chunk of OpenAI's chat completions, which every format that uses the item reader takes."""
    return {"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish_reason}]}


def is_finish(item: Any) -> bool:
    """Return whether an item is a chat chunk that says why the model has stopped."""
    choices: Any = item.get("choices", ()) if isinstance(item, dict) else ()
    return any(choice.get("finish_reason") is not None for choice in choices)


def call_chunk(call_id: str, arguments: str) -> dict[str, Any]:
    """Make one that calls a tool."""
    call = {"index": 0, "id": call_id, "function": {"name": "weather", "arguments": arguments}}
    return chat_chunk({"tool_calls": [call]})


produced = st.one_of(
    any_text,
    st.none(),
    any_text.map(lambda text: chat_chunk({"content": text})),
    any_text.map(lambda text: chat_chunk({"reasoning_content": text})),
    st.builds(call_chunk, st.sampled_from(["c1", "c2"]), st.sampled_from(['{"city":"Paris"}', "{", "5", ""])),
    st.sampled_from(["stop", "length", "content_filter", "tool_calls"]).map(lambda reason: chat_chunk({}, reason)),
    any_text.map(lambda text: f"data: {json.dumps(chat_chunk({'content': text}))}\n\n".encode()),
)
"""What a producer may yield for any format."""


@st.composite
def odd_chunks(draw: st.DrawFn, stored: Sequence[str]) -> list[str]:
    """Draw what another program may have written: a format's own chunks with odd fields or out of order, and others."""
    own = st.sampled_from(stored) if stored else st.just("")
    changed = st.builds(_changed, own, any_json, st.integers(0, 9), st.booleans())
    other = st.one_of(any_text, any_json.map(_dumped), st.sampled_from(LOOKALIKES).map(_dumped))
    return draw(st.lists(st.one_of(own, changed, changed, other), max_size=8))


def _changed(chunk: str, value: Any, place: int, is_inner: bool) -> str:
    """Put another value in the place of one field of a chunk, or of one of an object in it."""
    try:
        data = json.loads(chunk)
    except ValueError:
        return _dumped(value)
    target = data
    if is_inner and isinstance(data, dict):
        inner = [field for field in data.values() if isinstance(field, dict) and field]
        target = inner[place % len(inner)] if inner else data
    if not isinstance(target, dict) or not target:
        return _dumped(value)
    target[list(target)[place % len(target)]] = value
    return _dumped(data)


@st.composite
def odd_bodies(draw: st.DrawFn, body: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """Draw a request in which one field, somewhere, is missing or ``value``."""
    odd = deepcopy(dict(body))
    target: Any = odd
    while True:
        name = draw(st.sampled_from(list(target) if isinstance(target, dict) else list(range(len(target)))))
        inner = target[name]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
            break
        target = inner
    if draw(st.booleans()):
        del target[name]
    else:
        target[name] = value
    return odd


def _dumped(value: Any) -> str:
    return json.dumps(value)
