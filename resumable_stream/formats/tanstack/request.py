"""Read what TanStack AI's clients POST, in live mode and with the library's own resuming alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ..agui.request import run_id, thread_id
from ..base import ChatRequest
from ..requests import listed_messages, message_id
from .messages import text, to_ui_messages

_ROLES = ("system", "user", "assistant", "developer", "tool", "reasoning")


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Read ``{messages, data, …}`` with ``UIMessage``s, or ``RunAgentInput``, whose messages become such.

    As the npm package does, parts without a type are dropped, as is what is no message of the chat.

    Raises:
        InvalidRequestError: Something is missing or has the wrong type.
    """
    found = [_normalise(value, where) for where, value in listed_messages(body) if _is_message(value)]
    messages = to_ui_messages(_without_repetitions(found))
    if not messages:
        raise InvalidRequestError("'messages' must hold a message with the role 'user', 'assistant' or 'system'.")
    return ChatRequest(chat_id=thread_id(body), run_id=run_id(body), messages=messages)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and value.get("role") in _ROLES


def _normalise(value: dict[str, Any], where: str) -> dict[str, Any]:
    message = {**value, "id": message_id(value, where)}
    if "parts" in message:
        parts = message["parts"]
        if not isinstance(parts, list):
            raise InvalidRequestError(f"{where}.parts must be a list, for text: [{{'type': 'text', 'content': '…'}}].")
        message["parts"] = [part for part in parts if isinstance(part, dict) and isinstance(part.get("type"), str)]
    elif not isinstance(message.get("content"), (str, list, type(None))):
        raise InvalidRequestError(f"{where}.content must be a text, or a list of parts.")
    return message


def _without_repetitions(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop messages that say once more, for other servers, what the parts of an answer say."""
    if not any("parts" in message for message in messages):
        return messages
    parts = [part for message in messages for part in message.get("parts", ())]
    answered = {text(part, "toolCallId") for part in parts if part["type"] == "tool-result"}
    return [message for message in messages if not _is_repetition(message, answered)]


def _is_repetition(message: dict[str, Any], answered: set[str]) -> bool:
    return message["role"] == "reasoning" or (message["role"] == "tool" and text(message, "toolCallId") in answered)
