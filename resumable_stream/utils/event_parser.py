"""Events out of the bytes of an event stream, however these are broken up."""

from __future__ import annotations

from typing import NamedTuple

_OTHER_FIELDS = (b"", b"id", b"retry")
"""Fields that carry nothing for us; the one without a name is a comment."""


class ParsedEvent(NamedTuple):
    """One event of a stream."""

    kind: str
    """The field ``event``; empty without one."""
    data: str


class EventParser:
    """Finds the events in a stream's bytes, as WHATWG's HTML standard says (section 9.2.6); no ``id`` and ``retry``.

    Lines end with CR, LF or both, and with nothing else: records may hold U+2028 and its like.
    """

    __slots__ = ("_after_cr", "_data", "_is_first_line", "_kind", "_pieces", "foreign_line")

    def __init__(self) -> None:
        self.foreign_line: bytes | None = None
        """The first line that no event stream holds: such lines are passed over."""
        self._pieces: list[bytes] = []
        """Of a line that has not ended."""
        self._after_cr = False
        self._is_first_line = True
        self._kind = ""
        self._data: list[str] = []

    def feed(self, part: bytes) -> list[ParsedEvent]:
        """Take what came next, broken off wherever it may be, and return the events that are complete with it."""
        if self._after_cr:
            part = part.removeprefix(b"\n")
        self._after_cr = part.endswith(b"\r")
        if b"\r" in part:
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *more = part.split(b"\n")
        self._pieces.append(first)
        if not more:
            return []
        lines = [b"".join(self._pieces), *more]
        self._pieces = [lines.pop()]
        return [event for line in lines if (event := self._take(line)) is not None]

    @property
    def is_between_events(self) -> bool:
        """Return whether nothing has come since the end of the last event."""
        return not self._data and not any(self._pieces)

    def _take(self, line: bytes) -> ParsedEvent | None:
        """Take a line, and return the event that ends with it."""
        if self._is_first_line:
            self._is_first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            event = ParsedEvent(self._kind, "\n".join(self._data)) if self._data else None
            self._kind, self._data = "", []
            return event
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" ").decode(errors="replace"))
        elif field == b"event":
            self._kind = value.removeprefix(b" ").decode(errors="replace")
        elif field not in _OTHER_FIELDS and self.foreign_line is None:
            self.foreign_line = line
        return None
