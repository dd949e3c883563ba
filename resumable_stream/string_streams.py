"""The generic resumer: any stream of strings, written once and read by anybody, from any process.

::

    streams = ResumableStreamContext()

    class Story(ResumableStreamMixin, View):
        async def post(self, request, stream_id):
            return self.stream_response(await streams.resumable_stream(stream_id, lambda: tell_a_story()))

        async def get(self, request, stream_id):
            return self.stream_response(await streams.resume_stream(stream_id))

A :class:`StringStream` that comes to its end is whole. One whose source was stopped, failed or died raises
:exc:`~resumable_stream.exceptions.IncompleteStreamError` after the last string, so that nobody takes a torn text for
the whole one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .asgi import require_asgi, require_framing
from .chat.engine import ChatEngine
from .chat.on_end import OnEnd
from .chat.start_request import Start
from .conf import settings
from .exceptions import (
    GenerationActiveError,
    IncompleteStreamError,
    InvalidRecordError,
    InvalidRequestError,
    ResumableStreamError,
)
from .http.async_views import AsyncViewMixin
from .http.responses import EventStreamResponse, error_response, plain
from .http.sse import CONTENT_TYPE, HEADERS, KEEP_ALIVE
from .limits import Place
from .protocol.head import Head
from .protocol.layout import Chunk, Ended
from .readers.frames import Frame
from .readers.reader import Reader
from .records import validate_stream_name
from .runtime import runtime
from .types import EndReason
from .utils.threads import release_thread

logger = logging.getLogger(__name__)

DONE_TEXT = "Stream is already done"
_FIRST_BYTES = b": stream\n\n"
_EVENT_ENDS = ("\n\n", "\r\n\r\n", "\r\r")

OnStreamError = Callable[[str, Exception], Awaitable[str] | str]


class StringStream(AsyncIterator[str]):
    """The strings of one stream, as they were yielded; ends where the source came to its end.

    Iterating raises:
        IncompleteStreamError: After the last string, if the source was stopped, has failed, or its process died.
        RecordsTrimmedError: The beginning is gone.
        BackendUnavailableError: The log has been out of reach for a minute.
        ShuttingDownError: This process is about to end.

    Close it (``aclosing``) when leaving it early. That ends this reader, never the source.
    """

    def __init__(self, reader: Reader, *, skip_characters: int = 0) -> None:
        self._batches = _read(reader, skip_characters)
        self._ready: deque[str] = deque()

    async def __anext__(self) -> str:
        while not self._ready:
            self._ready.extend(await anext(self._batches))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Let go of the stream."""
        await self._batches.aclose()

    async def batches(self) -> AsyncGenerator[list[str], None]:
        """Yield what comes in batches instead, an empty one where nothing came for the keep-alive time."""
        async with aclosing(self._batches):
            if self._ready:
                ready = list(self._ready)
                self._ready.clear()
                yield ready
            async for strings in self._batches:
                yield strings
                del strings  # Not to be held while waiting for the next.


async def _read(reader: Reader, skip: int) -> AsyncGenerator[list[str], None]:
    async with aclosing(reader.frames()) as batches:
        async for frames in batches:
            strings = [frame.entry.body for frame in frames if isinstance(frame.entry, Chunk)]
            if skip:
                strings, skip = _without_first(strings, skip)
            if strings or not frames:
                yield strings
            _require_whole(frames)
            del frames, strings  # Not to be held while waiting for the next.


def _require_whole(frames: list[Frame]) -> None:
    last = frames[-1].entry if frames else None
    if isinstance(last, Ended) and last.facts.reason is not EndReason.FINISHED:
        raise IncompleteStreamError(last.facts.reason, last.facts.text)


def _without_first(strings: list[str], count: int) -> tuple[list[str], int]:
    """Drop the first ``count`` UTF-16 code units; return what is left, and how many are still to be dropped."""
    for index, string in enumerate(strings):
        units = string.encode("utf-16-le")
        if count * 2 < len(units):
            # Half of a pair is of no use to anybody: a client that has it gets the whole again.
            at = count * 2 - 2 if count and 0xDC <= units[count * 2 + 1] <= 0xDF else count * 2
            return [units[at:].decode("utf-16-le"), *strings[index + 1 :]], 0
        count -= len(units) // 2
    return [], count


class ResumableStreamContext:
    """Makes streams of strings resumable.

    Args:
        backend: Alias of the log in the ``BACKENDS`` setting.
        prefix: What the streams' names on the log begin with, before the id. The default keeps ids, which mostly come
            from clients, out of the names of chats. With ``""`` the id is the name, as it is to a Node service that
            uses the npm package's own generic context on the same basin.
        on_error: ``(stream_id, error) -> str``: words a source's failure for people.
        on_end: ``(end)``: called once a stream's end is on the log, in the process that wrote it, with the whole
            text in ``end.message["content"]`` and the stream's id in ``end.begin.chat_id``.
    """

    def __init__(
        self,
        *,
        backend: str = "default",
        prefix: str = "stream/",
        on_error: OnStreamError | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        self._engine = ChatEngine(
            format="strings", mode="single-use", backend=backend, on_error=on_error, on_end=on_end
        )
        self._prefix = prefix

    async def resumable_stream(
        self, stream_id: str, make_stream: Callable[[], object], *, skip_characters: int = 0, owner: str = ""
    ) -> StringStream | None:
        """Begin the stream and read it, or read with the others; ``None`` if it is already over.

        Args:
            stream_id: Names the stream; each is for one source, ever.
            make_stream: Called once the stream is claimed, and only then: returns an async (or sync) iterator of
                strings, or a coroutine that gives one. It runs to its end whoever reads.
            skip_characters: For a caller who joins: how much of the text it has, counted as JavaScript does (UTF-16
                code units, ``text.length``).
            owner: Whose limit on running generations counts; ``""`` for none.

        Raises:
            InvalidRequestError: That can be no stream's id.
            LimitExceededError: The owner has too many running.
            ShuttingDownError: This process is about to end.
            BackendUnavailableError: The log cannot be reached; nothing has begun.
            AppendOutcomeUnknownError: It may have been claimed, but nobody will write it.
        """
        name = self._name(stream_id)
        _require_count(skip_characters)
        try:
            started = await self._engine.start(
                name,
                make_stream,
                owner=owner,
                chat_id=stream_id,
                context=stream_id,
                is_previewed=settings.deliver == "live",
            )
        except GenerationActiveError:
            head = await self._engine.head(name)
            if head is None or not head.is_running:
                return None
            return self._from_beginning(name, skip_characters, head)
        return StringStream(self._engine.reader(name, started))

    async def resume_stream(self, stream_id: str, *, skip_characters: int = 0) -> StringStream | None:
        """Read the stream from its beginning to its end, be it over or not; ``None`` if there is nothing to be read.

        ``skip_characters`` and what it raises are those of :meth:`resumable_stream`.
        """
        name = self._name(stream_id)
        _require_count(skip_characters)
        found = await self._engine.locate(name, 0)
        # Elsewhere than at the beginning where retention, or another program's trim, has taken that.
        if found is None or found.cursor > 0:
            return None
        return self._from_beginning(name, skip_characters)

    async def stop_stream(self, stream_id: str) -> bool:
        """Stop the source, in whatever process it runs; tell whether one ran. A stream that is idle stays as it is.

        In this process the source is cancelled at once; elsewhere its writer notices within a second.
        """
        return await self._engine.end(self._name(stream_id)) is not None

    def _from_beginning(self, name: str, skip_characters: int, head: Head | None = None) -> StringStream:
        # To the first end from there: what another program may have written after it is no part of the stream.
        beginning = Start(generation_id="", cursor=0, is_new=False, found=head)
        return StringStream(self._engine.reader(name, beginning), skip_characters=skip_characters)

    def _name(self, stream_id: str) -> str:
        name = f"{self._prefix}{stream_id}"
        try:
            validate_stream_name(name)
        except InvalidRecordError as error:
            raise InvalidRequestError(f"That can be no stream's id: {error}") from error
        return name


def _require_count(skip_characters: int) -> None:
    if skip_characters < 0:
        raise InvalidRequestError("The number of characters to skip must not be negative.")


class ResumableStreamMixin(AsyncViewMixin):
    """Turns streams into responses; goes before ``django.views.View``.

    A client that goes away ends its own reader; the source runs on. Errors of this app become responses, as in
    :class:`~resumable_stream.views.ResumableChatView`.
    """

    request: HttpRequest
    content_type = "text/plain; charset=utf-8"
    """Of the responses. With ``"text/event-stream"`` the strings must be the text of Server-Sent Events: an idle
    response then gets a comment wherever one event has ended and the next has not begun."""

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Serve the request; errors become responses here."""
        require_asgi(request)
        try:
            return cast(HttpResponseBase, await super().dispatch(request, *args, **kwargs))  # type: ignore[misc]
        except ResumableStreamError as error:
            return error_response(error)

    def stream_response(self, stream: StringStream | None, *, owner: str = "") -> HttpResponseBase:
        """Answer with the stream's text, or with 422 if there is none.

        The body ends cleanly where the stream is whole or was stopped. Where it failed or was interrupted the
        connection is torn down, so that no client takes a torn text for the whole one.

        Args:
            stream: What :meth:`ResumableStreamContext.resumable_stream` or its siblings returned.
            owner: Whose limit on open readers counts; ``""`` for none.
        """
        if stream is None:
            return plain(HTTPStatus.UNPROCESSABLE_ENTITY, DONE_TEXT)
        require_framing(self.request)
        place = runtime().reader_place(owner)
        is_events = self.content_type.startswith(CONTENT_TYPE)
        body = _body(stream, place, is_events=is_events)
        return EventStreamResponse(body, place, content_type=self.content_type, headers=HEADERS)


async def _body(stream: StringStream, place: Place, *, is_events: bool) -> AsyncGenerator[bytes, None]:
    """Encode the stream.

    Django takes a cancelled body for a client that has gone, and leaves it unfinished: the server then drops the
    connection, as it must where a text is not whole.
    """
    is_between_events = is_events
    try:
        if is_events:
            yield _FIRST_BYTES
        await release_thread()
        async with aclosing(stream.batches()) as batches:
            async for strings in batches:
                if strings:
                    text = "".join(strings)
                    is_between_events = is_events and text.endswith(_EVENT_ENDS)
                    yield text.encode()
                    del text
                elif is_between_events:
                    yield KEEP_ALIVE
                del strings
    except IncompleteStreamError as error:
        if error.reason is not EndReason.STOPPED:
            raise asyncio.CancelledError from error
    except ResumableStreamError as error:
        logger.warning("reader cut off error=%s", error)
        raise asyncio.CancelledError from error
    finally:
        place.release()
