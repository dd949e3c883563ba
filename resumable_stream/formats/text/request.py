"""Read messages that are plain texts, and say what to send where they cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest
from ..requests import check_message, listed_or_newest


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Read ``{id, message}`` or ``{id, messages}``; a message is a text, or has ``content`` or ``parts``.

    Raises:
        InvalidRequestError: Something is missing or has the wrong type.
    """
    parsed = [_parse_message(message, where) for where, message in listed_or_newest(body)]
    return ChatRequest(chat_id=body.get("id"), messages=parsed)


def _parse_message(value: Any, where: str) -> Message:
    if isinstance(value, str):
        value = {"content": value}
    given = {"role": "user", **value} if isinstance(value, dict) else value
    message = check_message(given, where, fields="'content', or a text")
    return {"id": message["id"], "role": message["role"], "content": _parse_content(message, where)}


def _parse_content(value: Mapping[str, Any], where: str) -> str:
    if isinstance(value.get("content"), str):
        return str(value["content"])
    parts = value.get("parts")
    if not isinstance(parts, list):
        raise InvalidRequestError(f"{where} must have 'content', a text, or 'parts', a list.")
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts)
