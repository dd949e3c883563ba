"""The HTTP doors: start, follow, stop and read back a chat."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable
from functools import cached_property
from http import HTTPStatus
from typing import Any, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.views import View

from .chat import Delivery, ResumableChat
from .engine import DEFAULT_ERROR_TEXT, End, Mode
from .exceptions import ResumableStreamError
from .formats.base import ChatRequest, ChunkFormat
from .layout import new_generation_id
from .parsing import (
    parse_body,
    parse_chat_id,
    parse_cursor,
    parse_flag,
    parse_generation_id,
    parse_idempotency_key,
    parse_message_id,
)
from .responses import error_response, plain
from .routes import require_boundary, routes
from .turns import Turn

T = TypeVar("T")

OWNER_SESSION_KEY = "resumable_stream_owner"
NOT_FOUND_TEXT = "There is no such chat."


class ResumableChatView(View):
    """Serves one kind of chat. Subclass it, write :meth:`generate`, and include :meth:`urls` in a URLconf.

    The hooks may be coroutines or plain functions; plain ones must not block.
    """

    format: str | ChunkFormat = "aisdk"
    """How chunks look: ``"aisdk"``, ``"text"``, or a format of your own."""
    mode: Mode = "session"
    """How generations map to streams, see :class:`~resumable_stream.engine.ChatEngine`."""
    delivery: Delivery = "response"
    """``"response"``: the starting request streams the answer. ``"replay"``: it answers 202, another one streams."""
    backend = "default"
    """Alias of the log in the ``BACKENDS`` setting."""
    action = ""
    """Which of the routes this instance serves; set by :meth:`urls`."""

    http_method_names = ["get", "post", "delete", "options"]  # noqa: RUF012 - an instance attribute to Django

    # -- hooks ---------------------------------------------------------------------------------------------------

    def generate(self, turn: Turn) -> Any:
        """Produce the answer: an async generator, or a function that gives an async or sync iterable.

        Yield text, a mapping, a pydantic model, a dataclass (a chunk as it is) or an encoded SSE event. It runs on
        after the request has gone, and is cancelled when the turn is stopped or another process takes over.
        """
        raise NotImplementedError(f"{type(self).__name__} must define generate(self, turn).")

    def get_stream_name(self, request: HttpRequest, chat_id: str) -> str | Awaitable[str]:
        """Name the stream of a chat: ``chat/<owner>/<chat id>``, so that somebody else's id leads nowhere."""
        return self._default_stream_name(request, chat_id)

    async def _default_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        return f"chat/{await _resolve(self.get_owner(request))}/{chat_id}"

    def get_owner(self, request: HttpRequest) -> str | Awaitable[str]:
        """Name who is asking: the signed-in user, or a random id kept in the visitor's session.

        Limits count per owner. The session's own key would not do: it changes at login, and with signed cookies it is
        the data itself.
        """
        return self._default_owner(request)

    async def _default_owner(self, request: HttpRequest) -> str:
        user = await _user(request)
        if user is not None:
            return f"user-{user.pk}"
        session = getattr(request, "session", None)
        if session is None:
            raise ImproperlyConfigured(
                "resumable_stream keeps anonymous visitors' chats apart by their session. Add "
                "django.contrib.sessions.middleware.SessionMiddleware to MIDDLEWARE, or override get_owner()."
            )
        owner = await session.aget(OWNER_SESSION_KEY)
        if not isinstance(owner, str):
            owner = secrets.token_urlsafe(15)
            if request.method == "POST" and self.action != "stop":
                # Whoever only reads, or stops, owns nothing yet, and needs no session for it.
                await session.aset(OWNER_SESSION_KEY, owner)
        return f"visitor-{owner}"

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool | Awaitable[bool]:
        """Tell whether the request may ``read``, ``start`` or ``stop`` the chat; a refusal is answered as 404.

        For a reader it is asked again every ``REAUTHORIZE_SECONDS``.
        """
        return True

    def on_error(self, turn: Turn, error: Exception) -> str | Awaitable[str]:
        """Word a failure of :meth:`generate` for people. The error itself is logged, and told to nobody."""
        return DEFAULT_ERROR_TEXT

    def on_end(self, turn: Turn, end: End) -> Awaitable[None] | None:
        """Learn that a turn is over, for instance to store ``end.message`` in a table of your own.

        Called after the terminal record is on the log, in the process that wrote it, and at most once for each
        generation: exactly once unless that process dies between the two. Normally that is the process that ran
        :meth:`generate`, with the very same ``turn``. Where another process wrote the end (it stopped the turn, or
        found its writer gone) the call comes there, and ``turn`` has only what the log tells: ``chat_id``,
        ``generation_id``, ``message_id`` and ``actor``; no request, user or messages. What it raises is logged.
        """

    # -- routes --------------------------------------------------------------------------------------------------

    @classmethod
    def urls(cls) -> tuple[list[URLPattern], str]:
        """Return what ``include()`` takes: the chat's routes, to be mounted at a prefix like ``api/chat``."""
        return routes(cls), "resumable_stream"

    @cached_property
    def chat(self) -> ResumableChat:
        """The function API that this view stands on."""
        # Unless it was overridden, nobody wants the answer read back and folded for it.
        on_end = self._on_end if type(self).on_end is not ResumableChatView.on_end else None
        return ResumableChat(
            format=self.format, mode=self.mode, backend=self.backend, on_error=self._on_error, on_end=on_end
        )

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Serve the request; errors become responses here, and only here."""
        _require_asgi(request)
        require_boundary(request, self.action, kwargs.get("chat_id"))
        try:
            return await cast("Awaitable[HttpResponseBase]", super().dispatch(request, *args, **kwargs))
        except ResumableStreamError as error:
            return error_response(error)

    async def post(self, request: HttpRequest, chat_id: str | None = None) -> HttpResponseBase:
        """Start a turn, or attach to it; on the stop route, stop it."""
        if self.action == "stop":
            return await self._stop(request, {**parse_body(request, required=False), "id": chat_id})
        body = parse_body(request)
        asked = self.chat.format.parse_request(body)
        chat_id = parse_chat_id(asked.chat_id)
        parse_message_id(asked.message_id)
        key = parse_idempotency_key(request)
        stream_name = await self._stream_name(request, chat_id, "start")
        if stream_name is None:
            return plain(HTTPStatus.NOT_FOUND, NOT_FOUND_TEXT)
        if (cursor := parse_cursor(request)) is not None:
            # The same request again after its connection broke: it wants the rest, not another answer.
            return await self._replay(request, chat_id, stream_name, cursor=cursor)
        return await self._start(request, chat_id, stream_name, asked, body, key)

    async def get(self, request: HttpRequest, chat_id: str | None = None) -> HttpResponseBase:
        """Follow a chat, or read its messages."""
        chat_id = parse_chat_id(chat_id if chat_id is not None else request.GET.get("id"))
        stream_name = await self._stream_name(request, chat_id, "read")
        if stream_name is None:
            return plain(HTTPStatus.NOT_FOUND, NOT_FOUND_TEXT)
        if self.action == "messages":
            return await self._messages(stream_name)
        cursor, is_live = parse_cursor(request), parse_flag(request, "live")
        return await self._replay(request, chat_id, stream_name, cursor=cursor, is_live=is_live)

    async def delete(self, request: HttpRequest) -> HttpResponseBase:
        """Stop a turn; the body, or the query, names the chat."""
        return await self._stop(request, {**request.GET.dict(), **parse_body(request, required=False)})

    async def _start(
        self,
        request: HttpRequest,
        chat_id: str,
        stream_name: str,
        asked: ChatRequest,
        body: dict[str, Any],
        key: str,
    ) -> HttpResponseBase:
        generation_id = new_generation_id()
        owner = await _resolve(self.get_owner(request))
        turn = Turn(
            chat_id=chat_id,
            generation_id=generation_id,
            message_id=asked.message_id or generation_id,
            messages=asked.messages,
            body=body,
            request=request,
            user=await _user(request),
            actor=owner,
        )
        last = asked.messages[-1]
        return await self.chat.make_resumable(
            stream_name,
            lambda: self.generate(turn),
            delivery=self.delivery,
            owner=owner,
            check=self._check(request, chat_id),
            generation_id=generation_id,
            message_id=turn.message_id,
            user_messages=[last] if last.get("role") == "user" else [],
            idempotency_key=key,
            chat_id=chat_id,
            actor=owner,
            context=turn,
        )

    async def _replay(
        self, request: HttpRequest, chat_id: str, stream_name: str, *, cursor: int | None, is_live: bool = False
    ) -> HttpResponseBase:
        return await self.chat.replay(
            stream_name,
            cursor=cursor,
            is_live=is_live,
            owner=await _resolve(self.get_owner(request)),
            check=self._check(request, chat_id),
        )

    async def _stop(self, request: HttpRequest, body: dict[str, Any]) -> HttpResponseBase:
        chat_id = parse_chat_id(body.get("id"))
        generation_id = parse_generation_id(body.get("generation"))
        stream_name = await self._stream_name(request, chat_id, "stop")
        if stream_name is None:
            return plain(HTTPStatus.NOT_FOUND, NOT_FOUND_TEXT)
        return await self.chat.stop(stream_name, generation_id)

    async def _messages(self, stream_name: str) -> HttpResponseBase:
        generations, cursor = await self.chat.history(stream_name)
        ends = [
            {
                "generation": one.generation_id,
                "message": one.message_id,
                "end": one.end.value if one.end is not None else None,
            }
            for one in generations
        ]
        messages = self.chat.fold(generations)
        response = JsonResponse({"messages": messages, "generations": ends, "cursor": cursor})
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _stream_name(self, request: HttpRequest, chat_id: str, action: str) -> str | None:
        """Name the stream, or ``None`` where the request has no right to it."""
        if not await _resolve(self.authorize(request, chat_id, action)):
            return None
        return await _resolve(self.get_stream_name(request, chat_id))

    def _check(self, request: HttpRequest, chat_id: str) -> Any:
        async def check() -> bool:
            return bool(await _resolve(self.authorize(request, chat_id, "read")))

        return check

    async def _on_error(self, turn: Turn, error: Exception) -> str:
        return await _resolve(self.on_error(turn, error))

    async def _on_end(self, end: End) -> None:
        turn = end.context if end.context is not None else Turn.of_stranger(end.begin)
        await _resolve(self.on_end(turn, end))


async def _resolve(value: T | Awaitable[T]) -> T:
    """Await what a hook gave, if it must be."""
    return await value if inspect.isawaitable(value) else value


async def _user(request: HttpRequest) -> Any:
    """Return the signed-in user, or ``None``."""
    if not hasattr(request, "auser"):
        return None
    user = await request.auser()
    return user if user.is_authenticated else None


def _require_asgi(request: HttpRequest) -> None:
    if not isinstance(request, ASGIRequest):
        raise ImproperlyConfigured(
            "resumable_stream needs an ASGI server: under WSGI a response is collected before it is sent. Run uvicorn, "
            "daphne or another ASGI server (for development: put 'daphne' first in INSTALLED_APPS)."
        )
