"""Read what AI SDK transports POST, and say what to send where it cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest
from ..requests import check_message, listed_or_newest


def parse_request(body: Mapping[str, Any]) -> ChatRequest:
    """Read ``{id, messages, …}``, or ``{id, message}`` as apps send it that keep the history on the server.

    Raises:
        InvalidRequestError: Something is missing or has the wrong type.
    """
    messages = [parse_message(message, where) for where, message in listed_or_newest(body)]
    trigger, named = body.get("trigger"), body.get("messageId")
    return ChatRequest(
        chat_id=body.get("id"),
        messages=messages,
        message_id=_continued_id(messages, trigger, named),
        # An edit is sent as any question, but names the message that it puts in the place of an earlier one.
        is_asked_anew=trigger == "regenerate-message"
        or (named is not None and named == messages[-1]["id"] and messages[-1]["role"] == "user"),
        says_trigger=isinstance(trigger, str),
    )


def _continued_id(messages: list[Message], trigger: Any, named: Any) -> str | None:
    """Return the id of the answer that is to be continued, if one is.

    The client names it where a tool's output or an approval belongs to an earlier answer. Otherwise it is as the AI
    SDK's own server has it: an answer to an assistant message continues that message, under its id.
    """
    last = messages[-1]
    if trigger != "regenerate-message" and isinstance(named, str) and named != last["id"]:
        if any(message["id"] == named and message["role"] == "assistant" for message in messages):
            return named
        if last["role"] == "assistant":
            raise InvalidRequestError("'messageId' names an answer that the request does not carry. Send it along.")
    return last["id"] if last["role"] == "assistant" else None


def parse_message(value: Any, where: str = "message") -> Message:
    """Check one UI message; ``content`` stands for a text part, and a missing id is filled in.

    Raises:
        InvalidRequestError: It is none; the text names the place by ``where``.
    """
    message = check_message(value, where, fields="'id', 'role' and 'parts'")
    if "parts" not in message and isinstance(message.get("content"), str):
        message["parts"] = [{"type": "text", "text": message.pop("content")}]
    message["parts"] = _parse_parts(message.get("parts"), f"{where}.parts")
    return message


def _parse_parts(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise InvalidRequestError(f"{where} must be a list, for text: [{{'type': 'text', 'text': '…'}}].")
    for index, part in enumerate(value):
        _check_part(part, f"{where}[{index}]")
    return value


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise InvalidRequestError(f"{where} must be an object with a 'type'.")
    kind = part["type"]
    if kind in ("text", "reasoning") and not isinstance(part.get("text"), str):
        raise InvalidRequestError(f"{where}.text must be a string.")
    is_tool = kind.startswith("tool-") or kind == "dynamic-tool"
    if is_tool and not isinstance(part.get("toolCallId"), str):
        raise InvalidRequestError(f"{where}.toolCallId must be a string.")
    if kind == "dynamic-tool" and not isinstance(part.get("toolName"), str):
        raise InvalidRequestError(f"{where}.toolName must be a string.")
