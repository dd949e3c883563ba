"""The messages of a chat that is streamed, found by their ids and by the calls that they show.

Whoever changes messages or adds parts says so here, so that nothing has to be searched for: what an event costs does
not grow with the chat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...types import Message
from .messages import TanStackPart

MOST_SHOWN = 100
"""Messages that may show one call: an outcome goes to all of them, and no client's chat has more than a few."""

# By what parts are found within their message.
_NAMES = {"tool-call": "id", "tool-result": "toolCallId", "thinking": "stepId", "structured-output": ""}


class Transcript:
    """Messages in their order. Ids may be there more than once: a backend's own snapshot is not ours to mend."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages: dict[int, Message] = {}
        """By numbers that grow with the order."""
        self._numbers: dict[str, dict[int, None]] = {}
        """Of an id, in order."""
        self._known: dict[int, _Known] = {}
        """What is known of a message object; kept when the message is taken away, for what still streams into it."""
        self._callers: dict[str, dict[int, TanStackPart]] = {}
        """Of a call's id: the numbers of the messages that show it, and how."""
        for message in messages:
            self.append(message)

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages.values())

    def get(self, message_id: str) -> Message | None:
        """Return the first message with an id."""
        return next((self._messages[number] for number in self._numbers.get(message_id, ())), None)

    def append(self, message: Message) -> None:
        """Add a message."""
        number = len(self._known)
        known = self._known[id(message)] = _Known(number, message)
        self._messages[number] = message
        self._numbers.setdefault(message["id"], {})[number] = None
        for part in message["parts"]:
            self._note(known, part)

    def cut(self, message_id: str) -> None:
        """Take away the first message with an id, and all that follow it."""
        while message_id in self._numbers:
            self._take_away(next(reversed(self._messages)))

    def remove(self, message_id: str) -> None:
        """Take away the messages with an id."""
        for number in tuple(self._numbers.get(message_id, ())):
            self._take_away(number)

    def rename(self, old: str, new: str) -> None:
        """Give the messages with an id another one."""
        numbers = self._numbers.pop(old, {})
        for number in numbers:
            self._messages[number]["id"] = new
        if numbers:
            self._numbers[new] = dict.fromkeys(sorted({**numbers, **self._numbers.get(new, {})}))

    def add_part(self, message: Message, part: TanStackPart) -> None:
        """Add a part to a message, whose kind and name stay as they are."""
        message["parts"].append(part)
        self._note(self._known[id(message)], part)

    def part_of(self, message: Message, kind: str, name: str = "") -> TanStackPart | None:
        """Find a message's first part of a kind, and of those the one that is called ``name``."""
        return self._known[id(message)].parts.get((kind, name))

    def shown_calls(self, call_id: str) -> list[TanStackPart]:
        """Find what the client shows of a call, in each message that has it."""
        return list(self._callers.get(call_id, {}).values())

    def message_with_call(self, call_id: str) -> Message | None:
        """Find the first message that shows a call."""
        numbers = self._callers.get(call_id)
        return self._messages[min(numbers)] if numbers else None

    def _note(self, known: _Known, part: TanStackPart) -> None:
        kind = part.get("type")
        named_by = _NAMES.get(kind) if isinstance(kind, str) else None
        name = part.get(named_by) if named_by else ""
        if named_by is None or not isinstance(kind, str) or not isinstance(name, str) or (kind, name) in known.parts:
            return
        known.parts[kind, name] = part
        if kind == "tool-call" and known.number in self._messages:
            callers = self._callers.setdefault(name, {})
            if len(callers) < MOST_SHOWN:
                callers[known.number] = part

    def _take_away(self, number: int) -> None:
        message = self._messages.pop(number)
        numbers = self._numbers[message["id"]]
        del numbers[number]
        if not numbers:
            del self._numbers[message["id"]]
        for kind, name in self._known[id(message)].parts:
            if kind == "tool-call":
                self._callers[name].pop(number, None)


@dataclass(slots=True)
class _Known:
    """What is known of one message."""

    number: int
    message: Message
    """Held, so that no other object gets its identity."""
    parts: dict[tuple[str, str], TanStackPart] = field(default_factory=dict)
    """The first part of each kind and name."""
