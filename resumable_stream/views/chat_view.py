"""The HTTP doors: start, follow, stop and read back a chat."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Collection
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.utils.module_loading import import_string
from django.views import View

from ..asgi import require_asgi, require_framing
from ..chat.loading import chat_as_json
from ..conf import SETTING_NAME, settings
from ..exceptions import AccessDeniedError, ResumableStreamError
from ..formats.base import ChatRequest
from ..generations.arrivals import Arrival
from ..http.async_views import AsyncViewMixin, enter
from ..http.requests import parse_cursor, parse_flag, parse_idempotency_key, parse_open_runs, parse_wait, wants_events
from ..http.responses import RESUMABLE_HEADER, EventStreamResponse, come_again, error_response, may_pass
from ..runtime import runtime
from ..validation import parse_chat_id, parse_generation_id
from .forms import FormEndpoints
from .routes import require_boundary, routes
from .runs import RunEndpoints

_ADMITTED = HttpResponse(status=HTTPStatus.NO_CONTENT)
"""What a view answers that was only asked whether it would."""


class ResumableChatView(AsyncViewMixin, RunEndpoints, FormEndpoints, View):
    """Serves one kind of chat. Subclass it, write :meth:`generate`, and include :meth:`urls` in a URLconf.

    The hooks may be coroutines or plain functions; plain ones run in a thread, where they may use the ORM.
    """

    _asks_for_admission = False
    http_method_names = ["get", "post", "delete", "options"]  # noqa: RUF012 - an instance attribute to Django

    @classmethod
    def urls(cls, namespace: str | None = None) -> tuple[list[URLPattern], str]:
        """Return what ``include()`` takes: the chat's routes, to be mounted at a prefix like ``api/chat``.

        Their namespace is the view's name: ``reverse("support.SupportChat:stop", …)``. A project that mounts one view
        at several places gives each place a ``namespace`` of its own, because Django refuses to reverse one that
        occurs twice.
        """
        return routes(cls), namespace or cls.chat_name()

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Take GET on the prefix only from clients who have a use for it."""
        super().setup(request, *args, **kwargs)
        if self.action == "chat" and not self.names_runs:
            self.http_method_names = [name for name in self.http_method_names if name != "get"]

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Serve the request; errors become responses here, and only here."""
        if self._asks_for_admission:
            return _ADMITTED
        require_asgi(request)
        require_boundary(request, self.action, kwargs.get("chat_id"))
        try:
            return await cast("Awaitable[HttpResponseBase]", super().dispatch(request, *args, **kwargs))
        except ResumableStreamError as error:
            await self.tell_refused(request, self._action_of(request), error)
            is_read = self.chat.format.dialect.reads_with_event_source and wants_events(request)
            return come_again(error) if is_read and may_pass(error) else error_response(error)

    def _action_of(self, request: HttpRequest) -> str:
        """Name what a request is for, as ``limit`` and ``authorize`` do."""
        if self.action == "stop" or request.method == "DELETE":
            return "stop"
        return "start" if request.method == "POST" else "read"

    async def serve(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request that has not come by Django's handler: by :meth:`dispatch`, whatever stands before it."""
        dispatch = partial(self.dispatch, request, **self.kwargs)
        is_async = inspect.iscoroutinefunction(self.dispatch)
        try:
            response: HttpResponseBase = await enter(dispatch, request, is_async=is_async)
        except (PermissionDenied, Http404) as error:
            # A mixin's; Django's handler would make a page of it.
            is_hidden = isinstance(error, Http404)
            return error_response(AccessDeniedError(status=HTTPStatus.NOT_FOUND if is_hidden else HTTPStatus.FORBIDDEN))
        return response

    async def admits(self, request: HttpRequest) -> bool:
        """Return whether the mixins and decorators around :meth:`dispatch` let a websocket's handshake in."""
        if type(self).dispatch is ResumableChatView.dispatch:
            return True
        self._asks_for_admission = True
        try:
            return await self.serve(request) is _ADMITTED
        finally:
            self._asks_for_admission = False

    async def post(self, request: HttpRequest, chat_id: str | None = None, **_: Any) -> HttpResponseBase:
        """Start a turn, or attach to it; on the stop route, stop it."""
        if self.action == "stop":
            return await self._stop(request, {**await self.parse_body(request, required=False), "id": chat_id})
        body = await self.parse_body(request)
        asked = self.name_run(request, await self.read_request(body))
        parse_chat_id(asked.chat_id)
        arrivals = runtime().arrivals
        arrival = arrivals.arrive(asked.chat_id)
        with arrivals.starting(arrival):
            return await self._begin(request, asked, body, arrival)

    async def _begin(
        self, request: HttpRequest, asked: ChatRequest, body: dict[str, Any], arrival: Arrival
    ) -> HttpResponseBase:
        chat_id = parse_chat_id(asked.chat_id)
        key = parse_idempotency_key(request) or asked.run_id or ""
        stream_name = await self.find_stream(request, chat_id, "start")
        # The same request again after its connection broke: it wants the rest, not another answer.
        if asked.run_id and "Last-Event-ID" in request.headers:
            return await self.join(request, chat_id, stream_name, asked.run_id)
        if (cursor := parse_cursor(request)) is not None:
            return await self._replay(request, chat_id, stream_name, cursor=cursor)
        delivery, is_form = self.delivery_of_starts, self.is_form(request)
        start = await self.start_request(
            request,
            chat_id,
            stream_name,
            asked,
            body,
            idempotency_key=key,
            arrival=arrival,
            notes_run=delivery == "response" and not is_form,
        )
        if is_form:
            return await self.answer_form(request, stream_name, start)
        if delivery == "response":
            require_framing(request)
        check, wire = self.read_check(request, chat_id), self.wire_for(request)
        response = await self.chat.start_response(stream_name, start, delivery=delivery, check=check, wire=wire)
        return _resumable_by(chat_id, response)

    async def get(self, request: HttpRequest, chat_id: str | None = None, **_: Any) -> HttpResponseBase:
        """Follow a chat or a run, or read a chat's messages."""
        if self.action == "chat":
            return await self.get_run(request)
        chat_id = parse_chat_id(chat_id if chat_id is not None else request.GET.get("id"))
        stream_name = await self.find_stream(request, chat_id, "read")
        if self.action == "messages":
            return await self.load(request, stream_name, chat_as_json)
        cursor = parse_cursor(request, is_lenient=self.chat.holds_sessions_open)
        is_live, wait_seconds = parse_flag(request, "live"), parse_wait(request)
        return await self._replay(
            request,
            chat_id,
            stream_name,
            cursor=cursor,
            is_live=is_live,
            # The AI SDK's clients resume by this route; whoever reads by another one has a cursor.
            resumes=self.action == "stream",
            open_runs=parse_open_runs(request),
            wait_seconds=wait_seconds,
        )

    async def delete(self, request: HttpRequest, **_: Any) -> HttpResponseBase:
        """Stop a turn; the body, or the query, names the chat."""
        return await self._stop(request, {**request.GET.dict(), **await self.parse_body(request, required=False)})

    async def _replay(
        self,
        request: HttpRequest,
        chat_id: str,
        stream_name: str,
        *,
        cursor: int | None,
        is_live: bool = False,
        resumes: bool = True,
        open_runs: Collection[str] = (),
        wait_seconds: float | None = None,
    ) -> HttpResponseBase:
        if wait_seconds is None:
            require_framing(request)
        response = await self.chat.replay(
            stream_name,
            cursor=cursor,
            is_live=is_live,
            resumes=resumes,
            open_runs=open_runs,
            wait_seconds=wait_seconds,
            owner=await self.limit_key_of(request),
            check=self.read_check(request, chat_id),
        )
        return _resumable_by(chat_id, response)

    async def _stop(self, request: HttpRequest, body: dict[str, Any]) -> HttpResponseBase:
        """Stop a turn, also one whose start has come before, but is not on the log yet."""
        chat_id = parse_chat_id(body.get("id") or (self.names_runs and body.get("threadId")))
        generation_id = parse_generation_id(body.get("generation", body.get("activeStreamId")))
        arrival = runtime().arrivals.arrive(chat_id)
        stream_name = await self.find_stream(request, chat_id, "stop")
        return await self.chat.stop(stream_name, generation_id, arrival=arrival)


def _resumable_by(chat_id: str, response: HttpResponseBase) -> HttpResponseBase:
    """Say by what an event stream can be asked for again."""
    if isinstance(response, EventStreamResponse):
        response.headers[RESUMABLE_HEADER] = chat_id
    return response


def configured_view() -> type[ResumableChatView]:
    """Return the view that the ``CHAT_VIEW`` setting names.

    Raises:
        ImproperlyConfigured: It names none.
    """
    path = settings.chat_view
    if path is None:
        raise ImproperlyConfigured(
            f"{SETTING_NAME}['CHAT_VIEW'] must name your ResumableChatView subclass, for instance "
            "'support.views.SupportChat' (or include(SupportChat.urls()) instead of 'resumable_stream.urls')."
        )
    try:
        view = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING_NAME}['CHAT_VIEW'] = {path!r} cannot be imported: {error}") from error
    if not (isinstance(view, type) and issubclass(view, ResumableChatView)):
        raise ImproperlyConfigured(f"{SETTING_NAME}['CHAT_VIEW'] = {path!r} is no subclass of ResumableChatView.")
    return view
