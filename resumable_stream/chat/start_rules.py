"""What a view says about its starts: what requests may say, what they replace, and what is stored of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.http import HttpRequest

from ..formats.base import ChatRequest
from ..generations.arrivals import Arrival
from ..protocol.layout import new_generation_id
from ..runtime import runtime
from ..types import Delivery
from ..utils.request_user import know_user
from .api import ResumableChat
from .owners import OwnerHooks
from .page_messages import LogHistory, bring
from .questions import read_request, replaces
from .start_request import StartRequest
from .stream_names import CHAT_PARAMETER
from .turn import Turn


class StartHooks(OwnerHooks):
    """The part of a view's hooks that starts turns; see :class:`~resumable_stream.chat.hooks.ChatHooks`."""

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

    @property
    @abstractmethod
    def chat(self) -> ResumableChat:
        """The function API that the doors stand on."""

    @abstractmethod
    async def may(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        """Return whether ``authorize`` grants the request a right."""

    @abstractmethod
    def generate(self, turn: Turn) -> Any:
        """Produce the answer."""

    @abstractmethod
    async def run_owner(self, request: HttpRequest, run_id: str | None) -> str:
        """Return the owner by whom a run is found by its id alone."""

    @property
    def delivery_of_starts(self) -> Delivery:
        """How the request that starts a turn is answered."""
        return self.delivery or self.chat.default_delivery

    async def read_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read what the format's clients POST to start a turn; raises as :func:`~.asking.read_request`."""
        return await read_request(self.chat.format, body, allows_system_messages=self.allows_system_messages)

    async def start_request(
        self,
        request: HttpRequest,
        chat_id: str,
        stream_name: str,
        asked: ChatRequest,
        body: dict[str, Any],
        *,
        idempotency_key: str,
        arrival: Arrival,
        notes_run: bool = False,
        is_previewed: bool = False,
    ) -> StartRequest:
        """Return what the engine starts: the turn, who answers it, and on what terms.

        With ``notes_run`` the run that the request names is noted, if its readers know nothing but its id.
        """
        generation_id = new_generation_id()
        owner = await self.owner_of(request)
        limit_key = await self.limit_key_of(request)
        registry = runtime().registry
        # Before the log is read for it.
        registry.require_room(limit_key, instead_of=registry.get(self.chat.backend, stream_name))
        message_id = asked.message_id or generation_id
        brought = await bring(self.chat, stream_name, asked, takes_history=self.takes_history)
        stored = brought.stored(generation_id, message_id)
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
        may_replace = replaces(
            asked,
            interrupts=self.interrupts,
            # A client that is answered with its own run reads that run alone.
            follows_all=self.chat.holds_sessions_open and self.delivery_of_starts == "replay",
        )
        return StartRequest(
            source=partial(self.generate, turn),
            owner=limit_key,
            generation_id=generation_id,
            message_id=turn.message_id,
            user_messages=brought.messages,
            history=brought.history,
            told=brought.told,
            page=brought.page,
            guess=brought.token,
            replaces=may_replace if await self.may(request, chat_id, "stop") else None,
            idempotency_key=idempotency_key,
            run_id=asked.run_id or "",
            run_owner=await self.run_owner(request, asked.run_id) if notes_run else "",
            protocol_version=asked.protocol_version,
            chat_id=chat_id,
            actor=owner,
            context=turn,
            is_previewed=is_previewed,
            arrival=arrival,
        )


def _without_chat_id(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != CHAT_PARAMETER}
