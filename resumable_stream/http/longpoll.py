"""Long polling: one bounded JSON answer at a time, for clients that no stream reaches.

Proxies exist that hold a response back until it is whole. Each answer here is whole: what the log has for the reader,
or else what comes within the time it wants to wait::

    {"events": [{"id": 17, "chunk": ...}, ...], "cursor": 17, "end": null}

The next request begins at ``cursor``. An answer stops at the end of a generation, and ``end`` then says how it ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Any

from django.http import HttpResponse

from ..exceptions import ResumableStreamError
from ..formats.javascript import DECODER as STRICT_JSON
from ..limits import Place
from ..protocol.layout import Chunk, Ended, EndFacts
from ..readers.frames import Frame
from ..readers.reader import Reader
from ..utils.threads import release_thread

MAX_ANSWER_BYTES = 256 * 1024
"""What one answer may hold. A single chunk that is larger makes an answer of its own."""
GATHER_SECONDS = 0.05
"""How long an answer waits for what follows its first chunk: otherwise every chunk would cost a request."""


async def long_poll(reader: Reader, place: Place, *, wait_seconds: float, is_live: bool = False) -> HttpResponse:
    """Answer with what ``reader`` has, or with what comes within ``wait_seconds``; with nothing if nothing does.

    The reader's place is given back with the answer, and at once if the client goes away.

    Raises:
        ResumableStreamError: What :meth:`Reader.frames` raises, if there is nothing to answer yet.
    """
    answer = _Answer(reader, is_live=is_live)
    try:
        await _gather(answer, reader, wait_seconds)
    except ResumableStreamError:
        # What is there goes out. The next request will meet the error by itself, if it lasts.
        if not answer.has_news:
            raise
    finally:
        place.release()
    return answer.response()


async def _gather(answer: _Answer, reader: Reader, wait_seconds: float) -> None:
    while not answer.is_full and (frames := await reader.available()):
        answer.take(frames)
    if wait_seconds and not answer.has_news:
        await release_thread()
        await _wait(answer, reader, wait_seconds)


async def _wait(answer: _Answer, reader: Reader, wait_seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_seconds) as limit, aclosing(reader.frames()) as batches:
            async for frames in batches:
                had_news = answer.has_news
                answer.take(frames)
                if answer.is_full:
                    return
                if answer.has_news and not had_news:
                    limit.reschedule(asyncio.get_running_loop().time() + GATHER_SECONDS)


class _Answer:
    """What goes out: events, and how far a client that has them has come."""

    def __init__(self, reader: Reader, *, is_live: bool) -> None:
        self.is_full = False
        self._reader = reader
        self._is_live = is_live
        self._events: list[bytes] = []
        self._bytes = 0
        self._cursor = reader.cursor
        """After what was taken; the reader may have come further."""
        self._end: EndFacts | None = None

    @property
    def has_news(self) -> bool:
        return bool(self._events) or self._end is not None

    def take(self, frames: Sequence[Frame]) -> None:
        """Take as many frames as there is room for, up to the end of a generation."""
        for frame in frames:
            entry = frame.entry
            if isinstance(entry, Chunk):
                if not self._take_event(frame.encoded(_encode), is_optional=entry.cursor > 0):
                    return
            elif isinstance(entry, Ended) and (self._is_live or (frame is frames[-1] and self._reader.has_ended)):
                self._end, self._cursor, self.is_full = entry.facts, entry.cursor, True
                return
            self._cursor = entry.cursor or self._cursor
        self._cursor = self._reader.cursor

    def _take_event(self, event: bytes, *, is_optional: bool) -> bool:
        """Add an event, or find that there is no room for it. What the log does not have cannot be left for later."""
        if is_optional and self._events and self._bytes + len(event) > MAX_ANSWER_BYTES:
            self.is_full = True
            return False
        if event:
            self._events.append(event)
            self._bytes += len(event)
        return True

    def response(self) -> HttpResponse:
        # What gave no event, such as heartbeats, need not be read again.
        cursor = self._cursor if self.is_full else self._reader.cursor
        end = json.dumps(_describe(self._end)).encode()
        content = b'{"events":[%s],"cursor":%d,"end":%s}' % (b",".join(self._events), cursor, end)
        return HttpResponse(content, content_type="application/json", headers={"Cache-Control": "no-store"})


def _describe(end: EndFacts | None) -> dict[str, Any] | None:
    if end is None:
        return None
    facts = {"reason": end.reason.value, "generation": end.generation_id, "error": end.text, "cause": end.cause}
    return {name: value for name, value in facts.items() if value}


def _encode(chunk: Chunk) -> bytes:
    """Encode an event; nothing of a chunk that another program wrote and that is no JSON: it would spoil the answer."""
    try:
        STRICT_JSON.decode(chunk.body)
    except (ValueError, RecursionError):
        return b""
    body = chunk.body.encode()
    return b'{"id":%d,"chunk":%s}' % (chunk.cursor, body) if chunk.cursor else b'{"chunk":%s}' % body
