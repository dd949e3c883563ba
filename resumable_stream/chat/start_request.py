"""What a start asks for, and what it gives: the values that pass between views, websockets and the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..generations.arrivals import Arrival
from ..protocol.head import Head
from ..protocol.layout import Begin
from ..readers.preview import Preview
from ..types import Message

Replaces = Callable[[Begin | None], bool]
"""Decides from what a running generation stated about itself whether another one replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """All that a start takes beside the name of its stream.

    A view builds it from a request in :meth:`~resumable_stream.chat.start_rules.StartHooks.start_request`; the function
    API builds it from its arguments.
    """

    source: object
    """An async or sync iterable of chunks, or a callable that returns one (or a coroutine that gives one).

    A callable that is neither a coroutine nor a generator function is called in a thread. Any callable is called only
    once the claim is granted: a start that is refused costs nothing."""
    generation_id: str | None = None
    """20 characters of ``[A-Za-z0-9_-]`` that were never used before. By default the engine makes a random id."""
    message_id: str | None = None
    """The id of the answer. By default it is the generation's id."""
    user_messages: Sequence[Message] = ()
    """Messages that are stored with the generation, so that the chat can be read back from the log."""
    history: Sequence[Message] = ()
    """Messages that are stored before ``user_messages``; together they replace what the stream has of the chat."""
    told: Collection[str] = ()
    """Ids of answers among the stored messages that no generation has written."""
    page: str = ""
    """The mark by which a later request of the same page is recognised."""
    guess: str = ""
    """The token that the stream probably has; if it is right, the start costs one append."""
    idempotency_key: str = ""
    """A start with the key of the stream's newest generation returns that generation."""
    run_id: str = ""
    """The client's own name for the generation, for formats that send it. By default it is the generation's id."""
    run_owner: str = ""
    """Under whom ``run_id`` is noted once the start is granted, for readers who know only the run's id.

    By default the run is not noted."""
    protocol_version: str = ""
    """The version of its protocol that the client has named, for formats that heed it."""
    owner: str = ""
    """Whose limit on running generations counts; ``""`` for nobody's."""
    chat_id: str = ""
    """Stored as a fact of the generation, for ``on_end``."""
    actor: str = ""
    """Who started the generation; stored as a fact of it, for ``on_end``."""
    context: Any = None
    """Passed to ``on_error`` and ``on_end``."""
    is_previewed: bool = False
    """Whether one reader wants chunks before they are on the log."""
    replaces: Replaces | None = None
    """Decides whether a running generation, of which the log has this ``Begin``, ends as ``stopped`` in the append that
    claims the stream. By default none does."""
    arrival: Arrival | None = None
    """When the request came: a stop that came later stops what it starts. By default it comes with the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start that was granted, or that found the generation it asked for already there."""

    generation_id: str
    cursor: int
    """Where the generation's first chunk is read from."""
    is_new: bool
    """Whether this start began it; otherwise it has the same idempotency key."""
    preview: Preview | None = None
    """Where chunks can be seen before they are on the log, if that was asked for."""
    found: Head | None = None
    """The generation as it was found, if this start did not begin it: its owner may have died."""
