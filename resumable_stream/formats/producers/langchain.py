"""LangChain messages, whole or in chunks."""

from __future__ import annotations

from typing import Any

from ..item_types import Finish, Item, ToolError, ToolInput, ToolOutput
from .base import EventReader, Sources, ToolCalls, look, skip
from .langchain_content import is_message, read_content, read_finish


class LangChain:
    """Messages and message chunks."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._sources = Sources()
        self._is_refused = False
        """Whether the model has refused to answer, and has not finished since."""

    def read(self, message: Any) -> list[Item]:
        """Read a message or a piece of one; those of users and systems add nothing."""
        reader = self.readers().get(look(message, "type") or "")
        return (reader(message) if reader is not None else None) or []

    def readers(self) -> dict[str, EventReader]:
        """Map the types of messages to what reads them."""
        return {
            "AIMessageChunk": self._read_chunk,
            "ai": self._read_answer,
            "tool": self._read_tool,
            **dict.fromkeys(("human", "HumanMessageChunk", "system", "SystemMessageChunk"), _skip_message),
        }

    def _read_chunk(self, message: Any) -> list[Item] | None:
        if not is_message(message):
            return None
        items = read_content(message, self._sources)
        for call in look(message, "tool_call_chunks") or ():
            key = look(call, "index")
            # Some servers repeat the id in every piece.
            if look(call, "id") and not self._calls.is_open(key, str(look(call, "id"))):
                items += self._calls.begin(key, look(call, "id"), look(call, "name"))
            items += self._calls.add(key, look(call, "args"))
        if look(message, "chunk_position") == "last":
            items += self._calls.end_all()
        return self._with_finish(items, message)

    def _read_answer(self, message: Any) -> list[Item] | None:
        if not is_message(message):
            return None
        calls = look(message, "tool_calls") or ()
        inputs = [ToolInput(str(look(call, "id")), look(call, "name"), look(call, "args")) for call in calls]
        return self._with_finish([*read_content(message, self._sources), *inputs], message)

    def _with_finish(self, items: list[Item], message: Any) -> list[Item]:
        said = read_finish(message)
        is_refused = self._is_refused or any(isinstance(item, Finish) for item in items)
        self._is_refused = is_refused and not said
        # The API calls a refusal a usual end.
        return items if is_refused and said == [Finish("stop")] else items + said

    def _read_tool(self, message: Any) -> list[Item] | None:
        if not is_message(message):
            return None
        call_id, content = str(look(message, "tool_call_id")), look(message, "content")
        failed = look(message, "status") == "error"
        result = ToolError(call_id, str(content)) if failed else ToolOutput(call_id, content)
        return [*self._calls.end_all(), result]


def _skip_message(item: Any) -> list[Item] | None:
    return skip(item) if is_message(item) else None
