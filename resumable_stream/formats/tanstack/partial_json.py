"""What TanStack AI's clients make of JSON that is still being written (the npm package ``partial-json``).

Its way of reading is the package's own: what it cannot read ends the innermost object or list, which is then taken as
it is so far.
"""

from __future__ import annotations

from typing import Any

from ..javascript import MISSING, parse_json, trim

_BLANKS = " \n\r\t"
# Words, what they stand for (JSON writes the last three as null), and how short a beginning of them may be.
_WORDS: tuple[tuple[str, Any, int], ...] = (
    ("null", None, 1),
    ("true", True, 1),
    ("false", False, 1),
    ("Infinity", None, 1),
    ("-Infinity", None, 2),
    ("NaN", None, 1),
)


class _UnreadableError(Exception):
    """The package throws."""


def parse_partial(text: str) -> Any:
    """Return what can be read of the text; :data:`MISSING` where that is nothing."""
    trimmed = trim(text)
    if not trimmed:
        return MISSING
    try:
        return _Parser(trimmed).value()
    except (_UnreadableError, RecursionError):
        return MISSING


def _decode(text: str) -> Any:
    value = parse_json(text)
    if value is MISSING:
        raise _UnreadableError
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _cut(self, start: int, end: int) -> str:
        """Take a piece as JavaScript's ``substring`` does, in whichever order its ends are given."""
        start, end = sorted((max(start, 0), max(end, 0)))
        return self._text[start:end]

    def _skip_blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1

    def value(self) -> Any:
        self._skip_blanks()
        if self._at >= len(self._text):
            raise _UnreadableError
        match self._peek():
            case '"':
                return self._string()
            case "{":
                return self._object()
            case "[":
                return self._list()
        rest = self._text[self._at : self._at + 9]
        for word, meaning, least in _WORDS:
            if rest.startswith(word) or (least <= len(rest) < len(word) and word.startswith(rest)):
                self._at += len(word)
                return meaning
        return self._number()

    def _string(self) -> Any:
        start, escaped = self._at, False
        self._at += 1
        while self._at < len(self._text):
            if self._text[self._at] == '"' and not (escaped and self._text[self._at - 1] == "\\"):
                break
            escaped = not escaped if self._text[self._at] == "\\" else False
            self._at += 1
        if self._peek() == '"':
            self._at += 1
            return _decode(self._cut(start, self._at - escaped))
        value = parse_json(self._cut(start, self._at - escaped) + '"')
        if value is not MISSING:
            return value
        return _decode(self._cut(start, self._text.rfind("\\")) + '"')

    def _object(self) -> dict[str, Any]:
        self._at += 1
        self._skip_blanks()
        found: dict[str, Any] = {}
        try:
            while self._peek() != "}":
                self._skip_blanks()
                if self._at >= len(self._text):
                    return found
                key = self._string()
                self._skip_blanks()
                self._at += 1
                value = self.value()
                # This key is the prototype to JavaScript, and no key of the object's own.
                found |= {key: value} if key != "__proto__" else {}
                self._skip_blanks()
                if self._peek() == ",":
                    self._at += 1
        except _UnreadableError:
            return found
        self._at += 1
        return found

    def _list(self) -> list[Any]:
        self._at += 1
        found: list[Any] = []
        try:
            while self._peek() != "]":
                found.append(self.value())
                self._skip_blanks()
                if self._peek() == ",":
                    self._at += 1
        except _UnreadableError:
            return found
        self._at += 1
        return found

    def _number(self) -> Any:
        start = self._at
        if start == 0:
            self._at = len(self._text)
            value = parse_json(self._text)
            return value if value is not MISSING else _decode(self._cut(0, self._text.rfind("e")))
        if self._peek() == "-":
            self._at += 1
        while self._at < len(self._text) and self._text[self._at] not in ",]}":
            self._at += 1
        value = parse_json(self._cut(start, self._at))
        if value is not MISSING:
            return value
        if self._cut(start, self._at) == "-":
            raise _UnreadableError
        return _decode(self._cut(start, self._text.rfind("e")))
