"""What AI SDK clients make of JSON that is still being written (``parse-partial-json.ts``, ``fix-json.ts``).

The client cuts the text after the last character that left it repairable and closes what is open there. Which cuts it
takes is a matter of its states, not of JSON's grammar (a backslash in a key, for one, means nothing to it): the states
are therefore the client's own.
"""

from __future__ import annotations

import re
from typing import Any

from ..javascript import DECODER
from ..jsontext import MOST_DEPTH, is_text_deeper_than

_LITERALS = ("true", "false", "null")
_DIGITS = frozenset("0123456789")
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_FORBIDDEN_KEYS = re.compile("__proto__|constructor|\\\\u")

# Characters that merely lead from one state to the next.
_MOVES = {
    ("object", '"'): "key",
    ("object-comma", '"'): "key",
    ("key", '"'): "object-colon",
    ("object-colon", ":"): "object-value",
    ("object-next", ","): "object-comma",
    ("array-next", ","): "array-comma",
}
# Where a value may begin, and the state that comes after it.
_AFTER_VALUE = {
    "root": "end",
    "object-value": "object-next",
    "array": "array-next",
    "array-comma": "array-next",
}
_CLOSERS = {("object", "}"), ("object-next", "}"), ("array", "]"), ("array-next", "]")}


class UnparsableError(ValueError):
    """The client could not parse the text."""


def parse_safely(text: str) -> Any:
    """Decode JSON as the client does: strictly, and refusing keys that would reach an object's prototype.

    Raises:
        UnparsableError: The client would refuse it.
    """
    if is_text_deeper_than(text, MOST_DEPTH):
        raise UnparsableError("It is nested too deeply.")
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise UnparsableError(str(error)) from error
    if _FORBIDDEN_KEYS.search(text) and _reaches_prototype(value):
        raise UnparsableError("A key reaches for an object's prototype.")
    return value


def _reaches_prototype(value: Any) -> bool:
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            constructor = node.get("constructor")
            if "__proto__" in node or (isinstance(constructor, dict) and "prototype" in constructor):
                return True
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return False


def parse_partial(text: str, version: int) -> Any:
    """Decode JSON that may break off anywhere, as clients of ``version`` do.

    Raises:
        UnparsableError: It cannot be repaired; the client has ``undefined`` then.
    """
    try:
        return parse_safely(text)
    except UnparsableError:
        return parse_safely(repair(text, version))


def repair(text: str, version: int) -> str:
    """Cut and close JSON that breaks off, as clients of ``version`` do."""
    scanner = _Scanner(text, version)
    for index, char in enumerate(text):
        scanner.take(index, char)
    return scanner.repaired()


class _Scanner:
    """Walks over the text once; its stack holds what is open, and ``kept`` how much of the text can be kept."""

    def __init__(self, text: str, version: int) -> None:
        self._text = text
        self._version = version
        self._stack = ["root"]
        self._kept = 0
        self._literal_start = 0
        self._hex_digits = 0

    def take(self, index: int, char: str) -> None:
        state = self._stack[-1]
        match state:
            case "string" | "escape" | "unicode":
                self._in_string(state, index, char)
            case "number":
                self._in_number(index, char)
            case "literal":
                self._in_literal(index, char)
            case _:
                self._in_structure(state, index, char)

    def _keep(self, index: int) -> None:
        self._kept = index + 1

    def _in_structure(self, state: str, index: int, char: str) -> None:
        if (state, char) in _CLOSERS:
            self._stack.pop()
            self._keep(index)
        elif (state, char) in _MOVES:
            self._stack[-1] = _MOVES[state, char]
        elif state in _AFTER_VALUE:
            # Before version 7 anything after "[" was kept, a minus sign for instance, which then cannot be closed.
            if state == "array" and self._version < 7:
                self._keep(index)
            self._begin_value(_AFTER_VALUE[state], index, char)
        elif state == "array-next":
            self._keep(index)

    def _begin_value(self, after: str, index: int, char: str) -> None:
        if char == "-" or char in _DIGITS:
            opened = "number"
        else:
            opened = {'"': "string", "t": "literal", "f": "literal", "n": "literal", "{": "object", "[": "array"}.get(
                char, ""
            )
        if not opened:
            return
        if char != "-":
            self._keep(index)
        self._literal_start = index
        self._stack[-1:] = [after, opened]

    def _in_string(self, state: str, index: int, char: str) -> None:
        if state == "string":
            self._in_plain_string(index, char)
        elif state == "unicode":
            self._in_unicode_escape(index, char)
        elif char == "u" and self._version >= 6:
            self._stack[-1] = "unicode"
            self._hex_digits = 0
        else:
            self._stack.pop()
            self._keep(index)

    def _in_plain_string(self, index: int, char: str) -> None:
        if char == "\\":
            self._stack.append("escape")
            return
        if char == '"':
            self._stack.pop()
        self._keep(index)

    def _in_unicode_escape(self, index: int, char: str) -> None:
        if char not in _HEX_DIGITS:
            return
        self._hex_digits += 1
        if self._hex_digits == 4:
            self._stack.pop()
            self._keep(index)

    def _in_number(self, index: int, char: str) -> None:
        if char in _DIGITS:
            self._keep(index)
        elif char not in "eE-.":
            self._stack.pop()
            if char in ",}]":
                self._after_value(index, char)

    def _in_literal(self, index: int, char: str) -> None:
        so_far = self._text[self._literal_start : index + 1]
        if any(literal.startswith(so_far) for literal in _LITERALS):
            self._keep(index)
        else:
            self._stack.pop()
            self._after_value(index, char)

    def _after_value(self, index: int, char: str) -> None:
        """Take the character that ended a number or literal as one that follows a value."""
        state = self._stack[-1]
        if (state, char) in _CLOSERS:
            self._stack.pop()
            self._keep(index)
        elif (state, char) in _MOVES:
            self._stack[-1] = _MOVES[state, char]

    def repaired(self) -> str:
        """Return what was kept, closed."""
        return self._text[: self._kept] + "".join(map(self._closing, reversed(self._stack)))

    def _closing(self, state: str) -> str:
        if state == "string":
            return '"'
        if state == "literal":
            so_far = self._text[self._literal_start :]
            return next(literal[len(so_far) :] for literal in _LITERALS if literal.startswith(so_far))
        if state == "key" or state.startswith("object"):
            return "}"
        return "]" if state.startswith("array") else ""
