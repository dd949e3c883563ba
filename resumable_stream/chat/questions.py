"""What a request for an answer says, read the same way for every door: who speaks, and what it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..conf import settings
from ..exceptions import InvalidRequestError, RequestTooLargeError
from ..formats.base import ChatRequest, ChunkFormat
from ..protocol.layout import Begin
from ..utils.off_loop import off_loop, size_of
from ..validation import check_stored_id, parse_message_id
from .start_request import Replaces

SERVER_ROLES = ("system", "developer")
"""Roles in which the server speaks to its model."""


async def read_request(format_: ChunkFormat, body: Mapping[str, Any], *, allows_system_messages: bool) -> ChatRequest:
    """Read the body of a request for an answer, as the format's clients send it; a large one in a thread.

    Raises:
        RequestTooLargeError: It has more than ``MAX_MESSAGES`` messages.
        InvalidRequestError: Something is missing or has the wrong type, or the client speaks as the server.
    """
    messages = body.get("messages")
    if isinstance(messages, list) and len(messages) > settings.max_messages:
        raise RequestTooLargeError(
            f"The request has {len(messages)} messages, and the server takes at most {settings.max_messages}. "
            "Send the newest ones only, or begin a new chat."
        )
    return await off_loop(size_of(body), _read, format_, body, allows_system_messages=allows_system_messages)


def _read(format_: ChunkFormat, body: Mapping[str, Any], *, allows_system_messages: bool) -> ChatRequest:
    asked = format_.parse_request(body)
    parse_message_id(asked.message_id)
    for message in asked.messages:
        # The newest one stands in a header of the log.
        check_stored_id(message["id"])
    if not allows_system_messages:
        _refuse_server_roles(body)
        _refuse_server_roles({"messages": asked.messages})
    messages = body.get("messages")
    named = [_is_named(message) for message in messages] if isinstance(messages, list) else []
    return replace(
        asked,
        is_history=len(named) > 1 and all(named),
        is_unnamed=len(named) > 1 and not any(named),
        deleted=_deleted(body),
    )


def _is_named(message: Any) -> bool:
    message_id = message.get("id") if isinstance(message, dict) else None
    return isinstance(message_id, str) and message_id != ""


def _deleted(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids in ``deletedMessageIds``: of the body, or of what AG-UI's and TanStack's clients let pages add."""
    for added in (body, body.get("forwardedProps"), body.get("data")):
        if isinstance(added, Mapping) and (ids := added.get("deletedMessageIds")) is not None:
            is_right = isinstance(ids, list) and all(isinstance(message_id, str) for message_id in ids)
            if not is_right or len(ids) > settings.max_messages:
                raise InvalidRequestError(
                    f"'deletedMessageIds' must be a list of at most {settings.max_messages} messages' ids."
                )
            return frozenset(ids)
    return frozenset()


def _refuse_server_roles(body: Mapping[str, Any]) -> None:
    messages = body.get("messages", [body.get("message")])
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict) and message.get("role") in SERVER_ROLES:
            raise InvalidRequestError(
                f"messages[{index}] has the role {message['role']!r}, in which only the server speaks. Leave it "
                "out, or set allows_system_messages = True on the view."
            )


def replaces(asked: ChatRequest, *, interrupts: bool, follows_all: bool = False) -> Replaces:
    """Make what decides whether the answer that runs in the chat is stopped for this request.

    It is if the request asks anew from an earlier point of the chat, if its page has gone on from the unfinished
    answer, or, with ``interrupts``, in any case. Pages that follow all that happens in a chat (``follows_all``) show
    unfinished answers to everybody, so there it says nothing that they do.
    """
    newest = asked.messages[-1]
    earlier = [(message.get("id"), message.get("role")) for message in asked.messages[:-1]]

    def does_replace(begin: Begin | None) -> bool:
        if interrupts or asked.is_asked_anew:
            return True
        if begin is None or newest.get("role") != "user":
            return False
        if begin.asks and begin.asks == newest.get("id"):
            return not asked.says_trigger
        return not follows_all and _has_gone_on(earlier, begin)

    return does_replace


def _has_gone_on(earlier: list[tuple[Any, Any]], begin: Begin) -> bool:
    """Return whether a page shows an answer, though it is unfinished, before its newest question."""
    if any(message_id == begin.message_id for message_id, _ in earlier):
        return True
    # Agents give their messages ids of their own; then what follows the question is its answer.
    asked_at = next((at for at, (found, _) in enumerate(earlier) if begin.asks and found == begin.asks), None)
    return asked_at is not None and any(role == "assistant" for _, role in earlier[asked_at + 1 :])
