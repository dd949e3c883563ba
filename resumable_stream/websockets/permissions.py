"""What the client of a socket may do, asked of the app's hooks each time, as the client is signed in at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest

from ..chat.hooks import ChatHooks
from ..chat.owners import let_begin_to_own
from ..chat.sessions import as_of_now, copy_of, keep_session
from ..chat.start_request import StartRequest
from ..conf import settings
from ..exceptions import AccessDeniedError, InvalidRequestError, ResumableStreamError
from ..generations.arrivals import Arrival
from ..limits import Place
from ..readers.standing import Standing
from ..runtime import runtime
from ..utils.threads import own_thread
from ..validation import parse_chat_id, parse_run_id
from .subprotocols.base import Start

FRESH_SECONDS = 1.0
"""How long a look at the session holds: a client that resumes a hundred streams at once is looked up once."""
SIGNED_OUT_TEXT = "You are no longer signed in. Load the page again."
NO_SESSION_TEXT = "This chat could not be kept for you. Load the page again, with cookies allowed, and try once more."


class RefusedError(InvalidRequestError):
    """The client cannot do anything here as it is."""

    status_code = 403


class RenewedError(ResumableStreamError):
    """The person may have another session now: the client has to open another socket, with its new cookie."""

    status_code = 503

    def __init__(self, may_finish: bool) -> None:
        super().__init__("The session is another one now.")
        self.may_finish = may_finish
        """Whether what runs may be followed to its end before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A start that may be tried."""

    stream_name: str
    request: StartRequest
    place: Place
    """A reader's, to be given back."""


class Permissions:
    """Asks one view's hooks on behalf of one socket, one question at a time."""

    def __init__(self, hooks: ChatHooks, request: HttpRequest) -> None:
        self._hooks = hooks
        self._handshake = request
        self._now: HttpRequest | Standing = request
        self._clock = asyncio.get_running_loop().time
        self._looked_at = self._clock()
        # A thread of its own for each question; one at a time, so that a socket has no more of them than a request.
        self._asking = asyncio.Lock()

    async def chat_of_run(self, run_id: str) -> str:
        """Return the id of the chat in which the client has begun a run; raises as :meth:`to_read`."""
        async with self._asking, own_thread():
            chat_id = await self._hooks.chat_of_run(await self._current(), run_id)
        if chat_id is None:
            raise AccessDeniedError
        return chat_id

    async def to_read(self, chat_id: str) -> tuple[str, Place]:
        """Return the stream's name, and a reader's place.

        Raises:
            AccessDeniedError: The client may not read it.
            RefusedError: The session has ended.
            LimitExceededError: The owner has too many readers.
            ShuttingDownError: This process is about to end.
        """
        async with self._asking, own_thread():
            request = await self._current()
            name = await self._find(request, chat_id, "read")
            key = await self._hooks.limit_key_of(request)
        return name, runtime().reader_place(key)

    async def to_start(self, command: Start, arrival: Arrival, *, is_followed: bool) -> Granted:
        """Ask for all that a start needs; raises as :meth:`to_read`, and where the client's request is no good.

        Only where the socket itself follows the answer, chunks are wanted before they are on the log.
        """
        async with self._asking, own_thread():
            request = copy_of(await self._current())
            let_begin_to_own(request)
            asked = await self._hooks.read_request(command.body)
            chat_id = parse_chat_id(asked.chat_id)
            run_id = parse_run_id(asked.run_id)
            name = await self._find(request, chat_id, "start")
            start = await self._hooks.start_request(
                request,
                chat_id,
                name,
                asked,
                command.body,
                idempotency_key=command.idempotency_key or run_id or "",
                arrival=arrival,
                notes_run=True,
                is_previewed=is_followed and settings.deliver == "live",
            )
            if not await keep_session(request):
                # A visitor who is new, and no response to set a cookie: nobody would find the chat again.
                raise RefusedError(NO_SESSION_TEXT)
        return Granted(stream_name=name, request=start, place=runtime().reader_place(start.owner))

    async def to_stop(self, chat_id: str) -> str:
        """Return the stream's name; raises as :meth:`to_read`."""
        async with self._asking, own_thread():
            return await self._find(await self._current(), chat_id, "stop")

    async def lost(self, chats: Mapping[str, str]) -> set[str]:
        """Return the keys of those chats that may no longer be read.

        Raises:
            RefusedError: The session has ended.
            RenewedError: It is another one.
        """
        async with self._asking, own_thread():
            request = await self._current()
            return {key for key, chat_id in chats.items() if not await self._hooks.may_read(request, chat_id)}

    async def _find(self, request: HttpRequest, chat_id: str, action: str) -> str:
        return await self._hooks.find_stream(request, chat_id, action)

    async def _current(self) -> HttpRequest:
        if self._clock() - self._looked_at >= FRESH_SECONDS:
            self._now = await as_of_now(self._handshake)
            self._looked_at = self._clock()
        if self._now in (Standing.RENEWED, Standing.RECONNECT):
            raise RenewedError(self._now is Standing.RENEWED)
        if isinstance(self._now, Standing):
            raise RefusedError(SIGNED_OUT_TEXT)
        return self._now
