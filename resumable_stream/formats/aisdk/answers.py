"""What AI SDK clients add to calls that wait for them: outputs of the page's own tools, and approvals."""

from __future__ import annotations

from typing import Any

from ...types import Message
from .parts import UIPart, parts_of, pick
from .tools import RESULT_STATES

_RESULT_FIELDS = ("state", "output", "errorText")


def merge_answers(known: Message, told: Message) -> Message:
    """Return ``known`` with what the client says of its waiting calls; ``known`` itself if that is nothing new."""
    said = {part["toolCallId"]: part for part in parts_of(told) if isinstance(part.get("toolCallId"), str)}
    before = parts_of(known)
    parts = [_merged(part, said.get(str(part.get("toolCallId")))) for part in before]
    if all(merged is part for merged, part in zip(parts, before, strict=True)):
        return known
    return {**known, "parts": parts}


def _merged(part: UIPart, told: UIPart | None) -> UIPart:
    if told is None or told.get("type") != part.get("type"):
        return part
    state = part.get("state")
    if state == "approval-requested":
        return _with_approval(part, told)
    if state == "input-available" and not part.get("providerExecuted"):
        return _with_result(part, told)
    if state == "approval-responded" and _is_granted(part.get("approval")):
        return _with_result(part, told)
    return part


def _with_approval(part: UIPart, told: UIPart) -> UIPart:
    asked, answer = part.get("approval"), told.get("approval")
    if not (isinstance(asked, dict) and isinstance(answer, dict) and isinstance(answer.get("approved"), bool)):
        return part
    if asked.get("id") != answer.get("id"):
        return part
    approval = {**asked, **pick(answer, "approved", "reason")}
    responded = {**part, "state": "approval-responded", "approval": approval}
    return _with_result(responded, told) if answer["approved"] else responded


def _with_result(part: UIPart, told: UIPart) -> UIPart:
    if told.get("state") not in RESULT_STATES:
        return part
    return {**part, **pick(told, *_RESULT_FIELDS)}


def _is_granted(approval: Any) -> bool:
    return isinstance(approval, dict) and approval.get("approved") is True
