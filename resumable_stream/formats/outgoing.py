"""Messages on their way out: strict JSON, whatever stands on the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ..utils.log_once import warn_once
from .jsontext import encode

logger = logging.getLogger(__name__)


def encode_each(values: Iterable[Mapping[str, Any]]) -> list[str]:
    """Encode messages or chunks; one that JSON cannot hold is left out and logged once, so that the others arrive."""
    return [text for value in values if (text := _encode(value)) is not None]


def encode_list(values: Iterable[Mapping[str, Any]]) -> str:
    """Encode a list of messages, as :func:`encode_each` does."""
    return f"[{','.join(encode_each(values))}]"


def encode_object(fields: Mapping[str, str]) -> bytes:
    """Encode an object whose values are JSON texts already."""
    return f"{{{','.join(f'{encode(name)}:{text}' for name, text in fields.items())}}}".encode()


def _encode(value: Mapping[str, Any]) -> str | None:
    try:
        return encode(value)
    except TypeError as error:
        named = value.get("id") or value.get("type")
        warn_once(logger, "left out what JSON cannot hold id=%.100r: %s", named, error)
        return None
