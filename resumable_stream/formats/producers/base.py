"""What the readers of producers' streams share."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ...exceptions import ResumableStreamError
from ..item_types import InvalidToolInput, Item, Reasoning, Source, ToolInput, ToolInputDelta, ToolInputStart
from ..jsontext import decode

_UNDERSCORE = re.compile("_([a-z])")

EventReader = Callable[[Any], list[Item] | None]
"""Reads one item of a producer; ``None`` if it only looks like one."""


class ProducerError(ResumableStreamError):
    """The producer's own stream says that it failed; the message is the producer's and not for people."""


def look(source: Any, name: str) -> Any:
    """Return a field of a library's object or of its JSON; ``None`` if it is not there."""
    if type(source) is dict or isinstance(source, Mapping):
        return source.get(name)
    return getattr(source, name, None)


def look_either(source: Any, name: str) -> Any:
    """Return a field by its name in Python, or else by the camelCase one of the library's JSON."""
    value = look(source, name)
    return value if value is not None else look(source, _UNDERSCORE.sub(lambda match: match[1].upper(), name))


def new_call_id() -> str:
    """Make an id for a call of a provider that gives none: clients need one."""
    return f"call-{secrets.token_hex(8)}"


def source(url: Any, title: Any = None) -> list[Source]:
    """Make a source, unless it is no page of the web: clients make links of them."""
    is_web = isinstance(url, str) and url.lower().startswith(("https://", "http://"))
    return [Source(url, title if isinstance(title, str) and title else url)] if is_web else []


class Sources:
    """The pages that one answer names, each once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def take(self, url: Any, title: Any = None) -> list[Item]:
        """Make a source, unless it is there already or no page of the web."""
        items: list[Item] = []
        for found in source(url, title):
            if found.url not in self._seen:
                self._seen.add(found.url)
                items.append(found)
        return items


def text(value: Any) -> list[Item]:
    """Make a piece of text, unless it is empty or none."""
    return [value] if isinstance(value, str) and value else []


def reasoning(value: Any) -> list[Item]:
    """Make a piece of reasoning, unless it is empty or none."""
    return [Reasoning(value)] if isinstance(value, str) and value else []


def skip(_event: Any) -> list[Item]:
    """Read an event that adds nothing to the answer."""
    return []


class ToolCalls:
    """The calls whose input is being streamed, by whatever the producer numbers them with."""

    def __init__(self) -> None:
        self._open: dict[Any, tuple[str, str, list[str]]] = {}

    def begin(self, key: Any, call_id: Any, name: Any) -> list[Item]:
        """Open a call; one that is still open under the same key is complete."""
        items = self.end(key)
        self._open[key] = (str(call_id), str(name or ""), [])
        return [*items, ToolInputStart(str(call_id), str(name or ""))]

    def is_open(self, key: Any, call_id: Any) -> bool:
        """Tell whether this very call is open."""
        return key in self._open and self._open[key][0] == call_id

    def has(self, key: Any) -> bool:
        """Return whether some call is open under ``key``."""
        return key in self._open

    def add(self, key: Any, delta: Any) -> list[Item]:
        """Take a piece of a call's input."""
        if key not in self._open or not isinstance(delta, str) or not delta:
            return []
        call_id, _, pieces = self._open[key]
        pieces.append(delta)
        return [ToolInputDelta(call_id, delta)]

    def end(self, key: Any) -> list[Item]:
        """Complete a call."""
        if key not in self._open:
            return []
        call_id, name, pieces = self._open.pop(key)
        raw_input = "".join(pieces)
        try:
            return [ToolInput(call_id, name, decode(raw_input) if raw_input else {})]
        except (ValueError, TypeError):
            return [InvalidToolInput(call_id, name, raw_input)]

    def end_all(self) -> list[Item]:
        """Complete every open call."""
        return [item for key in list(self._open) for item in self.end(key)]
