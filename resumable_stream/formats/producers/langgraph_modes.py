"""What LangGraph's ``astream`` yields in each of its modes, and LangChain's ``astream_events`` (versions 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..item_types import Item
from .base import EventReader, look, text
from .langchain import LangChain
from .langchain_content import is_message

NOTHING = object()
"""Stands for a part of a LangGraph stream that is not part of the answer."""

_MODES = frozenset(("values", "updates", "messages", "custom", "tasks", "checkpoints", "debug"))
_OF_DEBUG = ("step", "timestamp", "payload")
_FIX = "Ask for stream_mode='messages', or for ['messages', 'custom'] and more: of those, messages and custom are read."


def unwrap(item: tuple[Any, ...]) -> Any:
    """Take out of a LangGraph tuple what the answer is made of.

    ``(message, metadata)``, or with several modes ``(mode, payload)``, and with subgraphs a namespace before it.
    ``None`` if it is no such tuple.
    """
    match item:
        case (tuple() as namespace, str() as mode, payload) if _is_namespace(namespace) and mode in _MODES:
            return unwrap_mode(mode, payload)
        case (str() as mode, payload) if mode in _MODES:
            return unwrap_mode(mode, payload)
        case (tuple() as namespace, payload) if _is_namespace(namespace):
            return payload
        case (message, dict()) if is_message(message):
            return message
    return None


def unwrap_mode(mode: str, payload: Any) -> Any:
    """Take out of one mode's payload what the answer is made of: of several modes, each has a part of its own.

    "messages" carries messages and "custom" whatever the graph's own code writes; :data:`NOTHING` stands for the
    others, which repeat those messages.
    """
    if mode == "messages" and isinstance(payload, (tuple, list)) and payload:
        return payload[0]
    return payload if mode == "custom" else NOTHING


def _is_namespace(value: tuple[Any, ...]) -> bool:
    return all(isinstance(part, str) for part in value)


class LangGraphModes:
    """Reads what comes without a tuple around it: the stream of a single mode, or of ``astream_events``."""

    def __init__(self, messages: LangChain) -> None:
        self._messages = messages
        self._streamed: set[Any] = set()
        """Runs of models whose messages have come in pieces."""
        self._told: set[str] = set()
        """Ids of messages that an update has brought."""

    def readers(self) -> dict[str, EventReader]:
        """Map the types of what ``debug`` yields to what reads it."""
        return dict.fromkeys(("task", "task_result", "checkpoint"), _refuse_debug)

    def read(self, item: Any) -> list[Item] | None:
        """Read an item without a type; ``None`` if it is of no such stream.

        Raises:
            TypeError: It is of a mode that no answer can be made of.
        """
        if not isinstance(item, Mapping):
            return None
        if is_callback_event(item):
            return self._read_callback(item)
        if _has_messages(item):
            raise TypeError(f"LangGraph's stream_mode='values' repeats the whole state with each step. {_FIX}")
        if _is_task(item):
            raise TypeError(f"LangGraph's stream_mode='tasks' is about the graph, and not about the answer. {_FIX}")
        return self._read_updates(item) if _is_update(item) else None

    def _read_updates(self, item: Mapping[str, Any]) -> list[Item]:
        """Read what nodes have given: the messages of a graph come whole, each when its node has ended."""
        items: list[Item] = []
        for message in _messages_of(item.values()):
            message_id = look(message, "id")
            if message_id is None or message_id not in self._told:
                items += self._messages.read(message)
                self._told.add(str(message_id))
        return items

    def _read_callback(self, event: Mapping[str, Any]) -> list[Item]:
        data, run = event["data"], event["run_id"]
        match event["event"]:
            case "on_chat_model_stream":
                self._streamed.add(run)
                return self._messages.read(look(data, "chunk"))
            case "on_chat_model_end" if run not in self._streamed:
                return self._messages.read(look(data, "output"))
            case "on_llm_stream":
                chunk = look(data, "chunk")
                return text(chunk) or text(look(chunk, "text"))
            case "on_tool_end":
                return self._messages.read(look(data, "output"))
        return []


def is_callback_event(item: Mapping[str, Any]) -> bool:
    """Return whether a mapping is an event of ``astream_events``."""
    kind = item.get("event")
    return isinstance(kind, str) and kind.startswith("on_") and "run_id" in item and "data" in item


def _refuse_debug(item: Any) -> None:
    if all(look(item, name) is not None for name in _OF_DEBUG):
        raise TypeError(f"LangGraph's stream_mode='debug' is about the graph, and not about the answer. {_FIX}")


def _is_task(item: Mapping[str, Any]) -> bool:
    return "id" in item and "name" in item and ("triggers" in item or "interrupts" in item)


def _is_update(item: Mapping[str, Any]) -> bool:
    # Nodes that have changed nothing give None; an interrupt stands beside them.
    return "__interrupt__" in item or any(True for _ in _messages_of(item.values()))


def _messages_of(updates: Iterable[Any]) -> Iterator[Any]:
    for update in updates:
        for one in update if isinstance(update, (list, tuple)) else (update,):
            if isinstance(one, Mapping) and _has_messages(one):
                found = one["messages"]
                yield from filter(is_message, found if isinstance(found, (list, tuple)) else (found,))


def _has_messages(state: Mapping[str, Any]) -> bool:
    found = state.get("messages")
    # As JSON, messages are no messages of LangChain's, but those of somebody's request.
    values = found if isinstance(found, (list, tuple)) else (found,)
    return any(is_message(value) and not isinstance(value, Mapping) for value in values)
