"""Anthropic's raw message events, for the TypeScript SDK's stream parser and for whatever else reads them.

One generation is one message: ``message_start``, content blocks by their index, ``message_delta``, ``message_stop``; or
an ``error`` event. Every frame names its event, since the SDK skips frames that do not. What tools answer is no part of
an assistant's message there, and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...exceptions import InvalidRequestError
from ...types import Message
from ..base import ChatRequest, ChunkFormat, GenerationFacts, StoredGeneration
from ..conversation import is_broken_off, place_generations
from ..jsontext import decode
from ..requests import check_message, listed_messages
from .encoder import AnthropicEncoder
from .fold import fold_events

# Our own chunks begin with their type; those of other programs may not.
_TYPE_FIRST = re.compile(r'\{"type":"([a-z_]+)"')
_EVENT_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")


class AnthropicFormat(ChunkFormat):
    """Raw message events, stored as they are."""

    name: ClassVar[str] = "anthropic"

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read ``{id, messages: [{role, content}], …}``: what the SDK's client sends, and the chat's id."""
        parsed = [_parse_message(message, where) for where, message in listed_messages(body)]
        return ChatRequest(chat_id=body.get("id"), messages=parsed)

    def encoder(self, facts: GenerationFacts) -> AnthropicEncoder:
        """Make the encoder of one generation."""
        return AnthropicEncoder(message_id=facts.message_id)

    def event(self, chunk: str) -> str | None:
        """Name the event by its type."""
        if found := _TYPE_FIRST.match(chunk):
            return found[1]
        try:
            decoded = decode(chunk)
        except (ValueError, TypeError):
            return None
        kind = decoded.get("type") if isinstance(decoded, dict) else None
        return kind if isinstance(kind, str) and _EVENT_NAME.match(kind) else None

    def begins_turn(self, message: Message) -> bool:
        """Return whether a user speaks; results of tools come as a user's messages too, and belong to their calls."""
        content = message.get("content")
        blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
        return super().begins_turn(message) and all(block.get("type") != "tool_result" for block in blocks)

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into the user's messages and Anthropic's own, ``{id, role, content, …}`` each."""
        return place_generations(generations, self.fold_answer)

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation into the message that the SDK makes of it; none if it was broken off before a block."""
        message = fold_events(generation.chunks)
        is_nothing = message is not None and not message["content"] and is_broken_off(generation)
        return None if is_nothing else message


def _parse_message(value: Any, where: str) -> Message:
    message = check_message(value, where, fields="'role' and 'content'")
    if not _is_content(message.get("content")):
        raise InvalidRequestError(f"{where}.content must be a text, or a list of blocks that have a 'type'.")
    return message


def _is_content(content: Any) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(map(_is_block, content))


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    return block["type"] != "text" or isinstance(block.get("text"), str)
