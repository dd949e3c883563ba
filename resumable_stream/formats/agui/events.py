"""The events of the AG-UI protocol, which TanStack AI speaks too, and which of them are open in a stream.

Clients that check the order (``verify.ts`` of the npm package ``@ag-ui/client``) give up on a run whose events come out
of order. What a chunk lacks to be in order is therefore put before it, and a chunk that has no place is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AGUIEvent = Mapping[str, Any]

# The fields without which clients cannot take an event; all of them hold text.
_FIELDS = {
    "RUN_STARTED": "",
    "RUN_FINISHED": "",
    "RUN_ERROR": "",
    "STEP_STARTED": "stepName",
    "STEP_FINISHED": "stepName",
    "TEXT_MESSAGE_START": "messageId",
    "TEXT_MESSAGE_CONTENT": "messageId delta",
    "TEXT_MESSAGE_END": "messageId",
    "REASONING_START": "messageId",
    "REASONING_MESSAGE_START": "messageId",
    "REASONING_MESSAGE_CONTENT": "messageId delta",
    "REASONING_MESSAGE_END": "messageId",
    "REASONING_END": "messageId",
    "REASONING_ENCRYPTED_VALUE": "entityId encryptedValue",
    "TOOL_CALL_START": "toolCallId toolCallName",
    "TOOL_CALL_ARGS": "toolCallId delta",
    "TOOL_CALL_END": "toolCallId",
    "TOOL_CALL_RESULT": "messageId toolCallId",
    "STATE_SNAPSHOT": "",
    "STATE_DELTA": "",
    "MESSAGES_SNAPSHOT": "",
    "ACTIVITY_SNAPSHOT": "messageId activityType",
    "ACTIVITY_DELTA": "messageId activityType",
    "SUBAGENT_STARTED": "subagentRunId name",
    "SUBAGENT_FINISHED": "subagentRunId",
    "SUBAGENT_ERROR": "subagentRunId message",
    "CUSTOM": "name",
    "RAW": "",
}
REQUIRED_TEXTS = {kind: tuple(names.split()) for kind, names in _FIELDS.items()}

EVENT_TYPES = frozenset(REQUIRED_TEXTS)
"""What producers may yield as it is. The protocol's shorthands (``TEXT_MESSAGE_CHUNK`` …) are read as deltas."""

# Fields that may hold anything but must be there: models are dumped without their None.
REQUIRED_VALUES = {"CUSTOM": "value", "STATE_SNAPSHOT": "snapshot", "RAW": "event"}

Key = tuple[str, ...]
"""Kind ("text", "call" …) and id of something open."""

_OPENERS = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "TOOL_CALL_START": ("call", "toolCallId"),
    "STEP_STARTED": ("step", "stepName"),
    "SUBAGENT_STARTED": ("subagent", "subagentRunId"),
}
_CONTINUATIONS = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
    "TOOL_CALL_ARGS": ("call", "toolCallId"),
}
_CLOSERS = {
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "REASONING_END": ("span", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "TOOL_CALL_END": ("call", "toolCallId"),
    "STEP_FINISHED": ("step", "stepName"),
    "SUBAGENT_FINISHED": ("subagent", "subagentRunId"),
    "SUBAGENT_ERROR": ("subagent", "subagentRunId"),
}
_CLOSING_TYPES = {
    "text": ("TEXT_MESSAGE_END", "messageId"),
    "span": ("REASONING_END", "messageId"),
    "reasoning": ("REASONING_MESSAGE_END", "messageId"),
    "call": ("TOOL_CALL_END", "toolCallId"),
    "step": ("STEP_FINISHED", "stepName"),
    "subagent": ("SUBAGENT_FINISHED", "subagentRunId"),
}
_OPENING_OF = {
    "TEXT_MESSAGE_CONTENT": ("TEXT_MESSAGE_START", "assistant"),
    "REASONING_MESSAGE_CONTENT": ("REASONING_MESSAGE_START", "reasoning"),
}
_RANKS = ("call", "reasoning", "span", "text", "step", "subagent")
"""In this order things are closed: what may lie within another comes first."""


def _key(table: Mapping[str, tuple[str, str]], event: AGUIEvent) -> Key | None:
    entry = table.get(event["type"])
    if entry is None:
        return None
    kind, field = entry
    # A step belongs to the agent that runs it: a subagent may have one of the same name as its parent.
    owner = event.get("subagentRunId") if kind == "step" else None
    return (kind, str(event.get(field)), *([str(owner)] if owner is not None else []))


class OpenEvents:
    """What is open in a stream of events."""

    def __init__(self) -> None:
        self._open: dict[Key, None] = {}
        """In the order in which it was opened."""
        self._spent: set[Key] = set()
        """Subagents that are over: their ids are not used again."""

    def has(self, kind: str, name: str) -> bool:
        """Tell whether something is open."""
        return (kind, name) in self._open

    def note(self, event: AGUIEvent) -> None:
        """Take note of an event that is part of the stream."""
        if (opened := _key(_OPENERS, event)) is not None:
            self._open[opened] = None
        elif (closed := _key(_CLOSERS, event)) is not None:
            self._open.pop(closed, None)
            if closed[0] == "subagent":
                self._spent.add(closed)

    def has_place(self, event: AGUIEvent) -> bool:
        """Tell whether an event may come next: what is open is not opened, what is not open not closed."""
        if (opened := _key(_OPENERS, event)) is not None:
            return opened not in self._open and opened not in self._spent
        if (continued := _key(_CONTINUATIONS, event)) is not None:
            return continued in self._open
        closed = _key(_CLOSERS, event)
        return closed is None or closed in self._open

    def closing(self) -> list[dict[str, Any]]:
        """Return the events that close everything."""
        newest_first = list(self._open)[::-1]
        return [_closing_event(key) for key in sorted(newest_first, key=lambda key: _RANKS.index(key[0]))]


def _closing_event(key: Key) -> dict[str, Any]:
    kind, field = _CLOSING_TYPES[key[0]]
    owner = {"subagentRunId": key[2]} if len(key) > 2 else {}
    return {"type": kind, field: key[1], **owner}


def opener_of(event: AGUIEvent) -> dict[str, Any] | None:
    """Return what opens the message that an event continues; ``None`` where only the producer could know."""
    opening = _OPENING_OF.get(event["type"])
    if opening is None:
        return None
    kind, role = opening
    owner = {"subagentRunId": event["subagentRunId"]} if "subagentRunId" in event else {}
    return {"type": kind, "messageId": event["messageId"], "role": role, **owner}
