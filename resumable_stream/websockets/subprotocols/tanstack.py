"""The protocol of TanStack AI's ``webSocket()`` (``connection-adapters.ts`` of the package ``@tanstack/ai-client``).

A conversation's socket takes ``RunAgentInput`` and gives the chunks of one run after the other. A run that is joined,
or gone on with, has a socket of its own, whose URL says all; it is closed with 1000 where the run ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...exceptions import InvalidRequestError
from ...protocol.layout import Chunk
from ...readers.frames import Frame
from ...validation import parse_chat_id, parse_offset, parse_run_id
from .base import (
    FORBIDDEN,
    SHUTDOWN,
    UNAVAILABLE,
    Command,
    Failure,
    FrameRefusedError,
    SocketDialect,
    Start,
    Stop,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
    json_of,
)

CLOSE_DONE = 1000
CLOSE_REFUSED = 1008
CLOSE_SHUTDOWN = 1012
PING = '{"type":"ping"}'


class TanStackDialect(SocketDialect):
    """See the module."""

    formats = frozenset({"tanstack"})

    def __init__(self) -> None:
        self._is_joined = False
        """Whether this socket is there for one run."""
        self._chats: dict[str, str] = {}
        """Of the runs that were started here."""
        self._generations: dict[str, str] = {}
        """Of those that have begun."""

    def opening(self, query: Mapping[str, str]) -> Sequence[Command]:
        """Join the run that the URL names, unless the socket is there to start runs."""
        if "offset" not in query:
            return ()
        self._is_joined = True
        try:
            run_id = parse_run_id(query.get("runId"))
            if run_id is None:
                raise InvalidRequestError("Say the 'runId' of the run to join.")
            named = query.get("id") or query.get("threadId")
            chat_id = parse_chat_id(named) if named else ""
            cursor = parse_offset(query["offset"])
        except InvalidRequestError as error:
            raise FrameRefusedError(str(error)) from error
        return [Subscribe(key=run_id, chat_id=chat_id, run_id=run_id, cursor=cursor)]

    def read(self, frame: dict[str, Any]) -> Command:
        """Understand a ``RunAgentInput``, or an abort."""
        key = None
        try:
            key = parse_run_id(frame.get("runId"))
            if self._is_joined or key is None:
                raise InvalidRequestError("Send runs, with a 'runId' each, on a socket without an 'offset'.")
            if frame.get("type") == "abort":
                return self._abort(key)
            self._chats[key] = parse_chat_id(frame.get("threadId"))
        except InvalidRequestError as error:
            raise FrameRefusedError(str(error), key=key) from error
        return Start(key=key, chat_id=self._chats[key], body=frame, idempotency_key=key)

    def _abort(self, key: str) -> Command:
        generation_id = self._generations.get(key)
        if generation_id is None:
            # Nothing else may be stopped: of what has not begun, the start itself is taken back.
            return Unsubscribe(key=key, stops_start=True)
        return Stop(key=key, chat_id=self._chats[key], generation_id=generation_id)

    def chunk(self, key: str, frame: Frame) -> str:
        """Say a chunk with its cursor; the text is the same for every socket."""
        return frame.encoded(_encode)

    def started(self, key: str, generation_id: str, cursor: int) -> None:
        """Keep in mind what an abort is to stop."""
        self._generations[key] = generation_id

    def ended(self, key: str, end: SubscriptionEnd, *, is_last: bool) -> str | None:
        """Say nothing more: how a run has ended stands in its last chunk, unless it was not this client's to read."""
        if not is_last:
            return None
        self._forget(key)
        return _error(key, end.text) if end.reason in (FORBIDDEN, UNAVAILABLE) and not self._is_joined else None

    def failed(self, key: str | None, failure: Failure) -> str | None:
        """Say that a run has failed, for this client; what is tried again is not spoken of."""
        if key is None or failure.retry_seconds is not None or self._is_joined:
            return None
        if key not in self._generations:
            # A repetition may be refused while the run itself goes on, and an abort must still find that.
            self._forget(key)
        return _error(key, failure.text)

    def keep_alive(self) -> str:
        """Show that the connection lives."""
        return PING

    def close_code(self, key: str, end: SubscriptionEnd) -> int | None:
        """Close a socket that was there for the run."""
        if not self._is_joined:
            return None
        if end.reason == FORBIDDEN:
            return CLOSE_REFUSED
        return CLOSE_SHUTDOWN if end.reason in (SHUTDOWN, UNAVAILABLE) else CLOSE_DONE

    def refusal_code(self, key: str | None) -> int | None:
        """Close a socket whose run is not to be had; the client takes that for the answer."""
        return CLOSE_REFUSED if self._is_joined else None

    def _forget(self, key: str) -> None:
        self._chats.pop(key, None)
        self._generations.pop(key, None)


def _encode(chunk: Chunk) -> str:
    body = json_of(chunk)
    return f'{{"id":"{chunk.cursor}","chunk":{body}}}' if body and chunk.cursor else body


def _error(key: str, text: str) -> str:
    return json.dumps({"type": "RUN_ERROR", "runId": key, "message": text}, separators=(",", ":"))
