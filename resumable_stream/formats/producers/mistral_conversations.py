"""Mistral's conversations: the events of ``client.beta.conversations.start_stream`` and its siblings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..item_types import Finish, Item, ToolOutput
from .base import EventReader, ProducerError, ToolCalls, look, skip
from .mistral import read_content

_PREFIXES = ("message.output.", "function.call.", "tool.execution.", "conversation.response.", "agent.handoff.")


def unwrap(item: Any) -> Any:
    """Return the event inside one of the package's objects; ``None`` if it is none."""
    if isinstance(item, Mapping):
        return None
    data = look(item, "data")
    kind = look(data, "type")
    return data if isinstance(kind, str) and kind.startswith(_PREFIXES) else None


class Conversations:
    """Reads the events of one stream."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._has_called = False

    def readers(self) -> dict[str, EventReader]:
        """Map the types of events to what reads them."""
        return {
            "conversation.response.started": skip,
            "message.output.delta": lambda event: read_content(look(event, "content")),
            "function.call.delta": self._read_call,
            "tool.execution.started": self._begin_execution,
            "tool.execution.delta": lambda event: self._calls.add(_execution_of(event), look(event, "arguments")),
            "tool.execution.done": self._end_execution,
            "agent.handoff.started": skip,
            "agent.handoff.done": skip,
            "conversation.response.done": self._finish,
            "conversation.response.error": self._fail,
        }

    def _read_call(self, event: Any) -> list[Item]:
        call_id = str(look(event, "tool_call_id"))
        key = "conversation", call_id
        items = [] if self._calls.has(key) else self._calls.begin(key, call_id, look(event, "name"))
        self._has_called = True
        return items + self._calls.add(key, look(event, "arguments"))

    def _begin_execution(self, event: Any) -> list[Item]:
        key = _execution_of(event)
        begun = self._calls.begin(key, look(event, "id"), look(event, "name"))
        return begun + self._calls.add(key, look(event, "arguments"))

    def _end_execution(self, event: Any) -> list[Item]:
        items = self._calls.end(_execution_of(event))
        return [*items, ToolOutput(str(look(event, "id")), look(event, "info") or {})] if items else []

    def _finish(self, _event: Any) -> list[Item]:
        has_called, self._has_called = self._has_called, False
        return [*self._calls.end_all(), Finish("tool-calls" if has_called else "stop")]

    def _fail(self, event: Any) -> list[Item]:
        raise ProducerError(f"The conversation failed: {look(event, 'code')}: {look(event, 'message')}")


def _execution_of(event: Any) -> tuple[str, Any]:
    return "execution", look(event, "id")
