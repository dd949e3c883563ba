"""Ollama: the responses of ``chat(stream=True)`` and of ``generate(stream=True)``, of ``ollama`` or as JSON."""

from __future__ import annotations

from typing import Any

from ...types import FinishReason
from ..item_types import Finish, Item, ToolInput
from .base import look, new_call_id, reasoning, text

_FINISH_REASONS: dict[str, FinishReason] = {"length": "length"}
"""The others (``stop``, ``load``, ``unload``) are usual."""


def is_response(item: Any) -> bool:
    """Return whether an item without a type is a response, by its shape."""
    if not isinstance(look(item, "done"), bool) or not isinstance(look(item, "model"), str):
        return False
    return isinstance(look(look(item, "message"), "role"), str) or isinstance(look(item, "response"), str)


class Ollama:
    """Reads the responses of one stream."""

    def __init__(self) -> None:
        self._has_called = False

    def read(self, response: Any) -> list[Item]:
        """Read one response; calls come whole in it, and without an id."""
        message = look(response, "message")
        items = reasoning(look(message, "thinking") or look(response, "thinking"))
        items += text(look(message, "content") or look(response, "response"))
        for call in look(message, "tool_calls") or ():
            self._has_called = True
            function = look(call, "function")
            name, arguments = str(look(function, "name") or ""), look(function, "arguments")
            items.append(ToolInput(str(look(call, "id") or new_call_id()), name, arguments or {}))
        return items + self._finish(response) if look(response, "done") else items

    def _finish(self, response: Any) -> list[Item]:
        has_called, self._has_called = self._has_called, False
        usual: FinishReason = "tool-calls" if has_called else "stop"
        return [Finish(_FINISH_REASONS.get(look(response, "done_reason") or "", usual))]
