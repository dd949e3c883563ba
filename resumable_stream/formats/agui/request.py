"""Read what AG-UI clients POST (``RunAgentInput``), and say what to send where it cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest
from ..requests import check_message, listed_messages
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
    parsed = [_parse_message(message, where) for where, message in listed_messages(body)]
    return ChatRequest(
        chat_id=thread_id(body), run_id=run_id(body), messages=parsed, protocol_version=protocol_version(body)
    )


def thread_id(body: Mapping[str, Any]) -> Any:
    """Return the chat's id, as it was sent: apps may name it themselves, and clients know it as the thread's."""
    return body.get("id") or body.get("threadId")


def run_id(body: Mapping[str, Any]) -> str | None:
    """Return the client's own name for the run it asks for."""
    value = body.get("runId")
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError("'runId' must be a string.")
    return value or None


def _parse_message(value: Any, where: str) -> Message:
    message = check_message(value, where, fields="'id', 'role' and 'content'", roles=_CONTENTS)
    wording, is_right = _CONTENTS[message["role"]]
    if not is_right(message.get("content")):
        raise InvalidRequestError(f"{where}.content must be {wording}.")
    if message["role"] == "tool" and not isinstance(message.get("toolCallId"), str):
        raise InvalidRequestError(f"{where}.toolCallId must be a string.")
    return message
