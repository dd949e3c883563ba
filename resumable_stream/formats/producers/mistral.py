"""Mistral: chat completion chunks, whose content may be a list and which ``mistralai`` wraps in events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..item_types import File, Item
from .base import look, reasoning, source, text

NO_ID = "null"
"""What ``mistralai`` gives as the id of a call that has none."""


def unwrap(item: Any) -> Any:
    """Return the chunk inside one of the package's events; anything else as it is."""
    if isinstance(item, Mapping) or look(item, "choices") is not None:
        return item
    data = look(item, "data")
    return data if look(data, "choices") is not None else item


def read_content(content: Any) -> list[Item]:
    """Read the content of a message: a text, or pieces of several kinds."""
    if isinstance(content, (list, tuple)):
        return [item for piece in content for item in _read_piece(piece)]
    return _read_piece(content)


def _read_piece(piece: Any) -> list[Item]:
    match look(piece, "type"):
        case "text":
            return text(look(piece, "text"))
        case "thinking":
            return _read_thoughts(look(piece, "thinking"))
        case "tool_reference":
            return [*source(look(piece, "url"), look(piece, "title"))]
        case "image_url":
            return _read_image(look(piece, "image_url"))
    # A ``reference`` has the number of one of the app's own documents, and nothing that a client could show.
    return text(piece)


def _read_thoughts(thoughts: Any) -> list[Item]:
    if not isinstance(thoughts, (list, tuple)):
        return reasoning(thoughts)
    return [item for piece in thoughts for item in reasoning(look(piece, "text"))]


def _read_image(image: Any) -> list[Item]:
    address = image if isinstance(image, str) else look(image, "url")
    if not isinstance(address, str) or not address.startswith(("data:image/", "https://", "http://")):
        return []
    media_type = address[5:].partition(";")[0] if address.startswith("data:") else "image/*"
    return [File(media_type, address)]
