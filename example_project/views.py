"""The example chat: ``DemoChat`` is all that resuming needs; the other views make a page of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import asdict
from typing import cast

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from resumable_stream import ResumableChatView, Turn
from resumable_stream.backends import backends
from resumable_stream.chat.on_error import default_error_text
from resumable_stream.conf import settings as stream_settings
from resumable_stream.exceptions import RecordsTrimmedError, ResumableStreamError, StreamNotFoundError
from resumable_stream.http.responses import EventStreamResponse, error_response
from resumable_stream.limits import Place, releasing
from resumable_stream.protocol.describe import describe
from resumable_stream.protocol.layout import Decoder, UserMessage
from resumable_stream.records import SequencedRecord
from resumable_stream.runtime import runtime

from .demo_model import DemoModel, Item, message_text
from .openai_model import ModelServerError, OpenAIModel

logger = logging.getLogger(__name__)

LOG_HISTORY = 400
"""Records that the log panel shows from before it was opened."""
LOG_TEXT_LENGTH = 200
"""Characters of a record that the log panel shows."""
MOST_CHATS = 50
"""Chats in the list, the newest first."""
TITLE_LENGTH = 80
MOST_DIGITS = 20

# Everything the page needs comes from this server, and what a model writes can at most be text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class DemoChat(ResumableChatView):
    """A chat whose answers survive reloads, cut connections and killed servers."""

    format = "aisdk"

    async def generate(self, turn: Turn) -> AsyncIterator[Item]:
        """Answer with the model that the settings name."""
        async with aclosing(chosen_model().answer(await turn.history())) as items:
            async for item in items:
                yield item

    def on_error(self, turn: Turn, error: Exception) -> str:
        """Tell people what is wrong with the model's server; keep everything else to the log."""
        return str(error) if isinstance(error, ModelServerError) else default_error_text(error)


def chosen_model() -> DemoModel | OpenAIModel:
    """Return the OpenAI-compatible server's model if one is configured, otherwise the built-in demo."""
    if settings.OPENAI_BASE_URL or settings.OPENAI_API_KEY:
        return OpenAIModel(
            model=settings.OPENAI_MODEL, base_url=settings.OPENAI_BASE_URL, api_key=settings.OPENAI_API_KEY
        )
    return DemoModel(settings.DEMO_PAGES, word_seconds=settings.DEMO_WORD_SECONDS)


async def _stream_name(request: HttpRequest, chat_id: str) -> str:
    """Name the visitor's own stream: whatever id is asked for, it leads to nobody else's."""
    return await cast("Awaitable[str]", DemoChat().get_stream_name(request, chat_id))


@require_safe
async def page(request: HttpRequest, chat_id: str = "") -> HttpResponse:
    """Show the page, at the chat with this id or at a new one."""
    model = settings.OPENAI_MODEL if isinstance(chosen_model(), OpenAIModel) else ""
    response = render(request, "example_project/chat.html", {"chat_id": chat_id, "model": model})
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@require_safe
async def chats(request: HttpRequest) -> JsonResponse:
    """List the visitor's chats, the newest first, as the log knows them."""
    name = await _stream_name(request, "any")
    prefix = name[: name.rindex("/") + 1]
    listing = await backends["default"].list_streams(prefix)
    newest = sorted(listing.streams, key=lambda stream: stream.created_at, reverse=True)[:MOST_CHATS]
    titles = await asyncio.gather(*(_title(stream.name) for stream in newest))
    rows = [
        {"id": stream.name.removeprefix(prefix), "title": title, "created": stream.created_at}
        for stream, title in zip(newest, titles, strict=True)
    ]
    return JsonResponse({"chats": rows})


async def _title(stream_name: str) -> str:
    """Read a chat's first user message; it stands among the first records of its stream."""
    try:
        batch = await backends["default"].read(stream_name, 0, limit=10)
    except (StreamNotFoundError, RecordsTrimmedError):
        return ""
    entries = Decoder(0).feed(batch.records)
    messages = (entry.message for entry in entries if isinstance(entry, UserMessage))
    return " ".join(message_text(next(messages, {})).split())[:TITLE_LENGTH]


@require_safe
async def log(request: HttpRequest, chat_id: str) -> HttpResponseBase:
    """Stream the raw records of the visitor's chat as server-sent events; 204 while there is no such chat.

    Its readers count as those of the chat do, and need the same right. The body ends when that right is to be checked
    again: the page goes on at its cursor, with another request.
    """
    chat = DemoChat()
    try:
        stream_name = await chat.find_stream(request, chat_id, "read")
        place = runtime().reader_place(await chat.limit_key_of(request))
        with releasing(place):
            start = await _log_start(stream_name, request.headers.get("Last-Event-ID", ""))
    except StreamNotFoundError:
        return HttpResponse(status=204)
    except ResumableStreamError as error:
        return error_response(error)
    return EventStreamResponse(
        _log_frames(stream_name, start, place),
        place,
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "private, no-store, no-transform",
            # Both keep what lies between from collecting frames: nginx, and Django's own GZipMiddleware.
            "X-Accel-Buffering": "no",
            "Content-Encoding": "identity",
        },
    )


async def _log_start(stream_name: str, cursor: str) -> int:
    tail = await backends["default"].tail(stream_name, last=LOG_HISTORY)
    first = tail.records[0].seq_num if tail.records else tail.seq_num
    # A cursor outside of what is kept means another log, or a long absence: then all that is kept is shown.
    is_position = cursor.isdecimal() and len(cursor) < MOST_DIGITS
    return int(cursor) if is_position and first <= int(cursor) <= tail.seq_num else first


async def _log_frames(stream_name: str, start: int, place: Place) -> AsyncGenerator[bytes, None]:
    ends_at = asyncio.get_running_loop().time() + stream_settings.reauthorize_seconds
    try:
        yield b": the records of one stream\n\n"
        async with aclosing(backends["default"].follow(stream_name, start)) as batches:
            while True:
                async with asyncio.timeout_at(ends_at):
                    batch = await anext(batches)
                if text := "".join(_log_frame(record) for record in batch.records):
                    yield text.encode()
    except TimeoutError:
        return
    except ResumableStreamError:
        # The page connects again by itself; an ended body tells it so on every server.
        logger.warning("The log panel lost the log. stream=%s", stream_name, exc_info=True)
    finally:
        place.release()


def _log_frame(record: SequencedRecord) -> str:
    described = asdict(describe(record))
    described["text"] = described["text"][:LOG_TEXT_LENGTH]
    return f"id: {record.seq_num + 1}\ndata: {json.dumps(described)}\n\n"
