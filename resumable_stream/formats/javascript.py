"""What JavaScript makes of JSON, where Python makes something else of it."""

from __future__ import annotations

import json
from typing import Any, Final

from .jsontext import MOST_DEPTH, is_text_deeper_than


class _Missing:
    """``undefined``, where ``null`` is a value."""


MISSING: Final = _Missing()


_WHITE = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))


def trim(text: str) -> str:
    """Take away the white space around a text, as JavaScript knows it."""
    return text.strip(_WHITE)


def _read_number(number: str) -> float | None:
    """Read a number; one beyond a double's range is Infinity in JavaScript, which its JSON writes as null."""
    value = float(number)
    return value if abs(value) != float("inf") else None


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which only Python takes for JSON."""
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(parse_float=_read_number, parse_constant=_refuse_constant)
"""Decodes as ``JSON.parse`` does, but for errors of its own."""


def parse_json(text: Any) -> Any:
    """Decode as ``JSON.parse`` does; :data:`MISSING` where it would throw, and for what is nested too deeply for us."""
    if not isinstance(text, str) or is_text_deeper_than(text, MOST_DEPTH):
        return MISSING
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return MISSING
