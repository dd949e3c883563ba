"""The function API: resumable answers from any async view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ..conf import settings
from ..generations.arrivals import Arrival
from ..http.longpoll import long_poll
from ..http.responses import CURSOR_HEADER, GENERATION_HEADER, event_stream, json_response, nothing_left, plain
from ..http.sse import SSE, Wire
from ..limits import releasing
from ..readers.pages import Wanted
from ..readers.standing import Check
from ..runtime import runtime
from ..types import Delivery, Message
from .engine import ChatEngine
from .loading import ChatPage, Form, chat_as_json, load, read_page
from .start_request import Replaces, Start, StartRequest


class ResumableChat(ChatEngine):
    """A :class:`~resumable_stream.chat.engine.ChatEngine` that answers with responses.

    ::

        chat = ResumableChat(format="aisdk")

        async def post(request):
            body, owner = json.loads(request.body), await owner_of(request)
            return await chat.make_resumable(f"help/{owner}/{body['id']}", lambda: answer(body["messages"]))

        async def get(request, chat_id):
            return await chat.replay(f"help/{await owner_of(request)}/{chat_id}")

    The stream's name is the right to it: build it from who is asking.
    """

    async def make_resumable(
        self,
        stream_name: str,
        source: object,
        *,
        delivery: Delivery | None = None,
        check: Check | None = None,
        wire: Wire = SSE,
        generation_id: str | None = None,
        message_id: str | None = None,
        user_messages: Sequence[Message] = (),
        idempotency_key: str = "",
        run_id: str = "",
        owner: str = "",
        chat_id: str = "",
        actor: str = "",
        context: Any = None,
        replaces: Replaces | None = None,
    ) -> HttpResponseBase:
        """Start a generation and stream it, or with ``delivery="replay"`` answer 202 and let another request stream it.

        Without ``delivery`` the format's clients decide which of the two it is. The arguments from ``generation_id`` on
        are fields of :class:`~resumable_stream.chat.start_request.StartRequest`, which says what each of them means.
        The generation runs on when the client goes away.

        Raises what :meth:`~resumable_stream.chat.engine.ChatEngine.start_from` does.
        """
        request = StartRequest(
            source=source,
            generation_id=generation_id,
            message_id=message_id,
            user_messages=user_messages,
            idempotency_key=idempotency_key,
            run_id=run_id,
            owner=owner,
            chat_id=chat_id,
            actor=actor,
            context=context,
            replaces=replaces,
        )
        return await self.start_response(stream_name, request, delivery=delivery, check=check, wire=wire)

    async def start_response(
        self,
        stream_name: str,
        request: StartRequest,
        *,
        delivery: Delivery | None = None,
        check: Check | None = None,
        wire: Wire = SSE,
    ) -> HttpResponseBase:
        """Start what ``request`` asks for, and answer as :meth:`make_resumable` does."""
        if (delivery or self.default_delivery) == "replay":
            return _marked(plain(HTTPStatus.ACCEPTED), await self.start_from(stream_name, request))
        place = runtime().reader_place(request.owner)
        with releasing(place):
            previewed = replace(request, is_previewed=settings.deliver == "live")
            started = await self.start_from(stream_name, previewed)
        reader = self.reader(stream_name, started)
        return _marked(event_stream(reader, self.format, place, check=check, wire=wire), started)

    async def replay(
        self,
        stream_name: str,
        *,
        cursor: int | None = None,
        is_live: bool = False,
        resumes: bool = True,
        open_runs: Collection[str] = (),
        wait_seconds: float | None = None,
        owner: str = "",
        check: Check | None = None,
    ) -> HttpResponseBase:
        """Stream the running generation from its start, or the stream from ``cursor`` on; 204 if there is nothing.

        See :meth:`~resumable_stream.chat.engine.ChatEngine.locate` for what is read. With ``wait_seconds`` the
        answer is not a stream but a :func:`~resumable_stream.http.longpoll.long_poll`. ``owner`` is whose limit on
        readers counts.
        """
        place = runtime().reader_place(owner)
        with releasing(place):
            reader = await self.locate(stream_name, cursor, is_live=is_live, resumes=resumes, open_runs=open_runs)
        if reader is None:
            place.release()
            return nothing_left(self.format)
        if wait_seconds is not None:
            # The right to read was checked with the request, and holds no longer than it does for a stream.
            wait_seconds = min(wait_seconds, settings.reauthorize_seconds)
            return await long_poll(reader, place, wait_seconds=wait_seconds, is_live=is_live)
        response = event_stream(reader, self.format, place, check=check)
        if cursor is None and not reader.has_prelude:
            # Whose connection breaks before its first event has no other cursor to come back with.
            response.headers[CURSOR_HEADER] = str(reader.cursor)
        return response

    async def join(
        self,
        stream_name: str,
        run_id: str,
        *,
        cursor: int | None = None,
        owner: str = "",
        check: Check | None = None,
        wire: Wire = SSE,
    ) -> HttpResponseBase:
        """Stream the run ``run_id`` from its start, or from ``cursor`` on, to its end.

        Raises what :meth:`~resumable_stream.chat.engine.ChatEngine.reader_of_run` does.
        """
        place = runtime().reader_place(owner)
        with releasing(place):
            reader = await self.reader_of_run(stream_name, run_id, cursor)
        return event_stream(reader, self.format, place, check=check, wire=wire)

    async def load(
        self,
        stream_name: str,
        *,
        before: str | None = None,
        limit: int | None = None,
        owner: str = "",
        form: Form = chat_as_json,
    ) -> HttpResponse:
        """Answer with the chat's newest messages as JSON, or with those ``before`` the message of an id.

        These are at most ``limit`` messages and ``HISTORY_TURNS`` turns. ``page`` says whether there are older ones,
        and the ``before`` for them. Those who ask at the same time share one reading. ``owner`` is whose limit on
        readers counts.

        Raises:
            InvalidRequestError: The chat has no message ``before``.
            LimitExceededError: The owner has too many readers.
            ServerBusyError: This process has too many.
            BackendUnavailableError: The log cannot be reached.
        """
        place = runtime().reader_place(owner)
        with releasing(place):
            content = await load(self, stream_name, Wanted(before=before, limit=limit), form)
        return json_response(content, place)

    async def page(
        self, stream_name: str, *, before: str | None = None, limit: int | None = None, owner: str = ""
    ) -> ChatPage:
        """Read what :meth:`load` answers with, for a page that the server renders; raises as it does."""
        place = runtime().reader_place(owner)
        try:
            return await read_page(self, stream_name, Wanted(before=before, limit=limit))
        finally:
            place.release()

    async def stop(
        self, stream_name: str, generation_id: str | None = None, *, arrival: Arrival | None = None
    ) -> HttpResponse:
        """Stop what runs on the stream: 202, or 204 if nothing does.

        Raises:
            GenerationActiveError: Another generation than ``generation_id`` runs.
        """
        stopped = await self.end(stream_name, generation_id, arrival=arrival)
        if stopped is None:
            return plain(HTTPStatus.NO_CONTENT)
        return plain(HTTPStatus.ACCEPTED, generation_id=stopped)


def _marked(response: HttpResponseBase, started: Start) -> HttpResponseBase:
    """Say what was started, and from where it can be followed."""
    response.headers[GENERATION_HEADER] = started.generation_id
    response.headers[CURSOR_HEADER] = str(started.cursor)
    return response
