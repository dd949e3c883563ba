"""Our own dialect: many streams on one socket, each with its cursor.

==================================================  ================================================================
client says                                         server says
==================================================  ================================================================
``subscribe`` stream, from?, live?                  ``subscribed`` stream, from; then ``chunk``, ``caught_up``, ``end``
``unsubscribe`` stream                              ``unsubscribed`` stream
``start`` stream, body, key?                        ``started`` stream, generation, from; then as for ``subscribe``
``stop`` stream, generation?                        ``stopping`` stream, generation
``ping``                                            ``pong``
==================================================  ================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from ...exceptions import InvalidRequestError
from ...protocol.layout import Chunk
from ...readers.frames import Frame
from ...validation import MAX_CURSOR, check_idempotency_key, parse_chat_id, parse_generation_id
from .base import (
    RECONNECT_AFTER,
    Command,
    Failure,
    FrameRefusedError,
    Ping,
    SocketDialect,
    Start,
    Stop,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
    json_of,
)

PONG = '{"type":"pong"}'


class StreamDialect(SocketDialect):
    """See the module."""

    subprotocol = "resumable-stream.v1"

    def __init__(self) -> None:
        self._encoders: dict[str, _ChunkEncoder] = {}

    def read(self, frame: dict[str, Any]) -> Command:
        """Understand a frame by its ``type``."""
        kind = frame.get("type")
        if kind == "ping":
            return Ping()
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        stream = frame.get("stream")
        if reader is None:
            known = ", ".join([*_READERS, "ping"])
            raise FrameRefusedError(f"'type' must be one of {known}.", key=_named(stream))
        try:
            return reader(parse_chat_id(stream, "stream"), frame)
        except InvalidRequestError as error:
            raise FrameRefusedError(str(error), key=_named(stream)) from error

    def chunk(self, key: str, frame: Frame) -> str:
        """Say a chunk, in the same words on every socket."""
        encoder = self._encoders.get(key)
        if encoder is None:
            encoder = self._encoders[key] = _shared_encoder(key)
        return frame.encoded(encoder)

    def subscribed(self, key: str, cursor: int | None) -> str:
        """Say where chunks will come from."""
        return _text("subscribed", stream=key, **{"from": cursor})

    def unsubscribed(self, key: str) -> str:
        """Say that nothing more comes."""
        self._encoders.pop(key, None)
        return _text("unsubscribed", stream=key)

    def started(self, key: str, generation_id: str, cursor: int) -> str:
        """Say which generation was started or found."""
        return _text("started", stream=key, generation=generation_id, **{"from": cursor})

    def stopping(self, key: str, generation_id: str | None) -> str:
        """Say what was stopped."""
        return _text("stopping", stream=key, generation=generation_id)

    def caught_up(self, key: str, cursor: int) -> str:
        """Say that all that was on the log has been sent."""
        return _text("caught_up", stream=key, id=cursor)

    def ended(self, key: str, end: SubscriptionEnd, *, is_last: bool) -> str:
        """Say why, and whether to come again."""
        if is_last:
            self._encoders.pop(key, None)
        optional = {"generation": end.generation_id, "error": end.text, "cause": end.cause}
        fields = {"id": end.cursor, "reason": end.reason, "reconnect": end.reason in RECONNECT_AFTER}
        return _text("end", stream=key, **fields, **{name: value for name, value in optional.items() if value})

    def failed(self, key: str | None, failure: Failure) -> str:
        """Say what went wrong."""
        optional = {"stream": key, "retry": failure.retry_seconds, "generation": failure.generation_id}
        given = {name: value for name, value in optional.items() if value is not None}
        return _text("error", **given, status=failure.status, error=failure.text)

    def pong(self) -> str:
        """Answer a ping."""
        return PONG

    def keep_alive(self) -> str:
        """Show that the connection lives: a pong nobody has asked for."""
        return PONG


def _text(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def _named(stream: object) -> str | None:
    """Return what an answer may name as its stream: what the client sent, unless it is out of all bounds."""
    return stream if isinstance(stream, str) and len(stream) <= 128 else None


def _subscribe(stream: str, frame: dict[str, Any]) -> Subscribe:
    cursor, is_live = frame.get("from"), frame.get("live", False)
    if cursor is not None and not (type(cursor) is int and 0 <= cursor <= MAX_CURSOR):
        raise InvalidRequestError("'from' must be a cursor: the number that came as the id of a chunk.")
    if not isinstance(is_live, bool):
        raise InvalidRequestError("'live' must be true or false.")
    return Subscribe(key=stream, chat_id=stream, cursor=cursor, is_live=is_live)


def _unsubscribe(stream: str, _: dict[str, Any]) -> Unsubscribe:
    return Unsubscribe(key=stream)


def _start(stream: str, frame: dict[str, Any]) -> Start:
    body, key = frame.get("body"), frame.get("key")
    if not isinstance(body, dict):
        raise InvalidRequestError("'body' must be an object: what one would POST to start an answer.")
    if body.get("id", stream) != stream:
        raise InvalidRequestError("'body' is of another chat than 'stream' names.")
    if key is not None and not isinstance(key, str):
        raise InvalidRequestError("'key' must be a string.")
    return Start(
        key=stream, chat_id=stream, body={**body, "id": stream}, idempotency_key=check_idempotency_key(key or "")
    )


def _stop(stream: str, frame: dict[str, Any]) -> Stop:
    return Stop(key=stream, chat_id=stream, generation_id=parse_generation_id(frame.get("generation")))


_READERS: dict[str, Callable[[str, dict[str, Any]], Command]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "start": _start,
    "stop": _stop,
}


class _ChunkEncoder:
    """Encodes the chunks of one stream; the same object for all sockets, so that frames are encoded once."""

    __slots__ = ("__weakref__", "_lead")

    def __init__(self, stream: str) -> None:
        self._lead = f'{{"type":"chunk","stream":{json.dumps(stream)},'

    def __call__(self, chunk: Chunk) -> str:
        body = json_of(chunk)
        if not body:
            return ""
        # A chunk that only rebuilds what the client starts from has no place on the log, and no id.
        place = f'"id":{chunk.cursor},' if chunk.cursor else ""
        return f'{self._lead}{place}"chunk":{body}}}'


_shared: WeakValueDictionary[str, _ChunkEncoder] = WeakValueDictionary()


def _shared_encoder(stream: str) -> _ChunkEncoder:
    encoder = _shared.get(stream)
    if encoder is None:
        encoder = _shared[stream] = _ChunkEncoder(stream)
    return encoder
