"""AWS Bedrock: the events of ``converse_stream``, as botocore and its asynchronous relatives parse them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from ...types import FinishReason
from ..item_types import File, Finish, Item, ToolError, ToolOutput
from .base import ProducerError, ToolCalls, look, reasoning, source, text

_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop")
_OF_METADATA = ("usage", "metrics")
_FAILURES = (
    *("internalServerException", "modelStreamErrorException", "validationException", "throttlingException"),
    *("serviceUnavailableException", "modelTimeoutException"),
)
_FINISH_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("end_turn", "stop_sequence"), "stop"),
    "tool_use": "tool-calls",
    **dict.fromkeys(("max_tokens", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("guardrail_intervened", "content_filtered"), "content-filter"),
}


def is_event(item: Any) -> bool:
    """Return whether an item is such an event, by its shape: a mapping with one entry."""
    if not isinstance(item, Mapping) or len(item) != 1:
        return False
    ((name, value),) = item.items()
    if name == "metadata":
        return all(isinstance(look(value, field), Mapping) for field in _OF_METADATA)
    return name in (*_EVENTS, *_FAILURES) and isinstance(value, Mapping)


def model_output(item: Any) -> bytes | None:
    """Return the model's own JSON out of an event of ``invoke_model_with_response_stream``; ``None`` if it is none."""
    chunk = look(item, "chunk") if isinstance(item, Mapping) and len(item) == 1 else None
    data = look(chunk, "bytes") if isinstance(chunk, Mapping) else None
    return data if isinstance(data, bytes) else None


class Bedrock:
    """Reads the events of one stream."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._image: tuple[str, list[bytes]] | None = None
        """The format and the pieces of the image that is being sent."""
        self._result: tuple[str, bool, list[Any]] | None = None
        """The call's id, whether it has failed, and the pieces of what a tool of Bedrock's own has answered."""
        self._sources: set[str] = set()
        self._readers: dict[str, Callable[[Mapping[str, Any]], list[Item]]] = {
            "contentBlockStart": self._read_start,
            "contentBlockDelta": self._read_delta,
            "contentBlockStop": self._read_stop,
            "messageStop": self._read_message_stop,
        }

    def read(self, event: Mapping[str, Any]) -> list[Item]:
        """Read one event."""
        ((name, value),) = event.items()
        if name in _FAILURES:
            raise ProducerError(f"The model failed: {name}: {look(value, 'message')}")
        reader = self._readers.get(name)
        return reader(value) if reader is not None else []

    def _read_start(self, value: Mapping[str, Any]) -> list[Item]:
        match look(value, "start"):
            case {"toolUse": call}:
                return self._calls.begin(_place_of(value), look(call, "toolUseId"), look(call, "name"))
            case {"toolResult": result}:
                self._result = str(look(result, "toolUseId")), look(result, "status") == "error", []
            case {"image": image}:
                self._image = str(look(image, "format") or "png"), []
        return []

    def _read_delta(self, value: Mapping[str, Any]) -> list[Item]:
        match look(value, "delta"):
            case {"text": piece}:
                return text(piece)
            case {"reasoningContent": thought}:
                return reasoning(look(thought, "text"))
            case {"toolUse": call}:
                return self._calls.add(_place_of(value), look(call, "input"))
            case {"citation": citation}:
                return self._read_citation(citation)
            case {"toolResult": [*pieces]} if self._result is not None:
                self._result[2].extend(pieces)
            case {"image": {"source": {"bytes": bytes() as data}}} if self._image is not None:
                self._image[1].append(data)
        return []

    def _read_citation(self, citation: Any) -> list[Item]:
        address = look(look(look(citation, "location"), "web"), "url") or look(citation, "source")
        new = [item for item in source(address, look(citation, "title")) if item.url not in self._sources]
        self._sources |= {item.url for item in new}
        return [*new]

    def _read_stop(self, value: Mapping[str, Any]) -> list[Item]:
        image, self._image = self._image, None
        result, self._result = self._result, None
        items = self._calls.end(_place_of(value))
        if image is not None and (data := b"".join(image[1])):
            media_type = f"image/{image[0]}"
            items.append(File(media_type, f"data:{media_type};base64,{base64.b64encode(data).decode()}"))
        return items if result is None else [*items, _tool_result(*result)]

    def _read_message_stop(self, value: Mapping[str, Any]) -> list[Item]:
        reason = _FINISH_REASONS.get(str(look(value, "stopReason")), "other")
        return [*self._calls.end_all(), Finish(reason)]


def _place_of(value: Mapping[str, Any]) -> tuple[str, Any]:
    return "bedrock", look(value, "contentBlockIndex")


def _tool_result(call_id: str, has_failed: bool, pieces: list[Any]) -> Item:
    written = "".join(str(look(piece, "text") or "") for piece in pieces)
    values = [look(piece, "json") for piece in pieces if look(piece, "json") is not None]
    if has_failed:
        return ToolError(call_id, written or str(values or "The tool has failed."))
    return ToolOutput(call_id, written if written or not values else values[0] if len(values) == 1 else values)
