"""HTTP responses: event streams, and errors as people and clients can read them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..conf import settings
from ..error_texts import FORBIDDEN_TEXT, error_text
from ..exceptions import (
    AccessDeniedError,
    GenerationActiveError,
    ResumableStreamError,
)
from ..formats.base import ChunkFormat, GenerationFacts
from ..limits import Place
from ..protocol.layout import Ended, Entry
from ..readers.reader import Reader
from ..readers.standing import Check, Standing
from ..types import EndReason
from ..utils.log_once import survive
from ..utils.threads import release_thread
from .sse import CONTENT_TYPE, HEADERS, PROLOGUE, SSE, Wire, blocks, encode_event

logger = logging.getLogger(__name__)

GENERATION_HEADER = "X-Generation-Id"
CURSOR_HEADER = "X-Generation-Cursor"
"""Where the generation that a request has started is read from its beginning."""
RESUMABLE_HEADER = "X-Resumable-Stream-Id"
"""What assistant-ui's transport keeps to ask for the stream again: the chat's id."""


class EventStreamResponse(StreamingHttpResponse):
    """A response that gives its reader's place back when it is closed, even if its body was never begun."""

    def __init__(self, body: AsyncGenerator[bytes, None], place: Place, **kwargs: Any) -> None:
        super().__init__(body, **kwargs)
        self.body = body
        self.place = place

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Hand over the body itself, unless a middleware has wrapped it.

        Django's own two wrappers would be felt with every chunk, and when closed they leave the body to the garbage
        collector.
        """
        is_wrapped = self._iterator is not self.body  # type: ignore[attr-defined]
        return super().__aiter__() if is_wrapped else self.body

    def close(self) -> None:
        """Close the response; Django does so once it is sent or its client has gone."""
        super().close()
        self.place.release()


def event_stream(
    reader: Reader,
    format_: ChunkFormat,
    place: Place,
    *,
    check: Check | None = None,
    wire: Wire = SSE,
) -> EventStreamResponse:
    """Answer with what ``reader`` yields, as Server-Sent Events unless another ``wire`` is asked for.

    The body ends cleanly only after a terminal record (or where ``check`` says that access has ended); otherwise the
    connection is torn down, so that no client takes a torn answer for a whole one.
    """
    body = _body(reader, format_, place, check, wire)
    return EventStreamResponse(body, place, content_type=wire.content_type, headers={**HEADERS, **format_.headers})


async def _body(
    reader: Reader, format_: ChunkFormat, place: Place, check: Check | None, wire: Wire
) -> AsyncGenerator[bytes, None]:
    encoder = wire.frame_encoder(format_)
    clock = asyncio.get_running_loop().time
    check_at = clock() + settings.reauthorize_seconds
    last: Entry | None = None
    try:
        yield wire.prologue
        await release_thread()
        async with aclosing(reader.frames()) as batches:
            async for frames in batches:
                for block in blocks(frames, encoder):
                    yield block
                if frames:
                    last = frames[-1].entry
                else:
                    yield wire.keep_alive
                del frames  # Not to be held while waiting for the next.
                if check is not None and clock() >= check_at:
                    if not await _is_allowed(check, reader):
                        logger.warning("reader refused: its access has ended cursor=%s", reader.cursor)
                        yield _forbidden(format_, reader.cursor, wire)
                        return
                    check_at = clock() + settings.reauthorize_seconds
        if end := _end(format_, last, wire):
            yield end
    except ResumableStreamError as error:
        logger.warning("reader cut off cursor=%s error=%s", reader.cursor, error)
        # Django takes a cancelled body for a client that has gone, and leaves it unfinished: the server then drops the
        # connection. Another exception would do the same, with a traceback for every reader at every deploy.
        raise asyncio.CancelledError from error
    finally:
        place.release()


async def _is_allowed(check: Check, reader: Reader) -> bool:
    try:
        standing = await check()
    except ResumableStreamError:
        raise
    except Exception as error:  # an app's hook: who cannot be asked about is not trusted, but may come again
        logger.exception("reader cut off: its right to read could not be checked")
        raise asyncio.CancelledError from error
    finally:
        # Also for a reader that goes now: nothing else will close what the check has opened.
        await release_thread()
    if standing is Standing.RECONNECT or (standing is Standing.RENEWED and reader.is_live):
        logger.info("reader sent to come again: its session is another one now cursor=%s", reader.cursor)
        raise asyncio.CancelledError
    return standing not in (False, Standing.ENDED)


def _end(format_: ChunkFormat, last: Entry | None, wire: Wire) -> bytes:
    if not isinstance(last, Ended):
        return b""
    facts = last.facts
    make = format_.end_event
    event = survive(
        lambda: make(facts.reason, facts.text or None, facts.cause), None, logger, "no end event %s", format_.name
    )
    return b"" if event is None else wire.encode_event(event[1], event=event[0], cursor=last.cursor)


def _forbidden(format_: ChunkFormat, cursor: int, wire: Wire) -> bytes:
    """Tell a reader whose access has ended, in a way that makes its client stop."""
    event = format_.end_event(EndReason.FAILED, FORBIDDEN_TEXT)
    if event is not None:
        return wire.encode_event(event[1], event=event[0], cursor=cursor)
    encoder = format_.encoder(GenerationFacts(generation_id="", message_id=""))
    words = encoder.fail(FORBIDDEN_TEXT)[-1:]
    return b"".join(wire.encode_event(word, event=format_.event(word), cursor=cursor) for word in words)


class PlacedResponse(HttpResponse):
    """A response that gives its reader's place back when it is closed."""

    def __init__(self, content: bytes, place: Place, **kwargs: Any) -> None:
        super().__init__(content, **kwargs)
        self.place = place

    def close(self) -> None:
        """Close the response; Django does so once it is sent or its client has gone."""
        super().close()
        self.place.release()


def json_response(content: bytes, place: Place) -> PlacedResponse:
    """Answer with encoded JSON; caches keep none of it."""
    return PlacedResponse(content, place, content_type="application/json", headers={"Cache-Control": "no-store"})


def plain(status: int, text: str = "", *, generation_id: str | None = None) -> HttpResponse:
    """Answer with a line of text, which clients show to people, or with nothing."""
    response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    if generation_id:
        response.headers[GENERATION_HEADER] = generation_id
    return response


def nothing_left(format_: ChunkFormat) -> HttpResponse:
    """Tell a reader that nothing runs and that it has it all."""
    event = format_.nothing_left()
    if event is None:
        return plain(HTTPStatus.NO_CONTENT)
    return _short_stream(PROLOGUE + encode_event(event[1], event=event[0]))


def may_pass(error: ResumableStreamError) -> bool:
    """Tell whether the same request may well succeed in a moment."""
    return error.status_code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


def come_again(error: ResumableStreamError) -> HttpResponse:
    """Have an ``EventSource`` ask again in a moment: an error status would close it for good."""
    logger.warning("reader is told to come again status=%s error=%s", error.status_code, error)
    return _short_stream(b"retry: %d\n\n" % (1000 * _retry_after(error)))


def _short_stream(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type=CONTENT_TYPE, headers=HEADERS)


def error_response(error: ResumableStreamError) -> HttpResponseBase:
    """Translate an error: a client's own says what to do, ours says nothing of our insides and is logged here."""
    if isinstance(error, AccessDeniedError) and error.response is not None:
        return error.response
    response = plain(error.status_code, error_text(error))
    if isinstance(error, AccessDeniedError):
        for name, value in error.headers.items():
            response.headers[name] = value
    if isinstance(error, GenerationActiveError) and error.generation_id:
        response.headers[GENERATION_HEADER] = error.generation_id
    if may_pass(error) or (isinstance(error, GenerationActiveError) and error.retry_after):
        response.headers["Retry-After"] = str(_retry_after(error))
    return response


def _retry_after(error: ResumableStreamError) -> int:
    retry_after: int = getattr(error, "retry_after", 2)
    return retry_after
