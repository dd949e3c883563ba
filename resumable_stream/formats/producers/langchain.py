"""LangChain messages, and what LangGraph's ``astream`` wraps around them."""

from __future__ import annotations

from typing import Any

from ..item_types import Item, ToolError, ToolInput, ToolOutput
from .base import Reader, ToolCalls, look, reasoning, skip, text

NOTHING = object()
"""Stands for a part of a LangGraph stream that is not part of the answer."""


class LangChain:
    """Messages and message chunks."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls

    def readers(self) -> dict[str, Reader]:
        """Map the types of messages to what reads them."""
        return {
            "AIMessageChunk": self._read_chunk,
            "ai": self._read_answer,
            "tool": self._read_tool,
            **dict.fromkeys(("human", "HumanMessageChunk", "system", "SystemMessageChunk"), _skip_message),
        }

    def _read_chunk(self, message: Any) -> list[Item] | None:
        if not _is_message(message):
            return None
        items = _read_content(message)
        for call in look(message, "tool_call_chunks") or ():
            key = look(call, "index")
            # Some servers repeat the id in every piece.
            if look(call, "id") and not self._calls.is_open(key, str(look(call, "id"))):
                items += self._calls.begin(key, look(call, "id"), look(call, "name"))
            items += self._calls.add(key, look(call, "args"))
        if look(message, "chunk_position") == "last":
            items += self._calls.end_all()
        return items

    def _read_answer(self, message: Any) -> list[Item] | None:
        if not _is_message(message):
            return None
        calls = look(message, "tool_calls") or ()
        inputs = [ToolInput(str(look(call, "id")), look(call, "name"), look(call, "args")) for call in calls]
        return [*_read_content(message), *inputs]

    def _read_tool(self, message: Any) -> list[Item] | None:
        if not _is_message(message):
            return None
        call_id, content = str(look(message, "tool_call_id")), look(message, "content")
        failed = look(message, "status") == "error"
        result = ToolError(call_id, str(content)) if failed else ToolOutput(call_id, content)
        return [*self._calls.end_all(), result]


def _is_message(item: Any) -> bool:
    return look(item, "response_metadata") is not None


def _skip_message(item: Any) -> list[Item] | None:
    return skip(item) if _is_message(item) else None


def _read_content(message: Any) -> list[Item]:
    items = reasoning(look(look(message, "additional_kwargs"), "reasoning_content"))
    content = look(message, "content")
    for block in [content] if isinstance(content, str) else content or ():
        if isinstance(block, str):
            items += text(block)
        elif look(block, "type") == "text":
            items += text(look(block, "text"))
        elif look(block, "type") in ("thinking", "reasoning"):
            items += reasoning(look(block, "thinking") or look(block, "reasoning"))
    return items


def unwrap(item: tuple[Any, ...]) -> Any:
    """Take out of a LangGraph tuple what the answer is made of.

    ``(message, metadata)``, or with several modes ``(mode, payload)``, or with subgraphs ``(namespace, mode,
    payload)``. Of the modes, "messages" carries messages and "custom" whatever the graph's own code writes;
    :data:`NOTHING` stands for the others. ``None`` if it is no such tuple.
    """
    match item:
        case (tuple(), str() as mode, payload):
            return unwrap_mode(mode, payload)
        case (str() as mode, payload):
            return unwrap_mode(mode, payload)
        case (message, dict()) if _is_message(message):
            return message
    return None


def unwrap_mode(mode: str, payload: Any) -> Any:
    """Take out of one mode's payload what the answer is made of."""
    if mode == "messages" and isinstance(payload, (tuple, list)) and payload:
        return payload[0]
    return payload if mode == "custom" else NOTHING
