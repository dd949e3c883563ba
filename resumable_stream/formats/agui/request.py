"""Read what AG-UI clients POST (``RunAgentInput``), and say what to send where it cannot be read."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest
from .versions import protocol_version

_IS_TEXT = ("a text", lambda value: isinstance(value, str))
_IS_OPTIONAL_TEXT = ("a text", lambda value: value is None or isinstance(value, str))
_IS_CONTENT = ("a text, or a list of parts", lambda value: isinstance(value, (str, list)))
_IS_OBJECT = ("an object", lambda value: isinstance(value, dict))

_CONTENTS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "developer": _IS_TEXT,
    "system": _IS_TEXT,
    "reasoning": _IS_TEXT,
    "user": _IS_CONTENT,
    "assistant": _IS_OPTIONAL_TEXT,
    "tool": _IS_CONTENT,
    "activity": _IS_OBJECT,
}


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Read ``{threadId, runId, messages, …}``; the chat is the thread.

    Raises:
        InvalidRequestError: Something is missing or has the wrong type.
    """
    messages = listed_messages(body)
    parsed = [_parse_message(message, index) for index, message in enumerate(messages)]
    return ChatRequest(
        chat_id=thread_id(body), run_id=run_id(body), messages=parsed, protocol_version=protocol_version(body)
    )


def listed_messages(body: Mapping[str, Any]) -> list[Any]:
    """Return the request's messages, as they are."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' must be a list of at least one message.")
    return messages


def thread_id(body: Mapping[str, Any]) -> Any:
    """Return the chat's id, as it was sent: apps may name it themselves, and clients know it as the thread's."""
    return body.get("id") or body.get("threadId")


def run_id(body: Mapping[str, Any]) -> str | None:
    """Return the client's own name for the run it asks for."""
    value = body.get("runId")
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError("'runId' must be a string.")
    return value or None


def message_id(value: Mapping[str, Any], index: int) -> str:
    """Return a message's id; one without gets a new one: the same place is another message's in another request."""
    found = value.get("id")
    if found is not None and not isinstance(found, str):
        raise InvalidRequestError(f"messages[{index}].id must be a string.")
    return found or f"msg-{secrets.token_hex(8)}"


def _parse_message(value: Any, index: int) -> Message:
    where = f"messages[{index}]"
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{where} must be an object with 'id', 'role' and 'content'.")
    expected = _CONTENTS.get(value["role"]) if isinstance(value.get("role"), str) else None
    if expected is None:
        raise InvalidRequestError(f"{where}.role must be one of {', '.join(map(repr, _CONTENTS))}.")
    wording, is_right = expected
    if not is_right(value.get("content")):
        raise InvalidRequestError(f"{where}.content must be {wording}.")
    if value["role"] == "tool" and not isinstance(value.get("toolCallId"), str):
        raise InvalidRequestError(f"{where}.toolCallId must be a string.")
    return {**value, "id": message_id(value, index)}
