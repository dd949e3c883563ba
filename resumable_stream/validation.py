"""What clients send by whatever way, checked before anything is read or created: JSON objects, ids, cursors, keys."""

from __future__ import annotations

import json
import re
from typing import Any

from .conf import settings
from .exceptions import InvalidRequestError
from .formats.jsontext import decode, is_text_deeper_than

MAX_CURSOR = 2**63 - 1
_CHAT_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:~=|+@-]{1,128}\Z", re.ASCII)
"""With what Relay (``Q2hhdDo0Mg==``), auth0 (``auth0|1``) and mail addresses need; nothing that separates the segments
of a path or of a stream's name."""
_MARKS = ". _ : ~ = | + @ -"
_GENERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
CURSOR = re.compile(r"[0-9]{1,19}\Z", re.ASCII)
_IDEMPOTENCY_KEY_BYTES = 512
_MESSAGE_ID_CHARACTERS = 256
_HALVES = re.compile("[\ud800-\udfff]")


def parse_object(raw: str | bytes, what: str) -> dict[str, Any]:
    """Read a JSON object; ``what`` names it to the client.

    Raises:
        InvalidRequestError: It is none, is nested too deeply, or holds a number that is not finite.
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
        depth = settings.max_json_depth
        if is_text_deeper_than(text, depth):
            raise InvalidRequestError(f"{what} is nested more than {depth} levels deep.")
        value = decode(text)
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(f"{what} is not valid JSON.") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} must be a JSON object.")
    return value


def parse_chat_id(value: object, name: str = "id") -> str:
    """Check the id of a chat; ``name`` is what the client calls it.

    Raises:
        InvalidRequestError: It is not 1 to 128 of ``A-Z a-z 0-9 . _ : ~ = | + @ -``.
    """
    if not isinstance(value, str) or not _CHAT_ID.match(value):
        raise InvalidRequestError(
            f"The chat's id must be a string of 1 to 128 letters, digits or {_MARKS} (send it as '{name}')."
        )
    return value


def parse_generation_id(value: object) -> str | None:
    """Check the id of a generation; ``None`` if there is none.

    Raises:
        InvalidRequestError: It cannot be one.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _GENERATION_ID.match(value):
        raise InvalidRequestError("The generation's id must be the one the server gave (X-Generation-Id).")
    return value


def parse_message_id(value: str | None) -> str | None:
    """Check the id of the message that an answer continues; ``None`` if it continues none.

    Raises:
        InvalidRequestError: It is longer than 256 characters, or has some that do not print.
    """
    if value is not None and not (len(value) <= _MESSAGE_ID_CHARACTERS and value.isprintable()):
        raise InvalidRequestError(f"A message's id must be at most {_MESSAGE_ID_CHARACTERS} printable characters.")
    return value


def check_stored_id(value: str) -> None:
    """Check the id of a message that is stored.

    Raises:
        InvalidRequestError: It is longer than 256 characters, or has halves of characters, which UTF-8 cannot hold.
    """
    if len(value) > _MESSAGE_ID_CHARACTERS or (not value.isascii() and _HALVES.search(value)):
        raise InvalidRequestError(
            f"A message's id must be at most {_MESSAGE_ID_CHARACTERS} characters, without lone surrogates."
        )


def check_idempotency_key(key: str) -> str:
    """Check an idempotency key; empty if there is none.

    Raises:
        InvalidRequestError: It is too long.
    """
    if len(key) > _IDEMPOTENCY_KEY_BYTES:
        raise InvalidRequestError(f"The Idempotency-Key has more than {_IDEMPOTENCY_KEY_BYTES} characters.")
    return key


def parse_run_id(value: object) -> str | None:
    """Check the id that a client has given its run; ``None`` if it gave none.

    Raises:
        InvalidRequestError: It is not 1 to 128 of ``A-Z a-z 0-9 . _ : ~ = | + @ -``.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _CHAT_ID.match(value):
        raise InvalidRequestError(f"The run's id must be a string of 1 to 128 letters, digits or {_MARKS}.")
    return value


def parse_offset(value: str) -> int | None:
    """Read a cursor in the words of clients that name their runs; ``None`` for ``-1``, the beginning.

    Raises:
        InvalidRequestError: It is no cursor.
    """
    if value == "-1":
        return None
    if not CURSOR.match(value) or int(value) > MAX_CURSOR:
        raise InvalidRequestError("The cursor must be the number that came as the id of a chunk, or -1.")
    return int(value)
