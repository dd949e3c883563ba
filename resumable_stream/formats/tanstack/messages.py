"""Make TanStack AI's ``UIMessage``s of AG-UI messages (``aguiSnapshotMessageToUIMessage`` of ``@tanstack/ai``).

On the wire an answer is several messages: what the model thought, its text with the calls, and one for each result.
In a client's memory it is one message with ``parts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...types import Message
from ..javascript import MISSING, parse_json

TanStackPart = dict[str, Any]

_STRUCTURED_STATES = ("streaming", "complete", "error")


def extras(value: Any) -> Mapping[str, Any]:
    """Return ``metadata.tanstack``, where TanStack AI keeps what AG-UI has no fields for."""
    metadata = value.get("metadata") if isinstance(value, Mapping) else None
    tanstack = metadata.get("tanstack") if isinstance(metadata, Mapping) else None
    return tanstack if isinstance(tanstack, Mapping) else {}


def text(value: Mapping[str, Any], name: str) -> str:
    """Return a field that should hold a text; ``""`` if it does not."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def to_ui_messages(messages: Sequence[Mapping[str, Any]], previous: Sequence[Message] = ()) -> list[Message]:
    """Convert messages of either shape.

    ``previous`` are the messages that these take the place of: of calls that both have, the results of the former are
    kept where the latter know none.
    """
    converted = [_convert(message) for message in messages]
    return _anchor_results(_merge_reasoning(converted), previous)


def tool_output(content: Any) -> Any:
    """Read a result as clients show it: JSON is decoded, all else is a text."""
    if not isinstance(content, str):
        return content
    output = parse_json(content)
    return content if output is MISSING else output


def error_of_output(output: Any) -> str:
    """Return what a failed call's output has to say."""
    error = output.get("error") if isinstance(output, Mapping) else output
    return error if isinstance(error, str) else "Tool execution failed"


def _convert(message: Mapping[str, Any]) -> Message:
    if "parts" in message:
        # Parts are changed later, but nothing within them: a copy of each is enough.
        parts = message["parts"]
        parts = [{**part} for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        # Agents may leave out the role; the package itself writes nothing but answers.
        converted = {**message, "role": text(message, "role") or "assistant", "parts": parts}
    else:
        role = text(message, "role")
        convert = _CONVERTERS.get(role)
        ui_role = {"user": "user", "system": "system", "developer": "system"}.get(role, "assistant")
        converted = {"id": message["id"], "role": ui_role, "parts": convert(message) if convert else []}
        if isinstance(message.get("name"), str):
            converted["name"] = message["name"]
        if isinstance(message.get("metadata"), Mapping):
            converted["metadata"] = message["metadata"]
    _add_resources(converted)
    return converted


def _text_parts(content: Any) -> list[TanStackPart]:
    return [{"type": "text", "content": content}] if isinstance(content, str) and content else []


def _user_parts(message: Mapping[str, Any]) -> list[TanStackPart]:
    content = message.get("content")
    if not isinstance(content, list):
        return _text_parts(content)
    parts = [{**part} for part in content if isinstance(part, dict) and part.get("type") != "binary"]
    return [_text_part(part) if part.get("type") == "text" and "text" in part else part for part in parts]


def _text_part(part: TanStackPart) -> TanStackPart:
    return {"type": "text", "content": part["text"]}


def _assistant_parts(message: Mapping[str, Any]) -> list[TanStackPart]:
    structured = _structured_part(extras(message).get("structuredOutput"))
    parts = _text_parts(message.get("content"))
    if structured is not None:
        # The text repeats it.
        parts = [*_text_parts(text(message, "content").removesuffix(structured["raw"])), structured]
    metadata = extras(message).get("toolCallMetadata")
    calls = message.get("toolCalls")
    return parts + [
        _call_part(call, metadata if isinstance(metadata, Mapping) else {})
        for call in (calls if isinstance(calls, list) else ())
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]


def _call_part(call: Mapping[str, Any], metadata: Mapping[str, Any]) -> TanStackPart:
    arguments = call["function"].get("arguments", "")
    call_id, name = call.get("id"), call["function"].get("name")
    part = {"type": "tool-call", "id": call_id, "name": name, "arguments": arguments}
    value = parse_json(arguments)
    found = metadata.get(str(call_id), MISSING)
    part |= {"state": "input-complete"} | ({} if value is MISSING else {"input": value})
    return part if found is MISSING else part | {"metadata": found}


def _structured_part(value: Any) -> TanStackPart | None:
    if not isinstance(value, Mapping) or value.get("status") not in _STRUCTURED_STATES:
        return None
    if not isinstance(value.get("raw"), str):
        return None
    kept = {name: value[name] for name in ("partial", "data", "errorMessage") if name in value}
    kept |= {"reasoning": value["reasoning"]} if value.get("reasoning") else {}
    return {"type": "structured-output", "status": value["status"], "raw": value["raw"], **kept}


def _result_parts(message: Mapping[str, Any]) -> list[TanStackPart]:
    error = message.get("error", MISSING)
    content = message.get("content")
    part = {"type": "tool-result", "toolCallId": message.get("toolCallId"), "id": message["id"]}
    part |= {"content": content if isinstance(content, (str, list)) else ""}
    part |= {name: message[name] for name in ("name", "metadata") if name in message}
    return [part | ({"state": "complete"} if error is MISSING else {"state": "error", "error": error})]


def _reasoning_parts(message: Mapping[str, Any]) -> list[TanStackPart]:
    signature = text(message, "encryptedValue") or text(extras(message), "signature")
    part = {"type": "thinking", "content": text(message, "content")}
    part |= {"signature": signature} if signature else {}
    return [part] if part["content"] or signature else []


_CONVERTERS: dict[str, Callable[[Mapping[str, Any]], list[TanStackPart]]] = {
    "user": _user_parts,
    "assistant": _assistant_parts,
    "tool": _result_parts,
    "reasoning": _reasoning_parts,
    "system": lambda message: _text_parts(message.get("content")),
    "developer": lambda message: _text_parts(message.get("content")),
}


def _add_resources(message: Message) -> None:
    resources = extras(message).get("uiResources")
    known = {_resource_key(part) for part in message["parts"] if part.get("type") == "ui-resource"}
    for part in resources if isinstance(resources, list) else ():
        if _is_resource(part) and _resource_key(part) not in known:
            message["parts"].append({**part})


def _is_resource(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "ui-resource" and all(_resource_key(part))


def _resource_key(part: TanStackPart) -> tuple[str, ...]:
    resource = part.get("resource")
    resource = resource if isinstance(resource, dict) else {}
    return text(part, "toolCallId"), text(part, "toolName"), text(resource, "uri")


def _kinds(message: Message) -> set[str]:
    return {text(part, "type") for part in message["parts"]}


def _merge_reasoning(messages: list[Message]) -> list[Message]:
    """Put thoughts that came as messages of their own before the answer that follows them."""
    merged: list[Message] = []
    pending: list[Message] = []
    for message in messages:
        if message["role"] == "assistant" and _kinds(message) == {"thinking"}:
            pending.append(message)
            continue
        if pending and message["role"] == "assistant" and not _is_result(message):
            thoughts = [part for thought in pending for part in thought["parts"]]
            message["parts"] = thoughts + message["parts"]
        else:
            merged += pending
        pending = []
        merged.append(message)
    return merged + pending


def _is_result(message: Message) -> bool:
    kinds = _kinds(message)
    return "tool-result" in kinds and kinds <= {"tool-result", "ui-resource"}


def calls_of(messages: Sequence[Message]) -> dict[str, TanStackPart]:
    """Index calls by id; of several with one id, the last counts."""
    return {
        text(part, "id"): part
        for message in messages
        for part in message.get("parts", ())
        if part.get("type") == "tool-call"
    }


class _Anchors:
    """Messages in their order, and which of them results belong to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._answers: list[Message] = []
        self._with_call: dict[str, Message] = {}

    def append(self, message: Message) -> None:
        self.messages.append(message)
        if message["role"] == "assistant":
            self._answers.append(message)
        for part in message["parts"]:
            if part.get("type") == "tool-call":
                self._with_call[text(part, "id")] = message

    def add_call(self, message: Message, call: TanStackPart) -> None:
        message["parts"].append(call)
        self._with_call[text(call, "id")] = message

    def target(self, call_id: str) -> Message | None:
        """Return the last message with the call, or else the last one that is an answer."""
        # An answer without parts is none any more when a result has come to it: what was passed over stays so.
        while self._answers and len(self._answers[-1]["parts"]) == 1 and _is_result(self._answers[-1]):
            self._answers.pop()
        return self._with_call.get(call_id) or (self._answers[-1] if self._answers else None)


def _anchor_results(messages: list[Message], previous: Sequence[Message]) -> list[Message]:
    """Move each result that came as a message of its own to the call that it answers."""
    known, present = calls_of(previous), calls_of(messages)
    anchors = _Anchors()
    for message in messages:
        call_id = _answered_call(message)
        target = anchors.target(call_id) if call_id is not None else None
        if target is None or call_id is None:
            anchors.append(message)
            continue
        if call_id not in present and call_id in known:
            present[call_id] = {**known[call_id]}
            anchors.add_call(target, present[call_id])
        target["parts"] += message["parts"]
    _complete_calls(anchors.messages, known)
    return anchors.messages


def _answered_call(message: Message) -> str | None:
    """Return the call that a message answers which holds nothing but its result; ``None`` if it is no such message."""
    if message["role"] != "assistant" or not _is_result(message):
        return None
    results = [part for part in message["parts"] if part.get("type") == "tool-result"]
    return text(results[0], "toolCallId") if len(results) == 1 else None


def _complete_calls(messages: list[Message], known: Mapping[str, TanStackPart]) -> None:
    """Give calls the outcomes that are known of them."""
    parts = [part for message in messages for part in message["parts"]]
    results = {text(part, "toolCallId"): part for part in parts if part.get("type") == "tool-result"}
    for part in parts:
        if part.get("type") == "tool-call":
            _complete_call(part, known.get(text(part, "id")), results.get(text(part, "id")))


def _complete_call(call: TanStackPart, previous: TanStackPart | None, result: TanStackPart | None) -> None:
    if previous is not None and ("output" in previous or previous.get("state") in ("complete", "error")):
        is_poorer = "output" not in call or call.get("state") in ("input-complete", "input-streaming", "awaiting-input")
        if is_poorer:
            kept = ("output", "state", "approval", "metadata")
            call |= {name: previous[name] for name in kept if name in previous}
    if result is not None and "output" not in call:
        is_error = result.get("state") == "error"
        output = tool_output(result.get("content"))
        error = error_of_output(output) if is_error else ""
        call["output"] = {"error": error} if error else output
        call["state"] = "error" if is_error else "complete"
