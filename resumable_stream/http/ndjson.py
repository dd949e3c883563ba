"""Newline-delimited JSON, for clients that ask for it instead of Server-Sent Events; pure functions.

A line is ``{"id": "CURSOR", "chunk": CHUNK}``: what an event stream says in a frame's ``id`` and ``data``. Empty lines
show that the connection lives.
"""

from __future__ import annotations

import json

from ..formats.jsontext import is_json
from ..protocol.layout import Chunk
from .sse import Wire

BLANK = b"\n"


def _encode(chunk: Chunk) -> bytes:
    # A chunk is the JSON of one line already, unless another program wrote it.
    if not is_json(chunk.body):
        return b""
    if chunk.cursor:
        return b'{"id":"%d","chunk":%s}\n' % (chunk.cursor, _in_line(chunk.body))
    return _in_line(chunk.body) + b"\n"


def _in_line(body: str) -> bytes:
    # Line ends stand between JSON's values, never in strings.
    return body.replace("\n", " ").replace("\r", " ").encode()


def _encode_event(data: str, *, event: str | None = None, cursor: int | None = None) -> bytes:
    if event is None:
        return _encode(Chunk(cursor or 0, data))
    return json.dumps({"id": str(cursor), "event": event, "data": data}).encode() + BLANK


NDJSON = Wire(
    content_type="application/x-ndjson",
    prologue=BLANK,
    keep_alive=BLANK,
    frame_encoder=lambda _format: _encode,
    encode_event=_encode_event,
)
