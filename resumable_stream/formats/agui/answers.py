"""What AG-UI clients add for calls that wait for them: messages with the results of the page's own tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...types import Message


def admitted(told: Sequence[Message], chat: Sequence[Message]) -> list[Message]:
    """Leave out results of calls that the log knows nothing of, or has a result of already."""
    waiting = {call.get("id") for message in chat for call in _calls(message)}
    waiting -= {message.get("toolCallId") for message in chat if message.get("role") == "tool"}
    return [message for message in told if message.get("role") != "tool" or message.get("toolCallId") in waiting]


def _calls(message: Message) -> Iterator[Mapping[str, Any]]:
    calls = message.get("toolCalls")
    return (call for call in (calls if isinstance(calls, list) else ()) if isinstance(call, dict))
