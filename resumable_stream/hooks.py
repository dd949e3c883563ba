"""What an app says about one kind of chat, and what every door does with it.

Views and consumers stand on the same :class:`ChatHooks`, so that nothing is configured twice. Their ``request`` is
always an :class:`~django.http.HttpRequest`; that of a websocket is made of its handshake.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping
from functools import cached_property, partial
from typing import Any, TypeVar
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from .app_code import call, stays_in_loop
from .asking import read_request, replaces
from .bringing import LogHistory, bring
from .chat import ResumableChat
from .ends import End
from .engine import DEFAULT_ERROR_TEXT, Mode
from .formats.base import ChatRequest, ChunkFormat, StoredGeneration
from .identity import know_user
from .layout import new_generation_id
from .naming import CHAT_PARAMETER, check_name, default_name, place_segments, stream_name, url_parameters
from .parsing import named_chat
from .responses import Check
from .runs import find_run, note_run
from .sessions import OWNER_SESSION_KEY, as_of_now
from .turns import Turn

T = TypeVar("T")


class ChatHooks:
    """One kind of chat: how it looks, whose it is, and who answers.

    The hooks may be coroutines or plain functions; plain ones run in a thread, where they may use the ORM.
    """

    format: str | ChunkFormat = "aisdk"
    """How chunks look: the name of a format (``"aisdk"``, ``"anthropic"``, ``"html"``, ``"text"``, …), or your own."""
    mode: Mode = "session"
    """How generations map to streams, see :class:`~resumable_stream.engine.ChatEngine`."""
    backend = "default"
    """Alias of the log in the ``BACKENDS`` setting."""
    name = ""
    """Names this kind of chat in the names of its streams and its URLs: up to 64 letters, digits, ``.``, ``_``, ``-``.

    Default: the app's label and the class's name, ``"support.SupportChat"``. Chats are found under it, so declare it
    before you rename the class."""
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
    kwargs: Mapping[str, Any] = {}
    """The parameters of the URL, also over a websocket: for ``path("projects/<int:project_id>/chat", …)``,
    ``self.kwargs["project_id"]``."""

    # -- hooks ---------------------------------------------------------------------------------------------------

    def generate(self, turn: Turn) -> Any:
        """Produce the answer: an async generator, or a function that gives an async or sync iterable.

        Yield text, a mapping, a pydantic model or a dataclass (a chunk as it is), or encoded SSE events as ``bytes`` or
        :class:`~resumable_stream.formats.Encoded`. A ``str`` is always text. It runs on
        after the request has gone, and is cancelled when the turn is stopped or another process takes over.
        """
        raise NotImplementedError(f"{type(self).__name__} must define generate(self, turn).")

    @stays_in_loop
    def get_stream_name(self, request: HttpRequest, chat_id: str) -> str | Awaitable[str]:
        """Name the stream of a chat: ``chat/<view>/<URL parameters>/<owner>/<chat id>``.

        So somebody else's id leads nowhere, nor does that of another kind of chat, or of another project's page.
        """
        return self._default_stream_name(request, chat_id)

    async def _default_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        parameters = url_parameters(request, self.kwargs)
        return stream_name(self.chat_name(), parameters, await self.owner_of(request), chat_id)

    @classmethod
    def chat_name(cls) -> str:
        """Return the declared :attr:`name`, or the default.

        Raises:
            ImproperlyConfigured: The declared one cannot be a name.
        """
        return check_name(cls.name, cls) if cls.name else default_name(cls)

    @stays_in_loop
    def get_owner(self, request: HttpRequest) -> str | Awaitable[str]:
        """Name who is asking: the signed-in user, or a random id kept in the visitor's session.

        Limits count per owner. The session's own key would not do: it changes at login, and with signed cookies it is
        the data itself.
        """
        return self._default_owner(request)

    async def _default_owner(self, request: HttpRequest) -> str:
        user = await know_user(request)
        if user is not None:
            return f"user-{user.pk}"
        session = getattr(request, "session", None)
        if session is None:
            raise ImproperlyConfigured(
                "resumable_stream keeps anonymous visitors' chats apart by their session. Add "
                "django.contrib.sessions.middleware.SessionMiddleware to MIDDLEWARE (for websockets, wrap their "
                "URLRouter in AuthMiddlewareStack), or override get_owner()."
            )
        owner = await session.aget(OWNER_SESSION_KEY)
        if not isinstance(owner, str):
            owner = secrets.token_urlsafe(15)
            if self._begins_to_own(request):
                await session.aset(OWNER_SESSION_KEY, owner)
        return f"visitor-{owner}"

    async def remember_visitor(self, request: HttpRequest) -> None:
        """Give an anonymous visitor an id now, in the view of a page whose chats start over a websocket.

        A start over HTTP does so by itself; a websocket cannot set the cookie.
        """
        if await know_user(request) is None and not isinstance(await request.session.aget(OWNER_SESSION_KEY), str):
            await request.session.aset(OWNER_SESSION_KEY, secrets.token_urlsafe(15))

    def _begins_to_own(self, request: HttpRequest) -> bool:
        # Whoever only reads, or stops, owns nothing yet, and needs no session for it; but who subscribes to a session
        # before its first message must hear that message.
        if self.chat.holds_sessions_open and self.action in ("replay", "stream"):
            return True
        return request.method == "POST" and self.action != "stop"

    @stays_in_loop
    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool | Awaitable[bool]:
        """Tell whether the request may ``read``, ``start`` or ``stop`` the chat; a refusal is answered as 404.

        For a reader it is asked again every ``REAUTHORIZE_SECONDS``.
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

    async def find_stream(self, request: HttpRequest, chat_id: str, action: str) -> str | None:
        """Name the chat's stream, or return ``None`` where the request has no right to ``action``."""
        if not await call(self.authorize, request, chat_id, action):
            return None
        name: str = await call(self.get_stream_name, request, chat_id)
        return name

    @property
    def names_runs(self) -> bool:
        """Whether the clients choose an id for each run."""
        return self.chat.format.dialect.names_runs

    async def note_run(self, request: HttpRequest, chat_id: str, run_id: str | None) -> None:
        """See to it that a run can be found by its id alone, if its client has nothing else to name it by."""
        # What the URL says with this request, it says with every other.
        if self.names_runs and run_id and not named_chat(request):
            await note_run(self.chat.backend, await self._owner_here(request), run_id, chat_id)

    async def chat_of_run(self, request: HttpRequest, run_id: str) -> str | None:
        """Return the id of the chat in which the client has begun a run; ``None`` if nothing is known of it."""
        return await find_run(self.chat.backend, await self._owner_here(request), run_id)

    async def _owner_here(self, request: HttpRequest) -> str:
        """Name the owner of runs of this view, at the place where it is mounted."""
        place = place_segments(self.chat_name(), url_parameters(request, self.kwargs))
        return "/".join([*place, quote(await self.owner_of(request), safe="@")])

    def read_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read what the format's clients POST to start a turn; raises as :func:`~.asking.read_request`."""
        return read_request(self.chat.format, body, allows_system_messages=self.allows_system_messages)

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
            "replaces": replaces(asked, interrupts=self.interrupts),
            "idempotency_key": idempotency_key,
            "run_id": asked.run_id or "",
            "protocol_version": asked.protocol_version,
            "chat_id": chat_id,
            "actor": owner,
            "context": turn,
        }

    async def owner_of(self, request: HttpRequest) -> str:
        """Return whose limits the request counts for."""
        owner: str = await call(self.get_owner, request)
        return owner

    def read_check(self, request: HttpRequest, chat_id: str) -> Check:
        """Return what tells whether a reader may still read."""

        async def check() -> bool:
            now = await as_of_now(request)
            return now is not None and bool(await call(self.authorize, now, chat_id, "read"))

        return check

    async def _on_error(self, turn: Turn, error: Exception) -> str:
        words: str = await call(self.on_error, turn, error)
        return words

    async def _on_end(self, end: End) -> None:
        turn = end.context if end.context is not None else Turn.of_stranger(end.begin)
        await call(self.on_end, turn, end)


def _without_chat_id(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != CHAT_PARAMETER}
