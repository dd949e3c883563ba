"""Which part of a chat a client gets that loads it: its newest turns, or those before a message that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..conf import settings
from ..exceptions import InvalidRequestError
from ..formats.base import ChunkFormat
from ..types import Message

NO_MESSAGE_TEXT = "The chat has no message with the id that 'before' names. Load the chat again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a client asks for."""

    before: str | None = None
    """Id of a message: only what stands before it. ``None`` for the newest."""
    limit: int | None = None
    """Most messages; there are never more than the settings allow."""


NEWEST = Wanted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a chat's messages."""

    messages: Sequence[Message]
    cursor: str | None = None
    """The ``before`` that gives what stands before these messages; ``None`` if nothing does."""

    def described(self) -> dict[str, Any]:
        """Say, in TanStack AI's words, whether there is more and how to get it."""
        return {"truncated": False} if self.cursor is None else {"truncated": True, "cursor": self.cursor}


def page_of(format_: ChunkFormat, messages: Sequence[Message], wanted: Wanted = NEWEST) -> Page:
    """Cut out of a chat what is ``wanted``: at most ``HISTORY_TURNS`` turns, and half of ``MAX_MESSAGES``.

    A client posts what it has loaded, together with what has been said since, and ``MAX_MESSAGES`` bounds that.

    Raises:
        InvalidRequestError: The chat has no message ``wanted.before``.
    """
    end = len(messages) if wanted.before is None else _place(messages, wanted.before)
    most = max(1, settings.max_messages // 2)
    start = max(0, end - min(most, wanted.limit or most), _begin(format_, messages, end))
    # Nothing can be asked for before a message without an id.
    while start and not isinstance(messages[start].get("id"), str):
        start -= 1
    return Page(messages=messages[start:end], cursor=messages[start]["id"] if start else None)


def _place(messages: Sequence[Message], message_id: str) -> int:
    place = next((at for at, message in enumerate(messages) if message.get("id") == message_id), None)
    if place is None:
        raise InvalidRequestError(NO_MESSAGE_TEXT)
    return place


def _begin(format_: ChunkFormat, messages: Sequence[Message], end: int) -> int:
    """Return where the turn begins with which there are as many as one page may have."""
    left = settings.history_turns
    for at in range(end - 1, -1, -1):
        left -= format_.begins_turn(messages[at])
        if not left:
            return at
    return 0
