"""What the requests of all clients have in common: messages that have a role, and an id or get one."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from ..exceptions import InvalidRequestError

CHAT_ROLES = ("user", "assistant", "system")


def listed_messages(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the messages of a request as they are, each with its place in the body.

    Raises:
        InvalidRequestError: ``messages`` is missing, empty or no list.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' must be a list of at least one message.")
    return [(f"messages[{index}]", message) for index, message in enumerate(messages)]


def listed_or_newest(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the same for clients that may also send ``message``, the newest one alone.

    Raises:
        InvalidRequestError: Neither is there, or ``messages`` is empty or no list.
    """
    if "messages" in body:
        return listed_messages(body)
    if "message" in body:
        return [("message", body["message"])]
    raise InvalidRequestError("The body must have 'messages', a list, or 'message', the newest one alone.")


def check_message(value: Any, where: str, *, fields: str, roles: Collection[str] = CHAT_ROLES) -> dict[str, Any]:
    """Return a copy of a message that has a role of ``roles``, and its id.

    Raises:
        InvalidRequestError: It is no such message; the text names its place by ``where``, and ``fields`` as what a
            message has beside its role.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{where} must be an object with {fields}.")
    role = value.get("role")
    if not isinstance(role, str) or role not in roles:
        *first, last = map(repr, roles)
        raise InvalidRequestError(f"{where}.role must be {', '.join(first)} or {last}.")
    return {**value, "id": message_id(value, where)}


def message_id(value: Mapping[str, Any], where: str) -> str:
    """Return a message's id; one without gets a new one: the same place is another message's in another request.

    Raises:
        InvalidRequestError: It is no string.
    """
    found = value.get("id")
    if found is not None and not isinstance(found, str):
        raise InvalidRequestError(f"{where}.id must be a string.")
    return found or f"msg-{secrets.token_hex(8)}"
