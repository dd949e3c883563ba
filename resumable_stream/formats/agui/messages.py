"""The messages of an AG-UI chat while its events come, found by their ids and by their calls.

Results stand behind the message with their call, and not at the end. What an event costs does not grow with the chat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...types import Message

AGUICall = dict[str, Any]


@dataclass(slots=True)
class _Run:
    """A message, and the results that stand directly behind it."""

    messages: list[Message]
    following: _Run | None = None


class MessageList:
    """Messages in their order."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._first = self._last = _Run([])
        self._runs: dict[int, _Run] = {}
        """Of a message's identity: the run that it is in."""
        self._by_id: dict[str, list[Message]] = {}
        self._calls: dict[str, tuple[Message, AGUICall]] = {}
        for message in messages:
            self.append(message)

    def __iter__(self) -> Iterator[Message]:
        run: _Run | None = self._first
        while run is not None:
            yield from run.messages
            run = run.following

    def find(self, message_id: Any) -> Message | None:
        """Return the newest message with an id."""
        found = self._by_id.get(message_id) if isinstance(message_id, str) else None
        return found[-1] if found else None

    def call(self, call_id: Any) -> AGUICall | None:
        """Return the first call with an id."""
        known = self._calls.get(call_id) if isinstance(call_id, str) else None
        return known[1] if known is not None else None

    def append(self, message: Message) -> None:
        """Add a message at the end."""
        if message.get("role") != "tool":
            self._last.following = _Run([])
            self._last = self._last.following
        self._add(self._last, message)

    def add_result(self, call_id: Any, message: Message) -> None:
        """Add a result behind the message with its call, and behind the results that stand there already."""
        known = self._calls.get(call_id) if isinstance(call_id, str) else None
        if known is None:
            self.append(message)
        else:
            self._add(self._runs[id(known[0])], message)

    def add_call(self, message: Message, call: AGUICall) -> None:
        """Add a call to a message."""
        message.setdefault("toolCalls", []).append(call)
        self._calls.setdefault(call["id"], (message, call))

    def become_activity(self, message: Message, content: Message) -> None:
        """Let a message be something else; results of an earlier call are no longer put behind it."""
        self._forget_calls(message)
        message.clear()
        message |= content
        run = self._runs[id(message)]
        at = _place_of(message, run.messages)
        if at > 0:
            rest = _Run(run.messages[at:], run.following)
            run.following = rest
            del run.messages[at:]
            self._runs |= dict.fromkeys(map(id, rest.messages), rest)
            self._last = rest if self._last is run else self._last

    def cut(self, message_id: str) -> None:
        """Take away the first message with an id, and all that follow it."""
        if message_id not in self._by_id:
            return
        first = self._by_id[message_id][0]
        self._last = run = self._runs[id(first)]
        at = _place_of(first, run.messages)
        gone = run.messages[at:]
        del run.messages[at:]
        following, run.following = run.following, None
        while following is not None:
            gone += following.messages
            following = following.following
        self._forget(gone)

    def _add(self, run: _Run, message: Message) -> None:
        run.messages.append(message)
        self._runs[id(message)] = run
        self._by_id.setdefault(message["id"], []).append(message)
        for call in _calls_of(message):
            self._calls.setdefault(call["id"], (message, call))

    def _forget(self, messages: list[Message]) -> None:
        for message in reversed(messages):
            self._forget_calls(message)
            del self._runs[id(message)]
            same = self._by_id[message["id"]]
            del same[_place_of(message, same)]
            if not same:
                del self._by_id[message["id"]]

    def _forget_calls(self, message: Message) -> None:
        for call in _calls_of(message):
            if call["id"] in self._calls and self._calls[call["id"]][0] is message:
                del self._calls[call["id"]]


def _place_of(message: Message, messages: list[Message]) -> int:
    return next(at for at in range(len(messages) - 1, -1, -1) if messages[at] is message)


def _calls_of(message: Message) -> list[AGUICall]:
    calls = message.get("toolCalls")
    return [call for call in calls if _is_call(call)] if isinstance(calls, list) else []


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("id"), str)
