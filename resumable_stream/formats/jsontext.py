"""JSON as chunks carry it: compact, one line by anybody's idea of a line, and always valid UTF-8."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from itertools import accumulate
from json.encoder import encode_basestring
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder

MOST_DEPTH = 512
"""Levels of nesting of what is stored and read back, whatever a project allows: below what exhausts a stack."""
_WRAPPINGS = 40
"""Levels that messages and events put around what was read."""
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")
_STEPS = [(byte in b"{[") - (byte in b"}]") for byte in range(256)]

# Outside strings JSON is ASCII, so these stand inside strings, where an escape means the same. Lone surrogates have no
# UTF-8 form. The other three end a line for Python's ``str.splitlines``, and so for clients that read SSE with it.
_UNSAFE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


class _Encoder(DjangoJSONEncoder):
    """Dates, UUIDs, decimals and lazy texts as Django writes them; also mappings, dataclasses and pydantic models."""

    def default(self, o: Any) -> Any:
        if isinstance(o, Mapping):
            return dict(o)
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
        if hasattr(type(o), "model_dump_json"):
            return o.model_dump(mode="json", by_alias=True, exclude_none=True)
        return super().default(o)


def _refuse_constant(name: str) -> NoReturn:
    raise TypeError(f"JSON has no {name}: yield a number or null instead.")


def _read_number(number: str) -> float:
    value = float(number)
    if abs(value) == float("inf"):
        raise TypeError(f"JSON has no number as large as {number:.20}.")
    return value


_ENCODER = _Encoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_float=_read_number, parse_constant=_refuse_constant)


def is_text_deeper_than(text: str, levels: int) -> bool:
    """Return whether a JSON text is nested more than so many levels deep; may be asked before it is decoded."""
    if text.count("{") + text.count("[") <= levels:
        return False
    # Every other piece between quotes is outside strings, once escaped ones are out of the way.
    outside = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    brackets = outside.encode("ascii", "ignore").translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > levels


def escape_unsafe(text: str) -> str:
    """Escape, in a JSON text without raw newlines, what would break its line or its UTF-8."""
    if text.isascii():
        return text
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def encode_text(text: str) -> str:
    """Encode a string as JSON; what :func:`encode` does, at a fraction of its price."""
    return escape_unsafe(encode_basestring(text))


def encode(value: object) -> str:
    """Encode a value as JSON.

    Raises:
        TypeError: JSON cannot hold it; the message says where in the value and why.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(_explain(value)) from error
    if is_text_deeper_than(text, MOST_DEPTH + _WRAPPINGS):
        raise TypeError(f"The value is nested more than {MOST_DEPTH} levels deep.")
    return escape_unsafe(text)


def decode(text: str) -> Any:
    """Decode JSON.

    Raises:
        ValueError: It is not JSON.
        TypeError: It would be but for NaN or a number that is not finite, or it is nested too deeply.
    """
    if is_text_deeper_than(text, MOST_DEPTH):
        raise TypeError(f"The JSON is nested more than {MOST_DEPTH} levels deep.")
    return _DECODER.decode(text)


def decode_object(text: str) -> dict[str, Any]:
    """Decode a JSON object; an empty one stands for everything else that another program may have written."""
    try:
        data = decode(text)
    except (ValueError, TypeError):
        return {}
    return data if isinstance(data, dict) else {}


def is_json(text: str) -> bool:
    """Return whether a text is JSON, as other programs' records need not be."""
    try:
        decode(text)
    except (ValueError, TypeError):
        return False
    return True


def copied(value: Any) -> Any:
    """Copy a value of JSON, all the way down."""
    # No comprehensions: each would take another frame of the stack, of which there are not so many.
    if isinstance(value, dict):
        value = dict(value)
        for name in value:
            value[name] = copied(value[name])
    elif isinstance(value, list):
        value = list(value)
        for at, entry in enumerate(value):
            value[at] = copied(entry)
    return value


def mend_surrogates(text: str) -> str:
    """Join halves of surrogate pairs that arrived in different pieces, as joining strings does in JavaScript."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text


def _explain(value: object) -> str:
    try:
        return _find_problem(value, "") or "The value cannot be written as JSON."
    except RecursionError:
        return "The value contains itself or is nested too deeply for JSON."


def _find_problem(value: object, path: str) -> str | None:
    """Describe the first thing that JSON cannot hold."""
    if isinstance(value, Mapping):
        return _find_problem_in_mapping(value, path)
    if isinstance(value, (list, tuple)):
        found = (_find_problem(entry, f"{path}[{index}]") for index, entry in enumerate(value))
        return next(filter(None, found), None)
    try:
        _ENCODER.encode(value)
    except ValueError:
        return f"JSON has no {value!r}, found at {path or 'the top'}: yield a number or None instead."
    except TypeError:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        return f"JSON cannot hold {name}, found at {path or 'the top'}: yield plain values instead."
    return None


def _find_problem_in_mapping(value: Mapping[Any, object], path: str) -> str | None:
    for key, entry in value.items():
        where = f"{path}.{key}" if path else str(key)
        if not isinstance(key, (str, int, float, bool, type(None))):
            return f"JSON keys are strings, not {type(key).__qualname__}, found at {where}."
        if problem := _find_problem(entry, where):
            return problem
    return None
