"""What an app says about one kind of chat, and what every door does with it.

Views and consumers stand on the same :class:`ChatHooks`, so that nothing is configured twice. Their ``request`` is
always an :class:`~django.http.HttpRequest`; that of a websocket is made of its handshake.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cached_property
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse

from ..exceptions import AccessDeniedError, LimitExceededError, ResumableStreamError, ServerBusyError
from ..formats.base import ChunkFormat
from ..http.requests import named_chat
from ..readers.run_plans import find_run
from ..readers.standing import Check, Standing
from ..signals import refused
from ..utils.app_code import call, stays_in_loop
from .api import ResumableChat
from .chat_stream import Mode
from .hook_values import require_right
from .on_end import End
from .on_error import default_error_text
from .sessions import as_of_now
from .start_rules import StartHooks
from .turn import Turn

T = TypeVar("T")


class ChatHooks(StartHooks):
    """One kind of chat: how it looks, whose it is, and who answers.

    The hooks may be coroutines or plain functions; plain ones run in a thread, where they may use the ORM.
    """

    format: str | ChunkFormat = "aisdk"
    """How chunks look: the name of a format (``"aisdk"``, ``"anthropic"``, ``"html"``, ``"text"``, …), or your own."""
    mode: Mode = "session"
    """How generations map to streams, see :class:`~resumable_stream.chat.engine.ChatEngine`."""
    action = ""
    """Which of a view's routes this instance serves."""

    # -- hooks ---------------------------------------------------------------------------------------------------

    def generate(self, turn: Turn) -> Any:
        """Produce the answer: an async generator, or a function that gives an async or sync iterable.

        Yield text, a mapping, a pydantic model or a dataclass (a chunk as it is), or encoded SSE events as ``bytes`` or
        :class:`~resumable_stream.formats.Encoded`. A ``str`` is always text. It runs on
        after the request has gone, and is cancelled when the turn is stopped or another process takes over.
        """
        raise NotImplementedError(f"{type(self).__name__} must define generate(self, turn).")

    @stays_in_loop
    def authorize(
        self, request: HttpRequest, chat_id: str, action: str
    ) -> bool | HttpResponse | Awaitable[bool | HttpResponse]:
        """Return whether the request may ``read``, ``start`` or ``stop`` the chat; ``False`` is answered as 404.

        Raise :exc:`~resumable_stream.exceptions.NotAuthenticatedError` for 401, ``PermissionDenied`` for 403 and
        ``Http404`` for 404, or return a response that refuses. For a reader it is asked again every
        ``REAUTHORIZE_SECONDS``; one who is refused then is told that access has ended.
        """
        return True

    @stays_in_loop
    def limit(self, request: HttpRequest, action: str) -> Awaitable[None] | None:
        """Refuse what a client asks for too often: raise :exc:`~resumable_stream.exceptions.LimitExceededError`.

        Called before :meth:`authorize` and before the log is asked anything, with its actions and ``connect``, for a
        websocket that opens. The place for django-ratelimit, for a DRF throttle or for a quota; what runs at once is
        bounded anyway. The client is answered with 429 and ``Retry-After``, or over a websocket with its text.
        """

    @stays_in_loop
    def on_error(self, turn: Turn, error: Exception) -> str | Awaitable[str]:
        """Word a failure of :meth:`generate` for people. The error itself is logged, and told to nobody."""
        return default_error_text(error)

    def on_end(self, turn: Turn, end: End) -> Awaitable[None] | None:
        """Learn that a turn is over, for instance to store ``end.message`` in a table of your own.

        Called after the terminal record is on the log, in the process that wrote it, and at most once for each
        generation: exactly once unless that process dies between the two. Normally that is the process that ran
        :meth:`generate`, with the very same ``turn``. Where another process wrote the end (it stopped the turn, or
        found its writer gone) the call comes there, and ``turn`` has only what the log tells: ``chat_id``,
        ``generation_id``, ``message_id`` and ``actor``; no request, user or messages. What it raises is logged.
        """

    # -- for doors -----------------------------------------------------------------------------------------------

    @cached_property
    def chat(self) -> ResumableChat:
        """The function API that the doors stand on."""
        # Unless it was overridden, nobody wants the answer read back and folded for it.
        on_end = self._on_end if type(self).on_end is not ChatHooks.on_end else None
        return ResumableChat(
            format=self.format, mode=self.mode, backend=self.backend, on_error=self._on_error, on_end=on_end
        )

    async def find_stream(self, request: HttpRequest, chat_id: str, action: str) -> str:
        """Name the chat's stream.

        Raises:
            LimitExceededError: The view's ``limit`` refuses the request.
            AccessDeniedError: The request has no right to ``action``.
        """
        await call(self.limit, request, action)
        await require_right(self.authorize, request, chat_id, action)
        self.forget_owner(request)
        return await self.stream_of(request, chat_id)

    async def tell_refused(self, request: HttpRequest, action: str, error: ResumableStreamError) -> None:
        """Send the signal :data:`~resumable_stream.signals.refused` if ``error`` says that a limit is reached."""
        if isinstance(error, (LimitExceededError, ServerBusyError)):
            await refused.asend_robust(sender=type(self), request=request, action=action, error=error)

    async def may_read(self, request: HttpRequest, chat_id: str) -> bool:
        """Return whether a reader may go on."""
        return await self.may(request, chat_id, "read")

    async def may(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        """Return whether ``authorize`` grants the request a right."""
        try:
            await require_right(self.authorize, request, chat_id, action)
        except AccessDeniedError:
            return False
        return True

    def begins_to_own(self, request: HttpRequest) -> bool:
        """Return whether an anonymous visitor is to be known again after this request."""
        # Whoever only reads, or stops, owns nothing yet, and needs no session for it; but who subscribes to a session
        # before its first message must hear that message.
        if self.chat.holds_sessions_open and self.action in ("replay", "stream"):
            return True
        return super().begins_to_own(request) and self.action != "stop"

    @property
    def names_runs(self) -> bool:
        """Whether the clients choose an id for each run."""
        return self.chat.format.dialect.names_runs

    async def run_owner(self, request: HttpRequest, run_id: str | None) -> str:
        """Return the owner by whom a run is found by its id alone; ``""`` if its client names the chat as well."""
        # What the URL says with this request, it says with every other.
        if self.names_runs and run_id and not named_chat(request):
            return await self.owner_here(request)
        return ""

    async def chat_of_run(self, request: HttpRequest, run_id: str) -> str | None:
        """Return the id of the chat in which the client has begun a run; ``None`` if nothing is known of it."""
        self.forget_owner(request)
        chat_id = await find_run(self.chat.backend, await self.owner_here(request), run_id)
        for guest in await self.guests_here(request) if chat_id is None else ():
            chat_id = chat_id or await find_run(self.chat.backend, guest, run_id)
        return chat_id

    def read_check(self, request: HttpRequest, chat_id: str) -> Check:
        """Return what tells whether a reader may still read."""

        async def check() -> bool | Standing:
            now = await as_of_now(request)
            if now is Standing.RENEWED:
                return now if await self.may_read(request, chat_id) else Standing.ENDED
            return now if isinstance(now, Standing) else await self.may_read(now, chat_id)

        return check

    async def _on_error(self, turn: Turn, error: Exception) -> str:
        words: str = await call(self.on_error, turn, error)
        return words

    async def _on_end(self, end: End) -> None:
        turn = end.context if end.context is not None else Turn.of_stranger(end.begin)
        await call(self.on_end, turn, end)
