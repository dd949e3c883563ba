r"""Bytes of Server-Sent Events (HTML standard, section 9.2); pure functions.

A frame is ``[event: NAME\n]id: CURSOR\ndata: ONE LINE\n\n``, in this order: clients exist that attach an id to the
``data`` line after it. Rendered data may have several lines, each in a ``data`` field of its own. The id is the cursor
after the chunk, so a client that sends it back gets what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from ..formats.base import ChunkFormat
from ..protocol.layout import Chunk
from ..readers.frames import Frame, FrameEncoder
from ..utils.log_once import survive

logger = logging.getLogger(__name__)

PROLOGUE = b"retry: 1000\n\n: stream\n\n"
"""Sent at once: flushes the headers through servers that wait for a body, and sets EventSource's delay."""
KEEP_ALIVE = b": keep-alive\n\n"
MAX_BLOCK_BYTES = 64 * 1024
"""What Django sends at once; it would cut a longer block."""

HEADERS = {
    # They are one person's chats. What transforms bodies (compression, for instance) would hold frames back.
    "Cache-Control": "private, no-store, no-transform",
    # nginx: do not buffer.
    "X-Accel-Buffering": "no",
    # Compression would hold frames back (Django's GZipMiddleware, nginx); both leave encoded bodies alone.
    "Content-Encoding": "identity",
}
CONTENT_TYPE = "text/event-stream"


class EventEncoder(Protocol):
    """Encodes an event that is no stored chunk."""

    def __call__(self, data: str, *, event: str | None = None, cursor: int | None = None) -> bytes:
        """Return the event's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How a response's body carries chunks."""

    content_type: str
    prologue: bytes
    """Sent at once."""
    keep_alive: bytes
    """Sent while nothing comes; no client sees it."""
    frame_encoder: Callable[[ChunkFormat], FrameEncoder]
    """Gives the encoder of a format's chunks; always the same one for the same format."""
    encode_event: EventEncoder


def encode_event(data: str, *, event: str | None = None, cursor: int | None = None) -> bytes:
    """Encode one event; ``data`` may have several lines."""
    lines = [] if event is None else [f"event: {event}"]
    if cursor is not None:
        lines.append(f"id: {cursor}")
    lines += [f"data: {line}" for line in data.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return ("\n".join(lines) + "\n\n").encode()


def _encode_plain(chunk: Chunk) -> bytes:
    # Nearly every chunk comes through here.
    data = chunk.body.encode()
    if b"\n" in data or b"\r" in data:
        # No format's chunks for chats are like this, but a stream may hold what another program has written.
        return encode_event(chunk.body, cursor=chunk.cursor or None)
    return b"id: %d\ndata: %s\n\n" % (chunk.cursor, data) if chunk.cursor else b"data: %s\n\n" % data


def _named_encoder(name: Callable[[str], str | None]) -> FrameEncoder:
    def encode(chunk: Chunk) -> bytes:
        event = name(chunk.body)
        return _encode_plain(chunk) if event is None else b"event: %s\n%s" % (event.encode(), _encode_plain(chunk))

    return encode


def _rendering_encoder(format_: ChunkFormat) -> FrameEncoder:
    def encode(chunk: Chunk) -> bytes:
        data, event = format_.data(chunk.body), format_.event(chunk.body)
        return encode_event(data, event=event, cursor=chunk.cursor or None)

    return encode


@lru_cache(maxsize=64)
def frame_encoder(format_: ChunkFormat) -> FrameEncoder:
    """Return the encoder of a format's chunks; always the same one for the same format."""
    if type(format_).data is not ChunkFormat.data:
        return _guarded(_rendering_encoder(format_), format_.name)
    is_plain = type(format_).event is ChunkFormat.event
    return _encode_plain if is_plain else _guarded(_named_encoder(format_.event), format_.name)


def _guarded(encode: FrameEncoder, name: str) -> FrameEncoder:
    """Give nothing for a chunk at which the format raises: another program's record must not end anybody's reading."""

    def encode_or_skip(chunk: Chunk) -> bytes:
        text = "format cannot show a stored chunk format=%s cursor=%d"
        return survive(lambda: encode(chunk), b"", logger, text, name, chunk.cursor)

    return encode_or_skip


def blocks(frames: Sequence[Frame], encoder: FrameEncoder) -> Iterable[bytes]:
    """Join the frames' bytes into blocks of up to 64 KiB: one send each rather than one for each frame."""
    if len(frames) == 1:
        data = frames[0].encoded(encoder) if isinstance(frames[0].entry, Chunk) else b""
        return (data,) if data else ()
    return _joined(frames, encoder)


def _joined(frames: Sequence[Frame], encoder: FrameEncoder) -> Iterator[bytes]:
    block: list[bytes] = []
    size = 0
    for frame in frames:
        if not isinstance(frame.entry, Chunk):
            continue
        data = frame.encoded(encoder)
        size += len(data)
        if size > MAX_BLOCK_BYTES and block:
            yield b"".join(block)
            block, size = [], len(data)
        block.append(data)
    if block:
        yield block[0] if len(block) == 1 else b"".join(block)


SSE = Wire(
    content_type=CONTENT_TYPE,
    prologue=PROLOGUE,
    keep_alive=KEEP_ALIVE,
    frame_encoder=frame_encoder,
    encode_event=encode_event,
)
