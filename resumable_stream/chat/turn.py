"""What a view's hooks are told: one turn of a chat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from ..protocol.layout import Begin
from ..types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A request for an answer, and the answer's ids."""

    chat_id: str
    generation_id: str
    """Names this run: on the log, in logs, and for a stop that must not hit the next one."""
    message_id: str
    """The id of the answer's message in the client; what to store the answer under."""
    messages: list[Message] = field(default_factory=list)
    """The messages of the request, in order, as the client library has them.

    They are the client's word, past answers and approvals included; :meth:`history` is not."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """The whole JSON object of the request."""
    request: HttpRequest | None = None
    """The request that started the turn. Its connection may be gone: ask it for nothing but what it carries."""
    user: Any = None
    """The signed-in user; ``None`` for an anonymous visitor, or without Django's authentication."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """The parameters of the URL that the view was mounted with, by name."""
    actor: str = ""
    """Whose turn it is, as the view's ``get_owner`` says; survives on the log."""

    read_history: Callable[[], Awaitable[list[Message]]] | None = field(default=None, repr=False, compare=False)
    """Reads what :meth:`history` returns."""

    async def history(self) -> list[Message]:
        """Read the chat up to this turn's answer as the log has it: the newest message is the client's, nothing else.

        Outputs of the page's own tools and approvals are in it where the log has asked for them. Answers that only the
        client tells of are not. Costs what reading the chat back costs.

        Raises:
            RuntimeError: The turn is another process's.
        """
        if self.read_history is None:
            raise RuntimeError("The chat's history is known only where its answer is generated.")
        return await self.read_history()

    @classmethod
    def of_stranger(cls, begin: Begin | None) -> Turn:
        """Make what is known of a turn that another process started: what it stated on the log."""
        if begin is None:
            return cls(chat_id="", generation_id="", message_id="")
        return cls(
            chat_id=begin.chat_id,
            generation_id=begin.generation_id,
            message_id=begin.message_id,
            actor=begin.actor,
        )
