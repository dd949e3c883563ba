"""The tool parts of an AI SDK message: how a call's chunks become one part (``process-ui-message-stream.ts``).

``undefined`` in the client is a missing key here. One class for each major version of the client, newest first; what
a version does differently is what its class overrides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..jsontext import mend_surrogates
from .partial_json import UnparsableError, parse_partial
from .parts import DYNAMIC, STATIC_PREFIX, ToolIndex, UIPart, is_dynamic, is_static, pick, tool_name

ToolChunk = dict[str, Any]

RESULT_STATES = ("output-available", "output-error")

_OVERWRITTEN = ("input", "output", "errorText", "rawInput", "inputEncoding", "preliminary")
_KEPT = ("title", "toolMetadata", "providerExecuted")


class BrokenStreamError(Exception):
    """The client throws at this chunk and takes no more of the answer."""


@dataclass(slots=True)
class _PartialCall:
    """A call whose input is being streamed."""

    name: str
    dynamic: bool
    shared: dict[str, Any]
    """Fields of its first chunk that every update repeats."""
    pieces: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _StreamedInput:
    """Input that a part has so far, joined and parsed only when somebody looks."""

    part: UIPart
    call: _PartialCall
    length: int
    """How many pieces of the call the part has seen."""
    keeps_raw: bool


class ToolParts:
    """The tool parts of one message, as version 7 keeps them."""

    version: ClassVar[int] = 7
    kept_of_start: ClassVar[tuple[str, ...]] = (
        "inputEncoding",
        "providerExecuted",
        "title",
        "toolMetadata",
        "providerMetadata",
    )
    kept_of_call: ClassVar[tuple[str, ...]] = ("title", "toolMetadata", "inputEncoding")

    def __init__(self, parts: list[UIPart]) -> None:
        self._parts = parts
        self._tools = ToolIndex()
        self._partial: dict[str, _PartialCall] = {}
        self._streamed: dict[int, _StreamedInput] = {}
        for part in parts:
            self._adopt(part)

    def _adopt(self, part: UIPart) -> None:
        if part.get("type") == "step-start":
            self.start_step()
            self._partial.clear()
        elif isinstance(part.get("toolCallId"), str) and (is_static(part) or is_dynamic(part)):
            self._tools.add(part)
            if part.get("state") == "input-streaming":
                self._partial[part["toolCallId"]] = self._resume_call(part)

    def _resume_call(self, part: UIPart) -> _PartialCall:
        shared = pick(part, *self.kept_of_call)
        return _PartialCall(tool_name(part), is_dynamic(part), shared, [str(part.get("rawInput", ""))])

    def start_step(self) -> None:
        """Begin a step: calls are looked for in the current one first."""
        self._tools.start_step()

    def reset_step(self) -> None:
        """Forget the calls of the current step."""
        self._tools.reset_step()
        self._partial.clear()

    def settle(self) -> None:
        """Give every part the input that was streamed to it."""
        for streamed in self._streamed.values():
            self._settle(streamed)
        self._streamed.clear()

    def input_start(self, chunk: ToolChunk) -> None:
        """Take the beginning of a call."""
        dynamic = bool(chunk.get("dynamic"))
        shared = pick(chunk, *self.kept_of_call)
        self._partial[chunk["toolCallId"]] = _PartialCall(chunk["toolName"], dynamic, shared)
        fields = pick(chunk, *self.kept_of_start)
        self._update(chunk["toolCallId"], chunk["toolName"], dynamic, "input-streaming", fields)

    def input_delta(self, chunk: ToolChunk) -> None:
        """Take a piece of a call's input."""
        call = self._partial.get(chunk["toolCallId"])
        if call is None:
            raise BrokenStreamError(chunk["toolCallId"])
        call.pieces.append(chunk["inputTextDelta"])
        known = len(self._tools)
        part = self._update(chunk["toolCallId"], call.name, call.dynamic, "input-streaming", call.shared)
        # A dynamic part that first appears here (its step has just begun) is made without the raw text.
        keeps_raw = not (call.dynamic and len(self._tools) > known)
        self._streamed[id(part)] = _StreamedInput(part, call, len(call.pieces), keeps_raw)

    def input_available(self, chunk: ToolChunk) -> None:
        """Take a call's whole input."""
        fields = pick(chunk, "input", "providerExecuted", "providerMetadata", "title", "toolMetadata")
        self._update(chunk["toolCallId"], chunk["toolName"], bool(chunk.get("dynamic")), "input-available", fields)

    def input_error(self, chunk: ToolChunk) -> None:
        """Take an input that the tool cannot be called with."""
        fields = pick(chunk, "errorText", "providerExecuted", "providerMetadata", "toolMetadata")
        dynamic = self._is_input_error_dynamic(chunk)
        fields[self._erroneous_input_field(dynamic=dynamic)] = chunk["input"]
        self._update(chunk["toolCallId"], chunk["toolName"], dynamic, "output-error", fields)

    def _is_input_error_dynamic(self, chunk: ToolChunk) -> bool:
        existing = self._in_step(chunk["toolCallId"])
        return is_dynamic(existing) if existing is not None else bool(chunk.get("dynamic"))

    def _erroneous_input_field(self, *, dynamic: bool) -> str:
        return "input"

    def output(self, chunk: ToolChunk) -> None:
        """Take a call's output or error."""
        part = self._invocation(chunk)
        is_error = chunk["type"] == "tool-output-error"
        fields = self._kept_of_invocation(part) | pick(part, "input") | self._result_fields(part, chunk)
        if is_error and is_static(part):
            fields |= pick(part, "rawInput")
        state = "output-error" if is_error else "output-available"
        self._update(chunk["toolCallId"], tool_name(part), is_dynamic(part), state, fields, part)

    def _kept_of_invocation(self, part: UIPart) -> dict[str, Any]:
        return pick(part, "title", "toolMetadata")

    def _result_fields(self, part: UIPart, chunk: ToolChunk) -> dict[str, Any]:
        shared = pick(chunk, "providerExecuted", "providerMetadata", "toolMetadata")
        names = ("errorText",) if chunk["type"] == "tool-output-error" else ("output", "preliminary")
        return shared | pick(chunk, *names)

    def approval_request(self, chunk: ToolChunk) -> None:
        """Take the question whether a call may go on."""
        part = self._invocation(chunk)
        part["state"] = "approval-requested"
        part["approval"] = {"id": chunk["approvalId"]} | self._approval_details(chunk)
        self._tools.note_approval(part)

    def _approval_details(self, chunk: ToolChunk) -> dict[str, Any]:
        details = pick(chunk, "inputSchemaInput", "signature")
        if chunk.get("approvalDescriptor") is not None:
            details["descriptor"] = chunk["approvalDescriptor"]
        if "reason" in chunk:
            details["requestReason"] = chunk["reason"]
        if chunk.get("isAutomatic"):
            details["isAutomatic"] = True
        return details

    def approval_response(self, chunk: ToolChunk) -> None:
        """Take the answer to such a question."""
        part = self._tools.with_approval(chunk["approvalId"])
        if part is None:
            raise BrokenStreamError(chunk["approvalId"])
        part["state"] = "approval-responded"
        part["approval"] = part["approval"] | pick(chunk, "approved", "reason")
        part |= pick(chunk, "providerExecuted")
        if "providerMetadata" in chunk:
            part["callProviderMetadata"] = chunk["providerMetadata"]

    def output_denied(self, chunk: ToolChunk) -> None:
        """Take the refusal of a call."""
        self._invocation(chunk)["state"] = "output-denied"

    def _invocation(self, chunk: ToolChunk) -> UIPart:
        """Find the call that a result belongs to: in the current step, or else the newest one."""
        call_id = chunk["toolCallId"]
        part = self._in_step(call_id) or self._newest(call_id)
        return self._found(part, call_id)

    def _found(self, part: UIPart | None, call_id: str) -> UIPart:
        if part is None:
            raise BrokenStreamError(call_id)
        if id(part) in self._streamed:
            self._settle(self._streamed.pop(id(part)))
        return part

    def _in_step(self, call_id: str, *, dynamic: bool | None = None) -> UIPart | None:
        return self._tools.in_step(call_id, dynamic)

    def _newest(self, call_id: str, *, dynamic: bool | None = None) -> UIPart | None:
        return self._tools.newest(call_id, dynamic)

    def _update(
        self, call_id: str, name: str, dynamic: bool, state: str, fields: dict[str, Any], part: UIPart | None = None
    ) -> UIPart:
        """Bring a part to ``state``, or make it; what ``fields`` do not name is undefined afterwards."""
        if part is None:
            part = self._in_step(call_id, dynamic=dynamic)
        if part is None:
            part = {"type": DYNAMIC if dynamic else f"{STATIC_PREFIX}{name}", "toolCallId": call_id}
            self._parts.append(part)
            self._tools.add(part)
            self._set_new_metadata(part, state, fields)
        else:
            self._set_metadata(part, state, fields)
        self._set_name(part, name)
        self._streamed.pop(id(part), None)
        for key in _OVERWRITTEN:
            part.pop(key, None)
        part |= {"state": state} | pick(fields, *_OVERWRITTEN, *_KEPT)
        return part

    def _set_name(self, part: UIPart, name: str) -> None:
        if is_dynamic(part):
            part["toolName"] = name
        else:
            part["type"] = f"{STATIC_PREFIX}{name}"

    def _set_new_metadata(self, part: UIPart, state: str, fields: dict[str, Any]) -> None:
        self._set_metadata(part, state, fields)

    def _set_metadata(self, part: UIPart, state: str, fields: dict[str, Any]) -> None:
        if "providerMetadata" in fields:
            key = "resultProviderMetadata" if state in RESULT_STATES else "callProviderMetadata"
            part[key] = fields["providerMetadata"]

    def _settle(self, streamed: _StreamedInput) -> None:
        text = mend_surrogates("".join(streamed.call.pieces[: streamed.length]))
        if streamed.keeps_raw:
            streamed.part["rawInput"] = text
        if streamed.call.shared.get("inputEncoding") == "text":
            streamed.part["input"] = text
            return
        try:
            streamed.part["input"] = parse_partial(text, self.version)
        except UnparsableError:
            streamed.part.pop("input", None)


class ToolParts6(ToolParts):
    """As version 6 keeps them: erroneous input is raw, and approvals say less."""

    version: ClassVar[int] = 6

    def _erroneous_input_field(self, *, dynamic: bool) -> str:
        return "input" if dynamic else "rawInput"

    def _approval_details(self, chunk: ToolChunk) -> dict[str, Any]:
        details = super()._approval_details(chunk)
        details.pop("requestReason", None)
        details.pop("isAutomatic", None)
        return details


class ToolParts5(ToolParts6):
    """As version 5 keeps them: no titles, no metadata of results, and chunks must say that a call is dynamic."""

    version: ClassVar[int] = 5
    kept_of_start: ClassVar[tuple[str, ...]] = ("providerExecuted",)
    kept_of_call: ClassVar[tuple[str, ...]] = ()

    def input_available(self, chunk: ToolChunk) -> None:
        """Take a call's whole input."""
        super().input_available({key: chunk[key] for key in chunk if key not in ("title", "toolMetadata")})

    def input_error(self, chunk: ToolChunk) -> None:
        """Take an input that the tool cannot be called with."""
        super().input_error({key: chunk[key] for key in chunk if key != "toolMetadata"})

    def _is_input_error_dynamic(self, chunk: ToolChunk) -> bool:
        return bool(chunk.get("dynamic"))

    def _kept_of_invocation(self, part: UIPart) -> dict[str, Any]:
        return {}

    def _result_fields(self, part: UIPart, chunk: ToolChunk) -> dict[str, Any]:
        if chunk["type"] == "tool-output-error":
            return pick(chunk, "errorText", "providerExecuted")
        names = ("output", "preliminary") if is_dynamic(part) else ("output", "preliminary", "providerExecuted")
        return pick(chunk, *names)

    def _invocation(self, chunk: ToolChunk) -> UIPart:
        call_id, dynamic = chunk["toolCallId"], bool(chunk.get("dynamic"))
        part = self._in_step(call_id, dynamic=dynamic) or self._newest(call_id, dynamic=dynamic)
        return self._found(part, call_id)

    def _set_name(self, part: UIPart, name: str) -> None:
        if is_dynamic(part):
            part["toolName"] = name

    def _set_new_metadata(self, part: UIPart, state: str, fields: dict[str, Any]) -> None:
        if "providerMetadata" in fields:
            part["callProviderMetadata"] = fields["providerMetadata"]

    def _set_metadata(self, part: UIPart, state: str, fields: dict[str, Any]) -> None:
        if "providerMetadata" in fields and state == "input-available":
            part["callProviderMetadata"] = fields["providerMetadata"]


TOOL_PARTS: dict[int, type[ToolParts]] = {kind.version: kind for kind in (ToolParts, ToolParts6, ToolParts5)}
