"""What an app says about one kind of chat, and what every door does with it.

Views and consumers stand on the same :class:`ChatHooks`, so that nothing is configured twice. Their ``request`` is
always an :class:`~django.http.HttpRequest`; that of a websocket is made of its handshake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse

from .access import require_right
from .app_code import call, stays_in_loop
from .asking import read_request, replaces
from .bringing import LogHistory, bring
from .chat import ResumableChat
from .ends import End
from .engine import DEFAULT_ERROR_TEXT, Mode
from .exceptions import AccessDeniedError
from .formats.base import ChatRequest, ChunkFormat, Delivery, StoredGeneration
from .identity import know_user
from .layout import new_generation_id
from .naming import CHAT_PARAMETER
from .owners import OwnerHooks
from .parsing import named_chat
from .responses import Check
from .runs import find_run, note_run
from .sessions import as_of_now
from .turns import Turn

T = TypeVar("T")


class ChatHooks(OwnerHooks):
    """One kind of chat: how it looks, whose it is, and who answers.

    The hooks may be coroutines or plain functions; plain ones run in a thread, where they may use the ORM.
    """

    format: str | ChunkFormat = "aisdk"
    """How chunks look: the name of a format (``"aisdk"``, ``"anthropic"``, ``"html"``, ``"text"``, …), or your own."""
    mode: Mode = "session"
    """How generations map to streams, see :class:`~resumable_stream.engine.ChatEngine`."""
    backend = "default"
    """Alias of the log in the ``BACKENDS`` setting."""
    delivery: Delivery | None = None
    """``"response"``: the starting request streams the answer. ``"replay"``: it answers 202, another one streams. The
    default is what the format's clients expect."""
    interrupts = False
    """Whether a question that is asked while an answer runs stops that answer, rather than being refused.

    Regenerating an answer and editing a question always do, and so does a question from a page that has gone on from
    the unfinished answer."""
    allows_system_messages = False
    """Whether clients may send messages with the roles ``system`` and ``developer``."""
    takes_history = True
    """Whether all that a page's chat has and the log's has not is stored with a request: outputs of the page's own
    tools, messages whose sending failed, greetings, deletions. Otherwise it is the newest message alone."""
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
            AccessDeniedError: The request has no right to ``action``.
        """
        await require_right(self.authorize, request, chat_id, action)
        return await self.stream_of(request, chat_id)

    async def may_read(self, request: HttpRequest, chat_id: str) -> bool:
        """Return whether a reader may go on."""
        try:
            await require_right(self.authorize, request, chat_id, "read")
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

    async def note_run(self, request: HttpRequest, chat_id: str, run_id: str | None) -> None:
        """See to it that a run can be found by its id alone, if its client has nothing else to name it by."""
        # What the URL says with this request, it says with every other.
        if self.names_runs and run_id and not named_chat(request):
            await note_run(self.chat.backend, await self.owner_here(request), run_id, chat_id)

    async def chat_of_run(self, request: HttpRequest, run_id: str) -> str | None:
        """Return the id of the chat in which the client has begun a run; ``None`` if nothing is known of it."""
        return await find_run(self.chat.backend, await self.owner_here(request), run_id)

    @property
    def delivery_of_starts(self) -> Delivery:
        """How the request that starts a turn is answered."""
        return self.delivery or self.chat.default_delivery

    async def read_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read what the format's clients POST to start a turn; raises as :func:`~.asking.read_request`."""
        return await read_request(self.chat.format, body, allows_system_messages=self.allows_system_messages)

    async def start_options(
        self,
        request: HttpRequest,
        chat_id: str,
        stream_name: str,
        asked: ChatRequest,
        body: dict[str, Any],
        *,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        """Return what :meth:`ResumableChat.start` takes beside the stream's name: the turn, and who answers it."""
        generation_id = new_generation_id()
        owner = await self.owner_of(request)
        message_id = asked.message_id or generation_id
        brought = await bring(self.chat, stream_name, asked, takes_history=self.takes_history)
        stored = StoredGeneration(
            generation_id=generation_id,
            message_id=message_id,
            user_messages=[*brought.history, *brought.messages],
            is_whole=bool(brought.history),
            told=brought.told,
        )
        turn = Turn(
            chat_id=chat_id,
            generation_id=generation_id,
            message_id=message_id,
            read_history=LogHistory(chat=self.chat, stream_name=stream_name, generation=stored).messages,
            messages=asked.messages,
            body=body,
            request=request,
            user=await know_user(request),
            kwargs=_without_chat_id(self.kwargs),
            actor=owner,
        )
        return {
            "source": partial(self.generate, turn),
            "owner": owner,
            "generation_id": generation_id,
            "message_id": turn.message_id,
            "user_messages": brought.messages,
            "history": brought.history,
            "told": brought.told,
            "page": brought.page,
            "replaces": replaces(
                asked,
                interrupts=self.interrupts,
                # A client that is answered with its own run reads that run alone.
                follows_all=self.chat.holds_sessions_open and self.delivery_of_starts == "replay",
            ),
            "idempotency_key": idempotency_key,
            "run_id": asked.run_id or "",
            "protocol_version": asked.protocol_version,
            "chat_id": chat_id,
            "actor": owner,
            "context": turn,
        }

    def read_check(self, request: HttpRequest, chat_id: str) -> Check:
        """Return what tells whether a reader may still read."""

        async def check() -> bool:
            now = await as_of_now(request)
            return now is not None and await self.may_read(now, chat_id)

        return check

    async def _on_error(self, turn: Turn, error: Exception) -> str:
        words: str = await call(self.on_error, turn, error)
        return words

    async def _on_end(self, end: End) -> None:
        turn = end.context if end.context is not None else Turn.of_stranger(end.begin)
        await call(self.on_end, turn, end)


def _without_chat_id(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != CHAT_PARAMETER}
