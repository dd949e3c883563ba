"""Anthropic: raw message events, and the helper stream that mixes derived events in."""

from __future__ import annotations

from typing import Any

from ..item_types import Item
from .base import EventReader, Sources, ToolCalls, look, reasoning, skip, text
from .finishes import finish


class Anthropic:
    """Events of ``messages.create(stream=True)`` and of ``messages.stream()``."""

    helper_events = ("text", "thinking", "input_json", "citation", "signature")
    """What the helper stream adds to the raw events; it repeats them."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._sources = Sources()

    def readers(self) -> dict[str, EventReader]:
        """Map the types of events to what reads them."""
        return {
            "message_start": skip,
            "content_block_start": self._read_start,
            "content_block_delta": self._read_delta,
            "content_block_stop": lambda event: self._calls.end(look(event, "index")),
            "message_delta": lambda event: finish(look(look(event, "delta"), "stop_reason")),
            "message_stop": skip,
            "ping": skip,
        }

    def _read_start(self, event: Any) -> list[Item]:
        block = look(event, "content_block")
        match look(block, "type"):
            case "text":
                return text(look(block, "text"))
            case "thinking":
                return reasoning(look(block, "thinking"))
            case "tool_use":
                return self._calls.begin(look(event, "index"), look(block, "id"), look(block, "name"))
        return []

    def _read_delta(self, event: Any) -> list[Item]:
        delta = look(event, "delta")
        match look(delta, "type"):
            case "text_delta":
                return text(look(delta, "text"))
            case "thinking_delta":
                return reasoning(look(delta, "thinking"))
            case "input_json_delta":
                return self._calls.add(look(event, "index"), look(delta, "partial_json"))
            case "citations_delta":
                citation = look(delta, "citation")
                return self._sources.take(look(citation, "url") or look(citation, "source"), look(citation, "title"))
        return []
