"""Google's interactions: the events of ``client.interactions.create(stream=True)``, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...types import FinishReason
from ..item_types import File, Finish, Item
from ..jsontext import encode
from .base import ProducerError, ToolCalls, look, reasoning, source, text

_PREFIXES = ("interaction.", "step.")
_FILES = ("image", "audio", "video", "document")
_FINISH_REASONS: dict[str, FinishReason] = {
    "completed": "stop",
    "requires_action": "tool-calls",
    **dict.fromkeys(("incomplete", "requires_continuation"), "length"),
    **dict.fromkeys(("cancelled", "budget_exceeded"), "other"),
}


def is_event(item: Any) -> bool:
    """Return whether an item without a type is such an event."""
    kind = look(item, "event_type")
    return isinstance(kind, str) and (kind.startswith(_PREFIXES) or kind == "error")


class Interactions:
    """Reads the events of one stream."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._arguments: dict[Any, Any] = {}
        """What the calls were begun with, for those whose arguments do not come in pieces."""
        self._sources: set[str] = set()
        self._readers: dict[str, Callable[[Any], list[Item]]] = {
            "step.start": self._read_start,
            "step.delta": self._read_delta,
            "step.stop": self._read_stop,
            "interaction.completed": lambda event: self._read_status(look(look(event, "interaction"), "status")),
            "interaction.status_update": lambda event: self._read_status(look(event, "status")),
            "error": self._read_error,
        }

    def read(self, event: Any) -> list[Item]:
        """Read one event."""
        reader = self._readers.get(look(event, "event_type"))
        return reader(event) if reader is not None else []

    def _read_start(self, event: Any) -> list[Item]:
        step, key = look(event, "step"), _place_of(event)
        match look(step, "type"):
            case "function_call":
                self._arguments[key] = look(step, "arguments")
                return self._calls.begin(key, look(step, "id"), look(step, "name"))
            case "model_output":
                return [item for piece in look(step, "content") or () for item in self._read_content(piece)]
            case "thought":
                return [item for piece in look(step, "summary") or () for item in reasoning(look(piece, "text"))]
        return []

    def _read_delta(self, event: Any) -> list[Item]:
        delta = look(event, "delta")
        match look(delta, "type"):
            case "thought_summary":
                return reasoning(look(look(delta, "content"), "text"))
            case "arguments_delta":
                self._arguments.pop(_place_of(event), None)
                return self._calls.add(_place_of(event), look(delta, "arguments"))
            case "text_annotation_delta":
                return self._read_annotations(look(delta, "annotations"))
        return self._read_content(delta)

    def _read_stop(self, event: Any) -> list[Item]:
        key = _place_of(event)
        arguments = self._arguments.pop(key, None)
        return (self._calls.add(key, encode(arguments)) if arguments else []) + self._calls.end(key)

    def _read_content(self, content: Any) -> list[Item]:
        kind = look(content, "type")
        if kind == "text":
            return text(look(content, "text")) + self._read_annotations(look(content, "annotations"))
        return _read_file(content) if kind in _FILES else []

    def _read_annotations(self, annotations: Any) -> list[Item]:
        pages = [found for found in annotations or () if look(found, "type") == "url_citation"]
        found = [item for page in pages for item in source(look(page, "url"), look(page, "title"))]
        new = {item.url: item for item in found if item.url not in self._sources}
        self._sources |= new.keys()
        return [*new.values()]

    def _read_status(self, status: Any) -> list[Item]:
        if status == "failed":
            raise ProducerError("The interaction has failed.")
        reason = _FINISH_REASONS.get(status)
        return [*self._calls.end_all(), Finish(reason)] if reason is not None else []

    def _read_error(self, event: Any) -> list[Item]:
        error = look(event, "error")
        raise ProducerError(f"The interaction has failed: {look(error, 'code')}: {look(error, 'message')}")


def _place_of(event: Any) -> tuple[str, Any]:
    return "interaction", look(event, "index")


def _read_file(content: Any) -> list[Item]:
    media_type = str(look(content, "mime_type") or "application/octet-stream")
    data, address = look(content, "data"), look(content, "uri")
    if isinstance(data, str) and data:
        return [File(media_type, f"data:{media_type};base64,{data}")]
    is_web = isinstance(address, str) and address.startswith(("https://", "http://"))
    return [File(media_type, address)] if is_web else []
