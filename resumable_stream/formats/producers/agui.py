"""AG-UI events, for formats that do not speak them; to those that do, all but the shorthands are their own chunks."""

from __future__ import annotations

from typing import Any

from ..item_types import Item, ToolOutput
from .base import EventReader, ProducerError, ToolCalls, look, reasoning, skip, text

_WITHOUT_CONTENT = (
    *("RUN_STARTED", "RUN_FINISHED", "STEP_STARTED", "STEP_FINISHED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_END"),
    *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_END", "REASONING_END"),
    *("THINKING_START", "THINKING_TEXT_MESSAGE_START", "THINKING_TEXT_MESSAGE_END", "THINKING_END"),
    *("REASONING_ENCRYPTED_VALUE", "STATE_SNAPSHOT", "STATE_DELTA", "MESSAGES_SNAPSHOT"),
    *("ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "RAW", "SUBAGENT_STARTED", "SUBAGENT_FINISHED", "SUBAGENT_ERROR"),
)

FAILURE = "RUN_ERROR"
"""Says that the producer failed; adapters put the exception's text there, which is not for people."""


class AGUI:
    """Events of ``ag-ui-protocol`` and of whatever speaks it."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._chunked = ""
        """The call that the last shorthand was a piece of."""

    def readers(self) -> dict[str, EventReader]:
        """Map the types of events to what reads them."""
        return {
            **dict.fromkeys(_WITHOUT_CONTENT, skip),
            "TEXT_MESSAGE_CONTENT": lambda event: text(look(event, "delta")),
            "TEXT_MESSAGE_CHUNK": lambda event: text(look(event, "delta")),
            "REASONING_MESSAGE_CONTENT": lambda event: reasoning(look(event, "delta")),
            "REASONING_MESSAGE_CHUNK": lambda event: reasoning(look(event, "delta")),
            "THINKING_TEXT_MESSAGE_CONTENT": lambda event: reasoning(look(event, "delta")),
            "TOOL_CALL_START": self._read_call_start,
            "TOOL_CALL_ARGS": lambda event: self._calls.add(_call_id(event), look(event, "delta")),
            "TOOL_CALL_CHUNK": self._read_call_chunk,
            "TOOL_CALL_END": lambda event: self._calls.end(_call_id(event)),
            "TOOL_CALL_RESULT": lambda event: [ToolOutput(_call_id(event), look(event, "content"))],
            FAILURE: _read_error,
        }

    def _read_call_start(self, event: Any) -> list[Item]:
        call_id = _call_id(event)
        return self._calls.begin(call_id, call_id, look(event, "tool_call_name") or look(event, "toolCallName"))

    def _read_call_chunk(self, event: Any) -> list[Item]:
        """Read a piece of a call that has no events for its beginning and end: the next call completes it."""
        call_id = look(event, "tool_call_id") or look(event, "toolCallId")
        items: list[Item] = []
        if call_id and not self._calls.is_open(str(call_id), str(call_id)):
            items = self._calls.end(self._chunked) + self._read_call_start(event)
            self._chunked = str(call_id)
        return items + self._calls.add(self._chunked, look(event, "delta"))


def _call_id(event: Any) -> str:
    return str(look(event, "tool_call_id") or look(event, "toolCallId"))


def _read_error(event: Any) -> list[Item]:
    raise ProducerError(f"The run failed: {look(event, 'code')}: {look(event, 'message')}")
