"""Arguments of Gemini's calls that come in pieces, each with the place in the arguments that it belongs to."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from .base import look_either

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_MAX_INDEX = 10_000
"""Of a list that a piece may make longer: a model's word must not take all of the memory."""


class PartialArguments:
    """One call's arguments as far as they have come."""

    def __init__(self, call_id: str, name: str, value: dict[str, Any]) -> None:
        self.call_id = call_id
        self.name = name
        self.value: dict[str, Any] = dict(value)

    def add(self, piece: Any) -> None:
        """Take one piece: a string goes on where an earlier one has stopped, and other values stand for themselves."""
        steps = _steps(look_either(piece, "json_path"))
        if not steps:
            return
        place: Any = self.value
        for step, following in pairwise(steps):
            place = _enter(place, step, [] if isinstance(following, int) else {})
        _set(place, steps[-1], _value_of(piece))


def _steps(path: Any) -> list[str | int]:
    if not isinstance(path, str):
        return []
    found = _STEP.finditer(path.removeprefix("$"))
    return [int(match[2]) if match[2] is not None else match[1] or match[3] or match[4] or "" for match in found]


def _value_of(piece: Any) -> Any:
    for name in ("string_value", "number_value", "bool_value"):
        value = look_either(piece, name)
        if value is not None:
            return value
    return None


def _slot(place: Any, step: str | int) -> Any:
    """Return what stands at a step; ``None`` if nothing does."""
    if isinstance(place, dict):
        return place.get(step)
    return place[step] if isinstance(place, list) and isinstance(step, int) and step < len(place) else None


def _enter(place: Any, step: str | int, fresh: Any) -> Any:
    inner = _slot(place, step)
    if not isinstance(inner, (dict, list)):
        _put(place, step, fresh)
        return fresh
    return inner


def _set(place: Any, step: str | int, value: Any) -> None:
    before = _slot(place, step)
    _put(place, step, before + value if isinstance(before, str) and isinstance(value, str) else value)


def _put(place: Any, step: str | int, value: Any) -> None:
    if isinstance(place, dict):
        place[step] = value
    elif isinstance(place, list) and isinstance(step, int) and step <= _MAX_INDEX:
        place.extend([None] * (step + 1 - len(place)))
        place[step] = value
