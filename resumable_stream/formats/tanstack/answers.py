"""What TanStack AI's clients add to calls that wait for them: outputs of the page's own tools, and approvals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import Message
from .messages import TanStackPart, text

_ANSWERED = ("complete", "error")


def merge_answers(known: Message, told: Message) -> Message:
    """Return ``known`` with what the client says of its waiting calls; ``known`` itself if that is nothing new."""
    calls = {text(part, "id"): part for part in told["parts"] if part.get("type") == "tool-call"}
    results: dict[str, list[TanStackPart]] = {}
    for part in told["parts"]:
        if part.get("type") == "tool-result":
            results.setdefault(text(part, "toolCallId"), []).append(part)
    answered = {text(part, "toolCallId") for part in known["parts"] if part.get("type") == "tool-result"}
    parts: list[TanStackPart] = []
    for part in known["parts"]:
        call_id = text(part, "id")
        if part.get("type") != "tool-call" or _has_result(part) or call_id in answered:
            parts.append(part)
            continue
        parts += _answered(part, calls.get(call_id, {}), results.get(call_id, ()))
    is_same = len(parts) == len(known["parts"]) and all(
        ours is theirs for ours, theirs in zip(parts, known["parts"], strict=True)
    )
    return known if is_same else {**known, "parts": parts}


def _has_result(call: TanStackPart) -> bool:
    return "output" in call or call.get("state") in _ANSWERED


def _answered(call: TanStackPart, told: TanStackPart, results: Sequence[TanStackPart]) -> list[TanStackPart]:
    approval, answer = call.get("approval"), told.get("approval")
    changed: dict[str, Any] = {}
    if isinstance(approval, dict) and not isinstance(approval.get("approved"), bool):
        is_answer = isinstance(answer, dict) and answer.get("id") == approval.get("id")
        if not (is_answer and isinstance(answer, dict) and isinstance(answer.get("approved"), bool)):
            return [call]
        changed = {"state": "approval-responded", "approval": {**approval, "approved": answer["approved"]}}
        if not answer["approved"]:
            return [{**call, **changed}]
    if "output" in told:
        changed |= {"output": told["output"]}
        changed |= {"state": told["state"]} if told.get("state") in _ANSWERED else {}
    return [{**call, **changed} if changed else call, *results]
