"""Events of pydantic-ai's agents: of ``run_stream_events()``, and of ``node.stream()`` in ``agent.iter()``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ..item_types import File, Item, ToolError, ToolInput, ToolOutput
from ..jsontext import encode
from .base import EventReader, ToolCalls, look, reasoning, text
from .finishes import finish

_KINDS = frozenset(
    (
        *("part_start", "part_delta", "part_end", "final_result", "agent_run_result"),
        *("function_tool_call", "function_tool_result", "output_tool_call", "output_tool_result"),
    )
)
"""Of those that say something, or come often; as JSON, others are events of the app's own."""


def is_event(item: Any) -> bool:
    """Return whether an item without a type is such an event."""
    kind = look(item, "event_kind")
    return isinstance(kind, str) and (kind in _KINDS or not isinstance(item, Mapping))


class PydanticAI:
    """Reads the events of one run; those that say nothing of the answer add nothing to it."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._begun: set[str] = set()
        """Ids of the calls that have come in parts."""
        self._readers: dict[str, EventReader] = {
            "part_start": self._read_start,
            "part_delta": self._read_delta,
            "part_end": lambda event: self._calls.end(_place_of(event)),
            "function_tool_call": self._read_call,
            "output_tool_call": self._read_call,
            "function_tool_result": self._read_result,
            "output_tool_result": self._read_result,
            "agent_run_result": self._read_run_result,
        }

    def read(self, event: Any) -> list[Item]:
        """Read one event."""
        reader = self._readers.get(look(event, "event_kind"))
        return (reader(event) if reader is not None else None) or []

    def _read_start(self, event: Any) -> list[Item]:
        part, place = look(event, "part"), _place_of(event)
        items = self._calls.end(place)
        kind = str(look(part, "part_kind"))
        if kind == "text":
            return items + text(look(part, "content"))
        if kind == "thinking":
            return items + reasoning(look(part, "content"))
        if kind == "file":
            return items + _read_file(look(part, "content"))
        if kind.endswith("return"):
            return items + self._read_return(part)
        if look(part, "tool_call_id") is None:
            return items
        call_id = str(look(part, "tool_call_id"))
        self._begun.add(call_id)
        items += self._calls.begin(place, call_id, look(part, "tool_name"))
        return items + self._add(place, look(part, "args"))

    def _read_delta(self, event: Any) -> list[Item]:
        delta = look(event, "delta")
        match look(delta, "part_delta_kind"):
            case "text":
                return text(look(delta, "content_delta"))
            case "thinking":
                return reasoning(look(delta, "content_delta"))
            case "tool_call":
                return self._add(_place_of(event), look(delta, "args_delta"))
        return []

    def _add(self, place: Any, args: Any) -> list[Item]:
        return self._calls.add(place, encode(args) if isinstance(args, dict) else args)

    def _read_call(self, event: Any) -> list[Item]:
        """Read a call that is about to be run; it is known already if its model was streamed."""
        part = look(event, "part")
        call_id, args = str(look(part, "tool_call_id")), look(part, "args")
        if call_id in self._begun:
            return self._calls.end_all()
        self._begun.add(call_id)
        if isinstance(args, dict):
            return [ToolInput(call_id, str(look(part, "tool_name")), args)]
        place = "call", call_id
        begun = self._calls.begin(place, call_id, look(part, "tool_name"))
        return begun + self._calls.add(place, args) + self._calls.end(place)

    def _read_result(self, event: Any) -> list[Item]:
        # Before version 2, the field was called ``result``.
        part = look(event, "part")
        return [*self._calls.end_all(), *self._read_return(part if part is not None else look(event, "result"))]

    def _read_return(self, part: Any) -> list[Item]:
        call_id, content = str(look(part, "tool_call_id")), look(part, "content")
        if look(part, "part_kind") == "retry-prompt" or look(part, "outcome") not in (None, "success"):
            return [ToolError(call_id, content if isinstance(content, str) else _as_json(content)[1])]
        return [ToolOutput(call_id, _as_json(content)[0])]

    def _read_run_result(self, event: Any) -> list[Item]:
        return finish(look(look(look(event, "result"), "response"), "finish_reason"))


def _place_of(event: Any) -> Any:
    return "part", look(event, "index")


def _as_json(content: Any) -> tuple[Any, str]:
    """Return what a tool has given, and its JSON; as a text if there is none of it."""
    try:
        return content, encode(content)
    except TypeError:
        return str(content), str(content)


def _read_file(content: Any) -> list[Item]:
    data, media_type = look(content, "data"), look(content, "media_type")
    if isinstance(data, bytes):
        # As JSON, it is base64 already.
        data = base64.b64encode(data).decode()
    return [File(str(media_type), f"data:{media_type};base64,{data}")] if data else []
