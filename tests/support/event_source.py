"""A parser of Server-Sent Events after the HTML standard (9.2.6, "Interpreting an event stream").

It shares nothing with the code that encodes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    type: str
    data: str
    last_event_id: str


@dataclass
class EventSourceParser:
    """Feed it bytes, cut anywhere; what was received whole is in ``events``."""

    events: list[Event] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    last_event_id: str = ""
    retry: int | None = None
    _buffer: bytes = b""
    _data: list[str] = field(default_factory=list)
    _type: str = ""
    _id: str = ""

    def feed(self, received: bytes) -> list[Event]:
        """Take in what was received, and return the events that it completes."""
        before = len(self.events)
        self._buffer += received
        while (line := self._next_line()) is not None:
            self._take(line.decode("utf-8", "replace"))
        return self.events[before:]

    def _next_line(self) -> bytes | None:
        ends = [at for at in (self._buffer.find(b"\n"), self._buffer.find(b"\r")) if at >= 0]
        if not ends:
            return None
        at = min(ends)
        length = 1
        if self._buffer[at : at + 1] == b"\r":
            if at + 1 == len(self._buffer):
                return None  # A line feed may follow.
            length = 2 if self._buffer[at + 1 : at + 2] == b"\n" else 1
        line, self._buffer = self._buffer[:at], self._buffer[at + length :]
        return line

    def _take(self, line: str) -> None:
        if line == "":
            self._dispatch()
            return
        name, colon, value = line.partition(":")
        if colon and not name:
            self.comments.append(value.strip())
            return
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append(Event(self._type or "message", "\n".join(self._data), self._id))
        self._data, self._type = [], ""


def parse(received: bytes) -> list[Event]:
    """Return the events in a whole body."""
    parser = EventSourceParser()
    parser.feed(received)
    return parser.events
