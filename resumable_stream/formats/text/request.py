"""Read messages that are plain texts, and say what to send where they cannot be read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest

_ROLES = ("system", "user", "assistant")


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Read ``{id, message}`` or ``{id, messages}``; a message is a text, or has ``content`` or ``parts``.

    Raises:
        InvalidRequestError: Something is missing or has the wrong type.
    """
    if "messages" in body:
        messages = body["messages"]
        if not isinstance(messages, list) or not messages:
            raise InvalidRequestError("'messages' must be a list of at least one message.")
        parsed = [_parse_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    elif "message" in body:
        parsed = [_parse_message(body["message"], "message")]
    else:
        raise InvalidRequestError("The body must have 'message', the user's text, or 'messages', a list.")
    return ChatRequest(chat_id=body.get("id"), messages=parsed)


def _parse_message(value: Any, where: str) -> Message:
    if isinstance(value, str):
        value = {"content": value}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{where} must be a text, or an object with 'content'.")
    role, message_id = value.get("role", "user"), value.get("id")
    if role not in _ROLES:
        raise InvalidRequestError(f"{where}.role must be 'user', 'assistant' or 'system'.")
    if message_id is not None and not isinstance(message_id, str):
        raise InvalidRequestError(f"{where}.id must be a string.")
    content = _parse_content(value, where)
    return {"id": message_id or f"msg-{secrets.token_hex(8)}", "role": role, "content": content}


def _parse_content(value: Mapping[str, Any], where: str) -> str:
    if isinstance(value.get("content"), str):
        return str(value["content"])
    parts = value.get("parts")
    if not isinstance(parts, list):
        raise InvalidRequestError(f"{where} must have 'content', a text, or 'parts', a list.")
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts)
