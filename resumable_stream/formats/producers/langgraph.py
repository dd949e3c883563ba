"""Events of LangGraph's ``astream_events(..., version="v3")``: messages block by block, and the graph's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..item_types import Item, Source, ToolError, ToolInput, ToolOutput
from .base import EventReader, ProducerError, Sources, ToolCalls, look, reasoning, text
from .langchain_content import finish_of, read_block

CUSTOM = "custom"
"""The method of what a graph's own code writes; its payload is an item like any other."""


def is_event(item: Mapping[str, Any]) -> bool:
    """Return whether a mapping is such an event rather than a chunk of the app's own."""
    return item.get("type") == "event" and isinstance(item.get("method"), str) and "params" in item


class LangGraph:
    """Reads the events of one stream; remembers which blocks have come in pieces, and which calls wait for a result."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._in_pieces: set[Any] = set()
        self._waiting: set[str] = set()
        self._sources = Sources()
        self._readers: dict[str, Any] = {
            "content-block-start": self._read_start,
            "content-block-delta": self._read_delta,
            "content-block-finish": self._read_finish,
            "message-finish": lambda part, _key: finish_of(look(part, "metadata")),
            "error": self._read_error,
            "message-error": self._read_error,
        }

    def readers(self) -> dict[str, EventReader]:
        """Map the type of the events to what reads them."""
        return {"event": self._read}

    def _read(self, event: Any) -> list[Item] | None:
        params = look(event, "params")
        if not isinstance(event, Mapping) or not is_event(event):
            return None
        data = look(params, "data")
        if event["method"] == "messages" and isinstance(data, (tuple, list)) and len(data) == 2:
            return self._read_message(data[0], look(data[1], "run_id") or look(data[1], "langgraph_checkpoint_ns"))
        if event["method"] == "values":
            return self._read_results(look(data, "messages") or ())
        return []

    def _read_message(self, part: Any, run: Any) -> list[Item]:
        reader = self._readers.get(look(part, "event") or "")
        found: list[Item] = reader(part, (run, look(part, "index"))) if reader is not None else []
        return found

    def _read_start(self, part: Any, key: Any) -> list[Item]:
        block = look(part, "content")
        self._in_pieces.discard(key)
        if look(block, "type") != "tool_call_chunk" or not look(block, "id"):
            return []
        self._waiting.add(str(look(block, "id")))
        begun = self._calls.begin(key, look(block, "id"), look(block, "name"))
        return begun + self._calls.add(key, look(block, "args"))

    def _read_delta(self, part: Any, key: Any) -> list[Item]:
        delta = look(part, "delta")
        self._in_pieces.add(key)
        kind = look(delta, "type")
        if kind == "text-delta":
            return text(look(delta, "text"))
        if kind == "reasoning-delta":
            return reasoning(look(delta, "reasoning"))
        return self._calls.add(key, look(delta, "args")) if kind == "tool-call-delta" else []

    def _read_finish(self, part: Any, key: Any) -> list[Item]:
        block = look(part, "content")
        kind, call_id = look(block, "type"), look(block, "id")
        if kind in ("tool_call", "invalid_tool_call"):
            if self._calls.is_open(key, str(call_id)):
                return self._calls.end(key)
            self._waiting.add(str(call_id))
            return [ToolInput(str(call_id), str(look(block, "name") or ""), look(block, "args"))]
        # A model that does not stream gives the whole block at its end.
        items = read_block(block, self._sources)
        return [item for item in items if isinstance(item, Source)] if key in self._in_pieces else items

    def _read_error(self, part: Any, key: Any) -> list[Item]:
        raise ProducerError(f"The graph's model failed: {look(part, 'message') or look(part, 'error')}")

    def _read_results(self, messages: Iterable[Any]) -> list[Item]:
        """Find the results of calls in the graph's state: no event of their own carries them."""
        items: list[Item] = []
        for message in messages:
            call_id = str(look(message, "tool_call_id"))
            if look(message, "type") != "tool" or call_id not in self._waiting:
                continue
            self._waiting.discard(call_id)
            content = look(message, "content")
            failed = look(message, "status") == "error"
            items.append(ToolError(call_id, str(content)) if failed else ToolOutput(call_id, content))
        return items
