"""The protocol of the AI SDK's ``WebSocketChatTransport`` (``websocket-chat-transport.ts`` of the package ``ai``, 7).

Requests have ids; the chunks of each are numbered from 0 without holes. An abort only detaches: the transport has no
word for stopping. It takes any frame that it does not know for a broken connection, so nothing else is ever said.
"""

from __future__ import annotations

import json
from typing import Any

from ...exceptions import InvalidRequestError
from ...readers.frames import Frame
from ...validation import check_idempotency_key, parse_chat_id
from .base import (
    FORBIDDEN,
    NOTHING,
    SHUTDOWN,
    UNAVAILABLE,
    Command,
    Failure,
    FrameRefusedError,
    SocketDialect,
    Start,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
    json_of,
)

_REQUEST_ID_CHARACTERS = 256


class AISDKDialect(SocketDialect):
    """See the module."""

    subprotocol = "ai-sdk-chat"
    formats = frozenset({"aisdk"})

    def __init__(self) -> None:
        self._sequences: dict[str, int] = {}
        """Number of each request's next chunk."""

    def read(self, frame: dict[str, Any]) -> Command:
        """Understand a request frame."""
        key = frame.get("requestId")
        if not isinstance(key, str) or len(key) > _REQUEST_ID_CHARACTERS:
            raise FrameRefusedError(f"'requestId' must be a string of up to {_REQUEST_ID_CHARACTERS} characters.")
        try:
            return _read(key, frame)
        except InvalidRequestError as error:
            raise FrameRefusedError(str(error), key=key) from error

    def chunk(self, key: str, frame: Frame) -> str:
        """Say a chunk under the next number of its request."""
        body = frame.encoded(json_of)
        if not body:
            return ""
        sequence = self._sequences.get(key, 0)
        self._sequences[key] = sequence + 1
        return f'{{"type":"chunk","requestId":{json.dumps(key)},"sequence":{sequence},"chunk":{body}}}'

    def subscribed(self, key: str, cursor: int | None) -> str | None:
        """Say that chunks will come; where there are none, the end says so."""
        return _text("start", key) if cursor is not None else None

    def unsubscribed(self, key: str) -> None:
        """Forget a request that the client no longer listens to."""
        self._sequences.pop(key, None)

    def started(self, key: str, generation_id: str, cursor: int) -> str:
        """Say that chunks will come."""
        return _text("start", key)

    def ended(self, key: str, end: SubscriptionEnd, *, is_last: bool) -> str | None:
        """Say that a request is done. How the answer ended stands in its last chunks."""
        self._sequences.pop(key, None)
        if end.reason == NOTHING:
            return _text("no-active", key)
        if end.reason in (FORBIDDEN, UNAVAILABLE):
            return _text("error", key, errorText=end.text)
        # The socket is about to be closed. To the client that is a network error, from which it can resume.
        return None if end.reason == SHUTDOWN else _text("end", key)

    def failed(self, key: str | None, failure: Failure) -> str | None:
        """Say that a request has failed; what is tried again is not spoken of."""
        if failure.retry_seconds is not None:
            return None
        # Without a request's id the client would give up the socket, with all that goes on there.
        return _text("error", key, errorText=failure.text) if key is not None else None


def _text(kind: str, key: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "requestId": key, **fields}, separators=(",", ":"))


def _read(key: str, frame: dict[str, Any]) -> Command:
    kind = frame.get("type")
    if kind == "abort":
        return Unsubscribe(key=key)
    if kind not in ("send", "resume"):
        raise InvalidRequestError("'type' must be one of send, resume, abort.")
    chat_id = parse_chat_id(frame.get("id"))
    if kind == "resume":
        # From the beginning: the client makes the message anew.
        return Subscribe(key=key, chat_id=chat_id, resumes=True)
    body = frame.get("body", {})
    if not isinstance(body, dict):
        raise InvalidRequestError("'body' must be an object.")
    # What the same client's DefaultChatTransport would POST.
    names = ("id", "messages", "trigger", "messageId")
    posted = {**body, **{name: frame[name] for name in names if name in frame}}
    return Start(key=key, chat_id=chat_id, body=posted, idempotency_key=_idempotency_key(frame.get("headers")))


def _idempotency_key(headers: object) -> str:
    if not isinstance(headers, dict):
        return ""
    named = [value for name, value in headers.items() if name.lower() == "idempotency-key" and isinstance(value, str)]
    return check_idempotency_key(named[0]) if named else ""
