"""Google's Gemini: the responses of ``generate_content_stream``, of ``google-genai`` or as JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from ...types import FinishReason
from ..item_types import File, Finish, Item, ToolError, ToolInput, ToolInputStart, ToolOutput
from .base import look_either, new_call_id, reasoning, source, text
from .google_arguments import PartialArguments

_OF_RESPONSES = ("usage_metadata", "model_version", "prompt_feedback")
_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content-filter"),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"), "content-filter"),
    **dict.fromkeys(("MODEL_ARMOR", "ESCALATION"), "content-filter"),
}
CODE_TOOL = "code_execution"
"""What the model's own running of code is called as a tool."""


def is_response(item: Any) -> bool:
    """Return whether an item without a type is a response, by its shape."""
    candidates = look_either(item, "candidates")
    if candidates and not isinstance(candidates, (list, tuple)):
        return False
    # Of an object of the package, fields without a value are there too.
    has_fields = not isinstance(item, Mapping) and all(hasattr(item, name) for name in _OF_RESPONSES)
    named = sum(look_either(item, name) is not None for name in _OF_RESPONSES)
    # The last one may have usage figures alone; of a refused prompt, there is but one that says why.
    return has_fields or named > (0 if candidates else 1) or all(map(_is_candidate, candidates or [None]))


def _is_candidate(candidate: Any) -> bool:
    parts = look_either(look_either(candidate, "content"), "parts")
    return isinstance(parts, (list, tuple)) or isinstance(look_either(candidate, "finish_reason"), str)


class Gemini:
    """Reads the responses of one stream."""

    def __init__(self) -> None:
        self._arguments: PartialArguments | None = None
        """Of the call whose arguments come in pieces."""
        self._waiting: list[tuple[str, str]] = []
        """Ids and names of calls whose results this app has not seen."""
        self._code_id = ""
        self._has_called = False
        self._sources: set[str] = set()

    def read(self, response: Any) -> list[Item]:
        """Read one response; of several candidates, the first is the answer."""
        items = self._read_results(look_either(response, "automatic_function_calling_history") or ())
        if look_either(look_either(response, "prompt_feedback"), "block_reason"):
            items.append(Finish("content-filter"))
        for candidate in look_either(response, "candidates") or ():
            if not look_either(candidate, "index"):
                items += self._read_candidate(candidate)
        return items

    def flush(self) -> list[Item]:
        """Complete a call whose arguments have broken off."""
        return self._end_arguments()

    def _read_candidate(self, candidate: Any) -> list[Item]:
        items: list[Item] = []
        for part in look_either(look_either(candidate, "content"), "parts") or ():
            items += self._read_part(part)
        items += self._read_sources(candidate)
        reason = look_either(candidate, "finish_reason")
        if reason and reason != "FINISH_REASON_UNSPECIFIED":
            items += self._end_arguments()
            items.append(Finish(self._finish_reason(reason)))
        return items

    def _finish_reason(self, reason: Any) -> FinishReason:
        has_called, self._has_called = self._has_called, False
        return "tool-calls" if reason == "STOP" and has_called else _FINISH_REASONS.get(reason, "other")

    def _read_part(self, part: Any) -> list[Item]:
        is_thought = look_either(part, "thought")
        if (written := look_either(part, "text")) is not None:
            return reasoning(written) if is_thought else text(written)
        if (call := look_either(part, "function_call")) is not None:
            return self._read_call(call)
        if (code := look_either(part, "executable_code")) is not None:
            return self._read_code(code)
        if (result := look_either(part, "code_execution_result")) is not None:
            return self._read_code_result(result)
        # What is drawn while thinking is no part of the answer.
        return [] if is_thought else _read_file(part)

    # -- calls -----------------------------------------------------------------------------------------------------

    def _read_call(self, call: Any) -> list[Item]:
        name = look_either(call, "name")
        pieces, goes_on = look_either(call, "partial_args"), look_either(call, "will_continue")
        if not name or self._goes_on(call):
            # A piece of the call that was begun before, or its end.
            return self._add_arguments(pieces, goes_on)
        items = self._end_arguments()
        call_id = str(look_either(call, "id") or new_call_id())
        self._has_called = True
        self._waiting.append((call_id, str(name)))
        if not pieces and not goes_on:
            return [*items, ToolInput(call_id, str(name), look_either(call, "args") or {})]
        self._arguments = PartialArguments(call_id, str(name), look_either(call, "args") or {})
        return [*items, ToolInputStart(call_id, str(name)), *self._add_arguments(pieces, goes_on)]

    def _goes_on(self, call: Any) -> bool:
        """Return whether a piece that names its call again belongs to the one that has not ended."""
        if self._arguments is None or look_either(call, "name") != self._arguments.name:
            return False
        return look_either(call, "id") in (None, self._arguments.call_id)

    def _add_arguments(self, pieces: Any, goes_on: Any) -> list[Item]:
        if self._arguments is None:
            return []
        for piece in pieces or ():
            self._arguments.add(piece)
        return [] if goes_on else self._end_arguments()

    def _end_arguments(self) -> list[Item]:
        arguments, self._arguments = self._arguments, None
        return [] if arguments is None else [ToolInput(arguments.call_id, arguments.name, arguments.value)]

    def _read_results(self, history: Iterable[Any]) -> list[Item]:
        """Find what functions have answered that the SDK itself has called: nothing but the history tells of it."""
        if not self._waiting or not history:
            return []
        parts = [part for content in history for part in look_either(content, "parts") or ()]
        answers = [found for part in parts if (found := look_either(part, "function_response")) is not None]
        waiting, self._waiting = self._waiting, []
        # Earlier turns have calls of their own: the newest results are the ones that are waited for, in their order.
        newest = answers[-len(waiting) :]
        pairs = zip(waiting, newest, strict=False)
        return [_result(call_id, answer) for (call_id, name), answer in pairs if look_either(answer, "name") == name]

    def _read_code(self, code: Any) -> list[Item]:
        self._code_id = str(look_either(code, "id") or new_call_id())
        language, source_text = str(look_either(code, "language") or ""), look_either(code, "code")
        return [ToolInput(self._code_id, CODE_TOOL, {"language": language.rpartition(".")[2], "code": source_text})]

    def _read_code_result(self, result: Any) -> list[Item]:
        call_id, self._code_id = self._code_id, ""
        if not call_id:
            return []
        outcome, output = str(look_either(result, "outcome") or ""), look_either(result, "output") or ""
        is_fine = outcome.endswith("OUTCOME_OK")
        return [ToolOutput(call_id, output) if is_fine else ToolError(call_id, output or "The code has failed.")]

    # -- sources ---------------------------------------------------------------------------------------------------

    def _read_sources(self, candidate: Any) -> list[Item]:
        grounding = look_either(candidate, "grounding_metadata")
        pages = [look_either(chunk, "web") for chunk in look_either(grounding, "grounding_chunks") or ()]
        cited = look_either(candidate, "citation_metadata")
        pages += look_either(cited, "citations") or look_either(cited, "citation_sources") or ()
        found = [item for page in pages for item in source(look_either(page, "uri"), look_either(page, "title"))]
        items: list[Item] = []
        for item in found:
            # Each response may name the pages of the ones before it once more.
            if item.url not in self._sources:
                self._sources.add(item.url)
                items.append(item)
        return items


def _result(call_id: str, answer: Any) -> Item:
    response = look_either(answer, "response")
    if isinstance(response, Mapping) and len(response) == 1:
        # As the SDK wraps what a function has returned or raised.
        if "error" in response:
            return ToolError(call_id, str(response["error"]))
        response = response.get("result", response)
    return ToolOutput(call_id, response)


def _read_file(part: Any) -> list[Item]:
    inline, stored = look_either(part, "inline_data"), look_either(part, "file_data")
    media_type = str(look_either(inline or stored, "mime_type") or "application/octet-stream")
    if inline is not None:
        data = look_either(inline, "data") or b""
        # The SDK decodes it; JSON has it as base64.
        encoded = data if isinstance(data, str) else base64.b64encode(data).decode()
        return [File(media_type, f"data:{media_type};base64,{encoded}")] if encoded else []
    address = look_either(stored, "file_uri")
    is_web = isinstance(address, str) and address.startswith(("https://", "http://"))
    return [File(media_type, address)] if is_web else []
