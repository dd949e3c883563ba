"""What a page's chat has that the log's chat has not.

Clients post the chat as their page shows it. Mostly it is the log's chat and one more message. But a page may also have
outputs of its own tools, a message whose sending failed, a greeting, or a message fewer than the log.

Nobody knows what a page does not show because it is old (another tab has gone on), or because it sends only its newest
messages. So a message counts as deleted only if the page shows others both before and after it, or if the page says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..types import Message
from .base import ChatRequest, ChunkFormat, StoredGeneration
from .unnamed import SAID

_SPEAKERS = ("user", "system", "developer", "tool")
"""Who speaks for itself in a message of the client: everybody but the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What is stored of a request."""

    history: list[Message] = field(default_factory=list)
    """The chat before :attr:`messages`, if it takes the place of all that the log has; empty if it does not."""
    messages: list[Message]
    """What is new. A message that the log has takes the place of that one and of all that follow it."""
    told: frozenset[str] = frozenset()
    """Ids of answers among them that no generation has written: the client has told of them."""
    page: str = ""
    """Number and hash of the request's messages."""
    token: str = ""
    """The stream's token, as far as it had to be looked at."""

    def stored(self, generation_id: str, message_id: str) -> StoredGeneration:
        """Return the generation that stores it, before its answer."""
        return StoredGeneration(
            generation_id=generation_id,
            message_id=message_id,
            user_messages=[*self.history, *self.messages],
            is_whole=bool(self.history),
            told=self.told,
        )


def compare(
    format_: ChunkFormat, known: Sequence[Message], asked: ChatRequest, *, told: Collection[str] = ()
) -> Brought:
    """Find what must be stored so that the log's chat, ``known``, becomes the page's.

    ``told`` are the ids of answers in it that no generation has written.
    """
    return _Comparison(format_, known, asked, told).brought()


class _Comparison:
    def __init__(
        self, format_: ChunkFormat, known: Sequence[Message], asked: ChatRequest, told: Collection[str]
    ) -> None:
        self._format = format_
        self._known = known
        self._asked = asked
        self._body: list[Message] = []
        """The chat up to the last message that both have."""
        self._new: list[Message] = []
        """What the page has after that."""
        self._told = set(told)
        self._deleted = asked.deleted.difference(message["id"] for message in asked.messages)
        self._at = 0
        """How far the log's chat is compared."""

    def brought(self) -> Brought:
        places = {message["id"]: place for place, message in enumerate(self._known)}
        unknown = [one for one in self._asked.messages if one["id"] not in places and not _is_empty_answer(one)]
        written = [message for message in self._known if message["id"] not in self._told]
        admitted = {message["id"] for message in self._format.admitted(unknown, written)}
        for message in self._asked.messages:
            place = places.get(message["id"])
            if place is None and message["id"] in admitted:
                self._add(message)
            elif place is not None and place >= self._at:
                self._meet(message, place)
        following = [] if self._cuts() else self._kept(self._known[self._at :])
        chat = [*self._body, *following]
        if self._known and not chat:
            # What is said twice stands there once; but a chat that takes the place of the log's must have a message.
            return self._brought(self._new[:1], self._new)
        changed = self._first_change(chat)
        if changed >= max(0, len(chat) - 1):
            # Nothing differs, or only the last message that both have, which can be said once more.
            is_shorter = len(chat) < len(self._known)
            repeated = chat[-1:] if changed < len(chat) or self._is_about_last(chat) or is_shorter else []
            return self._brought([], [*repeated, *self._new])
        return self._brought(chat, self._new)

    def _brought(self, history: list[Message], messages: list[Message]) -> Brought:
        stored = {message["id"] for message in (*history, *messages)}
        return Brought(history=history, messages=messages, told=frozenset(self._told & stored))

    def _add(self, message: Message) -> None:
        """Take a message that the log does not know."""
        self._new.append(message)
        if message["role"] not in _SPEAKERS:
            self._told.add(message["id"])

    def _meet(self, message: Message, place: int) -> None:
        """Take a message that both have, with what stands before it."""
        missing = self._kept(self._known[self._at : place])
        if self._at:
            # Other kinds (reasoning, activities, results) are not sent by every client that shows them.
            missing = [one for one in missing if one["role"] not in ("user", "assistant")]
        self._body += [*missing, *self._new, self._merged(self._known[place], message)]
        self._new = []
        self._at = place + 1

    def _kept(self, messages: Sequence[Message]) -> list[Message]:
        return [message for message in messages if message["id"] not in self._deleted]

    def _merged(self, known: Message, message: Message) -> Message:
        if message["role"] == "user":
            is_same = all(known.get(name) == message.get(name) for name in SAID)
            return known if is_same else message
        return self._format.merge_answers(known, message)

    def _cuts(self) -> bool:
        """Return whether the request asks anew, so that what the log has after its last message goes."""
        newest = self._asked.messages[-1]
        return not self._new and self._at > 0 and (self._asked.is_asked_anew or newest["role"] == "user")

    def _is_about_last(self, chat: Sequence[Message]) -> bool:
        """Return whether the answer continues the last message, which must be stored beside it then."""
        return bool(chat) and self._asked.message_id == chat[-1]["id"]

    def _first_change(self, chat: Sequence[Message]) -> int:
        """Return the place of the first message that the page has changed; the chat's length if there is none.

        It is -1 where repeating a message would not do: another one stands in its place, or it is to be continued and
        others follow it.
        """
        for place, message in enumerate(chat):
            if place >= len(self._known) or message["id"] != self._known[place]["id"]:
                return -1
            if message is not self._known[place]:
                return place
        is_about_earlier = self._asked.message_id is not None and not self._is_about_last(chat)
        if is_about_earlier and any(message["id"] == self._asked.message_id for message in chat):
            return -1
        return len(chat)


def _is_empty_answer(message: Message) -> bool:
    """Return whether a message is what a page shows of an answer that never said anything, which the log leaves out."""
    parts = message.get("parts") or ()
    says_something = any(part.get("type") != "step-start" for part in parts)
    return message["role"] == "assistant" and not (says_something or message.get("content") or message.get("toolCalls"))
