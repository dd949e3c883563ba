"""OpenAI: chat completion chunks, Responses events, and what the Agents SDK wraps around those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...types import FinishReason
from ..item_types import File, Finish, Item, Reasoning, ToolInput, ToolOutput
from .base import EventReader, ProducerError, Sources, ToolCalls, look, new_call_id, reasoning, skip, text
from .finishes import finish_reason
from .mistral import NO_ID, read_content

_OF_CHOICES = ("delta", "content_filter_results", "content_filter_offsets", "finish_reason")
_OF_EMPTY_CHUNKS = ("usage", "prompt_filter_results", "model")
_FINISH_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    **dict.fromkeys(("content_filter", "safety", "recitation", "refusal"), "content-filter"),
    **dict.fromkeys(("tool_calls", "function_call"), "tool-calls"),
    # Of vLLM, of DeepSeek.
    **dict.fromkeys(("abort", "insufficient_system_resource"), "other"),
}


def is_chat_chunk(item: Any) -> bool:
    """Return whether an item without a type is a chat completion chunk, by its shape.

    Servers call theirs ``chat.completion.chunk``, ``chat.completion`` (Perplexity), the empty string (Azure), or give
    them no name. Azure's first one has no choices, and what its content filter adds later has choices without a
    ``delta``.
    """
    choices = look(item, "choices")
    if not isinstance(choices, (list, tuple)):
        return False
    if look(item, "object") == "chat.completion.chunk":
        return True
    if not choices:
        return any(look(item, name) is not None for name in _OF_EMPTY_CHUNKS)
    return all(any(look(choice, name) is not None for name in _OF_CHOICES) for choice in choices)


class ChatCompletions:
    """Chat completion chunks: of ``openai``, of ``litellm`` and of every server that speaks them."""

    helper_events = (
        *("content.delta", "content.done", "refusal.delta", "refusal.done"),
        *("tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"),
        *("logprobs.content.delta", "logprobs.content.done", "logprobs.refusal.delta", "logprobs.refusal.done"),
    )
    """What the SDK's helper stream adds to the raw chunks; it repeats them."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._sources = Sources()
        self._is_refused = False
        """Whether the model has refused to answer, and has not finished since."""

    def readers(self) -> dict[str, EventReader]:
        """Map the types of events to what reads them."""
        return {"chunk": self._read_wrapper}

    def read(self, chunk: Any) -> list[Item]:
        """Read one chunk."""
        choices = look(chunk, "choices")
        if not choices or look(choices[0], "index"):
            # No choice: usage figures. Another choice than the first: an alternative to the answer.
            return []
        delta = look(choices[0], "delta")
        items = reasoning(look(delta, "reasoning_content") or look(delta, "reasoning"))
        items += read_content(look(delta, "content")) + text(look(look(delta, "audio"), "transcript"))
        items += self._read_refusal(delta) + self._read_sources(chunk, delta)
        for call in look(delta, "tool_calls") or ():
            items += self._read_call(call)
        reason = look(choices[0], "finish_reason")
        if reason == "error":
            why = look(chunk, "error") or look(choices[0], "error")
            raise ProducerError(f"The provider says that its model has failed while it was answering: {why!r:.500}")
        return items + self._read_finish(reason) if isinstance(reason, str) and reason else items

    def _read_refusal(self, delta: Any) -> list[Item]:
        items = text(look(delta, "refusal"))
        self._is_refused = self._is_refused or bool(items)
        return items

    def _read_sources(self, chunk: Any, delta: Any) -> list[Item]:
        pages = [look(annotation, "url_citation") for annotation in look(delta, "annotations") or ()]
        # Of Perplexity, which repeats them in every chunk.
        pages += look(chunk, "search_results") or ()
        return [item for page in pages for item in self._sources.take(look(page, "url"), look(page, "title"))]

    def _read_finish(self, reason: str) -> list[Item]:
        # Servers have words of their own for a usual end.
        known = _FINISH_REASONS.get(reason.lower(), "stop")
        is_refused, self._is_refused = self._is_refused and known == "stop", False
        return [*self._calls.end_all(), Finish("content-filter" if is_refused else known)]

    def _read_call(self, call: Any) -> list[Item]:
        key, call_id, function = look(call, "index"), look(call, "id"), look(call, "function")
        items: list[Item] = []
        name, arguments = look(function, "name"), look(function, "arguments")
        call_id = None if call_id == NO_ID else call_id
        if isinstance(arguments, Mapping):
            return [*self._calls.end(key), ToolInput(str(call_id or new_call_id()), str(name or ""), arguments)]
        if not call_id and name and not self._calls.has(key):
            # Some servers give calls no id, and clients need one.
            call_id = new_call_id()
        # Some servers repeat the id in every piece, and some give every call the index 0.
        if call_id and not self._calls.is_open(key, call_id):
            items += self._calls.begin(key, call_id, name)
        return items + self._calls.add(key, arguments)

    def _read_wrapper(self, event: Any) -> list[Item] | None:
        chunk = look(event, "chunk")
        return self.read(chunk) if is_chat_chunk(chunk) else None


class Responses:
    """Events of the Responses API, plain or as the Agents SDK passes them on."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._sources = Sources()
        self._is_refused = self._has_called = False
        """What has happened in the response that is being read."""
        self._readers: dict[str, EventReader] = {
            "response.output_text.delta": lambda event: text(look(event, "delta")),
            "response.refusal.delta": self._read_refusal,
            "response.audio.transcript.delta": lambda event: text(look(event, "delta")),
            "response.output_text.annotation.added": self._read_annotation,
            "response.reasoning_text.delta": lambda event: reasoning(look(event, "delta")),
            "response.reasoning_summary_text.delta": lambda event: reasoning(look(event, "delta")),
            "response.reasoning_summary_part.added": self._read_summary_part,
            "response.output_item.added": self._read_item_added,
            "response.function_call_arguments.delta": self._read_arguments,
            "response.output_item.done": self._read_item_done,
            "response.completed": self._read_completed,
            "response.incomplete": self._read_incomplete,
            "response.failed": self._read_failed,
        }

    def readers(self) -> dict[str, EventReader]:
        """Map the types of events to what reads them."""
        return {
            **self._readers,
            "error": self._read_error,
            "raw_response_event": self._read_raw,
            "run_item_stream_event": self._read_run_item,
            "agent_updated_stream_event": skip,
        }

    def is_event(self, kind: str, item: Any) -> bool:
        """Tell whether an item is one of the many events that add nothing to the answer."""
        return kind.startswith(("response.", "keepalive")) and look(item, "sequence_number") is not None

    def _read_summary_part(self, event: Any) -> list[Item]:
        return [Reasoning("\n\n")] if look(event, "summary_index") else []

    def _read_item_added(self, event: Any) -> list[Item]:
        item = look(event, "item")
        if look(item, "type") != "function_call":
            return []
        self._has_called = True
        return self._calls.begin(_place_of(event, item), look(item, "call_id"), look(item, "name"))

    def _read_arguments(self, event: Any) -> list[Item]:
        return self._calls.add(_place_of(event), look(event, "delta"))

    def _read_item_done(self, event: Any) -> list[Item]:
        item = look(event, "item")
        match look(item, "type"):
            case "custom_tool_call":
                # Its input is text of the model's own, and no JSON.
                self._has_called = True
                return [ToolInput(str(look(item, "call_id")), str(look(item, "name")), look(item, "input"))]
            case "image_generation_call" if isinstance(data := look(item, "result"), str) and data:
                media_type = f"image/{look(item, 'output_format') or 'png'}"
                return [File(media_type, f"data:{media_type};base64,{data}")]
        return self._calls.end(_place_of(event, item))

    def _read_refusal(self, event: Any) -> list[Item]:
        self._is_refused = True
        return text(look(event, "delta"))

    def _read_annotation(self, event: Any) -> list[Item]:
        annotation = look(event, "annotation")
        return self._sources.take(look(annotation, "url"), look(annotation, "title"))

    def _read_completed(self, _event: Any) -> list[Item]:
        return self._finish("tool-calls" if self._has_called else "stop")

    def _read_incomplete(self, event: Any) -> list[Item]:
        reason = look(look(look(event, "response"), "incomplete_details"), "reason")
        return self._finish(finish_reason(reason) if isinstance(reason, str) else "other")

    def _finish(self, reason: FinishReason) -> list[Item]:
        is_refused, self._is_refused, self._has_called = self._is_refused, False, False
        return [*self._calls.end_all(), Finish("content-filter" if is_refused and reason == "stop" else reason)]

    def _read_failed(self, event: Any) -> list[Item]:
        error = look(look(event, "response"), "error")
        raise ProducerError(f"The response failed: {look(error, 'code')}: {look(error, 'message')}")

    def _read_error(self, event: Any) -> list[Item] | None:
        nested = look(event, "error")
        if nested is not None and not isinstance(nested, str):
            # As Anthropic's API words it.
            raise ProducerError(f"The message failed: {nested!r:.500}")
        # The AI SDK has an error chunk too, which is a chunk like others.
        is_numbered = look(event, "sequence_number") is not None
        if not is_numbered and (look(event, "message") is None or look(event, "code") is None):
            return None
        raise ProducerError(f"The response failed: {look(event, 'code')}: {look(event, 'message')}")

    def _read_raw(self, event: Any) -> list[Item] | None:
        data = look(event, "data")
        reader = self._readers.get(look(data, "type") or "")
        return reader(data) if reader is not None else []

    def _read_run_item(self, event: Any) -> list[Item]:
        item = look(event, "item")
        if look(event, "name") != "tool_output":
            return []
        return [ToolOutput(str(look(look(item, "raw_item"), "call_id")), look(item, "output"))]


def _place_of(event: Any, item: Any = None) -> Any:
    """Return what tells the items of one response apart: the Agents SDK gives all of a chat completion one false id."""
    place = look(event, "output_index")
    if place is not None:
        return "output", place
    return look(item, "id") if item is not None else look(event, "item_id")
