"""The parts of an AI SDK message, and how its calls are found among them."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

UIPart = dict[str, Any]

STATIC_PREFIX = "tool-"
DYNAMIC = "dynamic-tool"


def is_static(part: UIPart) -> bool:
    """Tell whether the part is a call of a tool that the client has a type for."""
    return str(part.get("type")).startswith(STATIC_PREFIX)


def is_dynamic(part: UIPart) -> bool:
    """Tell whether the part is a call of a tool that the client has no type for."""
    return bool(part.get("type") == DYNAMIC)


def parts_of(message: Mapping[str, Any]) -> list[UIPart]:
    """Return a message's parts, of which other programs may have made anything."""
    parts = message.get("parts")
    if not isinstance(parts, list):
        return []
    return [part for part in parts if isinstance(part, dict) and isinstance(part.get("type"), str)]


def tool_name(part: UIPart) -> str:
    """Name the tool of a tool part."""
    return str(part.get("toolName", "")) if is_dynamic(part) else str(part["type"]).removeprefix(STATIC_PREFIX)


def pick(source: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Take the fields that are there."""
    return {name: source[name] for name in names if name in source}


class ToolIndex:
    """The calls of a message, found by their ids and approvals: what a chunk costs does not grow with the calls."""

    def __init__(self) -> None:
        self._tools: list[UIPart] = []
        self._step_begin = 0
        # By call, and by call and kind (None is either): in the current step the first one, in the message all.
        self._in_step: dict[tuple[str, bool | None], UIPart] = {}
        self._all: dict[tuple[str, bool | None], list[UIPart]] = {}
        self._numbers: dict[int, int] = {}
        self._approvals: dict[Any, list[int]] = {}
        """Heaps of the numbers of calls that had an approval; some may have another one by now, or be gone."""

    def __len__(self) -> int:
        return len(self._tools)

    def add(self, part: UIPart) -> None:
        """Add a call, whose id and kind stay as they are."""
        self._numbers[id(part)] = len(self._tools)
        self._tools.append(part)
        for key in _keys(part):
            self._in_step.setdefault(key, part)
            self._all.setdefault(key, []).append(part)
        self.note_approval(part)

    def note_approval(self, part: UIPart) -> None:
        """Take note of the approval that a call waits for."""
        approval_id = _approval_id(part)
        if isinstance(approval_id, str):
            heapq.heappush(self._approvals.setdefault(approval_id, []), self._numbers[id(part)])

    def start_step(self) -> None:
        """Begin a step."""
        self._step_begin = len(self._tools)
        self._in_step.clear()

    def reset_step(self) -> None:
        """Forget the calls of the current step."""
        while len(self._tools) > self._step_begin:
            part = self._tools.pop()
            del self._numbers[id(part)]
            for key in _keys(part):
                self._all[key].pop()
        self._in_step.clear()

    def in_step(self, call_id: str, dynamic: bool | None = None) -> UIPart | None:
        """Return the first call of the current step with an id, of one kind or of either."""
        return self._in_step.get((call_id, dynamic))

    def newest(self, call_id: str, dynamic: bool | None = None) -> UIPart | None:
        """Return the last call with an id, of one kind or of either."""
        found = self._all.get((call_id, dynamic))
        return found[-1] if found else None

    def with_approval(self, approval_id: str) -> UIPart | None:
        """Return the first call that waits, or waited, for an approval."""
        numbers = self._approvals.get(approval_id, [])
        while numbers:
            if numbers[0] < len(self._tools) and _approval_id(self._tools[numbers[0]]) == approval_id:
                return self._tools[numbers[0]]
            heapq.heappop(numbers)
        return None


def _keys(part: UIPart) -> tuple[tuple[str, bool | None], tuple[str, bool | None]]:
    return (part["toolCallId"], None), (part["toolCallId"], is_dynamic(part))


def _approval_id(part: UIPart) -> Any:
    approval = part.get("approval")
    return approval.get("id") if isinstance(approval, dict) else None
