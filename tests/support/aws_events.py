"""AWS's event stream encoding, as Bedrock sends its events (``application/vnd.amazon.eventstream``)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def encode_events(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode events, each a mapping with one entry: its name and its JSON."""
    return b"".join(encode_event(name, value) for event in events for name, value in event.items())


def encode_event(name: str, value: Any) -> bytes:
    """Encode one event; what is called an exception is sent as one."""
    is_exception = name.endswith("Exception")
    headers = {
        ":message-type": "exception" if is_exception else "event",
        ":exception-type" if is_exception else ":event-type": name,
        ":content-type": "application/json",
    }
    encoded = b"".join(_header(key, text) for key, text in headers.items())
    payload = json.dumps(value).encode()
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack("!I", crc32(prelude)) + encoded + payload
    return message + struct.pack("!I", crc32(message))


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack("!BH", _STRING, len(value)) + value.encode()
