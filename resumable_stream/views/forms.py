"""The HTTP doors of pages that post HTML forms: a form starts a turn, and is answered with HTML that follows it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from ..chat.hooks import ChatHooks
from ..chat.start_request import StartRequest
from ..exceptions import RequestTooLargeError
from ..http.requests import TOO_LARGE_TEXT, parse_body
from ..http.responses import CURSOR_HEADER, GENERATION_HEADER

_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class FormEndpoints(ChatHooks):
    """What a view does for clients whose format's dialect says that they send forms."""

    def is_form(self, request: HttpRequest) -> bool:
        """Whether the request brings a form that this view takes.

        A stop may be one in every format: with ``navigator.sendBeacon``, which sends no headers, the body is the only
        place for the CSRF token. A form needs no preflight: Django's CSRF protection is what keeps other sites from
        sending one.
        """
        takes_forms = self.chat.format.dialect.takes_forms or self.action == "stop"
        return takes_forms and request.content_type in _FORM_TYPES

    async def parse_body(self, request: HttpRequest, *, required: bool = True) -> dict[str, Any]:
        """Read the fields of a form, or the request's JSON object.

        Raises what :func:`~resumable_stream.http.requests.parse_body` does.
        """
        if not self.is_form(request):
            return await parse_body(request, required=required)
        try:
            fields = dict(request.POST.items())
        except RequestDataTooBig as error:
            raise RequestTooLargeError(TOO_LARGE_TEXT) from error
        # An input without a value names no generation.
        return {name: value for name, value in fields.items() if value or self.action != "stop"}

    async def answer_form(self, request: HttpRequest, stream_name: str, start: StartRequest) -> HttpResponse:
        """Start a turn, and answer with the user's message and an element that connects to the answer's events.

        The URL names where the answer begins, for a client that comes back to it without a cursor.
        """
        started = await self.chat.start_from(stream_name, start)
        url = f"{request.path.rstrip('/')}/{quote(start.chat_id)}/stream?from={started.cursor}"
        html = self.chat.format.render_turn(start.user_messages, started.generation_id, url)
        response = HttpResponse(html, status=HTTPStatus.OK)
        response.headers["Cache-Control"] = "no-store"
        response.headers[GENERATION_HEADER] = started.generation_id
        response.headers[CURSOR_HEADER] = str(started.cursor)
        return response
