"""What AG-UI clients take that were made before version 1.0 of the protocol (``@ag-ui/client`` 0.0.x).

They check every event against their schemas, and give up on the whole run at a value that these do not know. Fields
that they do not know are ignored. A client of version 1.0 says so in its request (``protocolVersion``); one that says
nothing is taken for an older one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..jsontext import encode
from .events import AGUIEvent

STOPPED_MARK = {"resumable_stream": {"outcome": "cancelled"}}
"""Metadata of a ``RUN_FINISHED`` whose client knows no outcome for a run that was stopped."""

_VERSION = re.compile(r"[1-9][0-9]{0,3}\.[0-9]{1,4}\Z", re.ASCII)
_OUTCOMES = {"success": ("type",), "interrupt": ("type", "interrupts")}
"""The outcomes that older clients know, with their fields: here they refuse others."""


def protocol_version(body: Mapping[str, Any]) -> str:
    """Return the version of the protocol that a request names; empty if it names none from 1.0 on."""
    value = body.get("protocolVersion")
    return value if isinstance(value, str) and _VERSION.match(value) else ""


def for_older_clients(event: AGUIEvent) -> AGUIEvent:
    """Return the event as clients before 1.0 take it: the same object if they do so as it is."""
    kind = event["type"]
    if kind == "RUN_FINISHED":
        return _with_known_outcome(event)
    if kind == "TOOL_CALL_RESULT":
        return _with_text(event)
    if kind == "MESSAGES_SNAPSHOT" and isinstance(event.get("messages"), list):
        messages = [_with_text(one) if _is_tool_message(one) else one for one in event["messages"]]
        is_same = all(new is old for new, old in zip(messages, event["messages"], strict=True))
        return event if is_same else {**event, "messages": messages}
    return event


def _with_known_outcome(event: AGUIEvent) -> AGUIEvent:
    outcome = event.get("outcome")
    if not isinstance(outcome, Mapping):
        return event
    known = _OUTCOMES.get(str(outcome.get("type")))
    if known is not None and outcome.get("interrupts", True):
        return event if set(outcome) <= set(known) else {**event, "outcome": _pick(outcome, known)}
    rest = {name: value for name, value in event.items() if name != "outcome"}
    if outcome.get("type") != "cancelled":
        return rest
    metadata = event.get("metadata")
    return {**rest, "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), **STOPPED_MARK}}


def _pick(source: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def _is_tool_message(message: Any) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "tool"


def _with_text(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make one text of the parts that a tool's result consists of."""
    content = holder.get("content")
    if isinstance(content, str):
        return holder
    return {**holder, "content": _text_of(content)}


def _text_of(content: Any) -> str:
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    if parts and len(texts) == len(parts) and all(isinstance(text, str) for text in texts):
        return "".join(map(str, texts))
    return "" if content is None else encode(content)
