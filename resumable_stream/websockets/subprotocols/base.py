"""What a websocket client says, what it is told, and the contract of those who translate.

A dialect is made for each socket and holds whatever its protocol counts or remembers. It knows texts, and nothing of
streams, tasks or servers. Clients name what they follow by a *key*: in our own dialect the chat's id, in others the id
of a request or of a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...exceptions import InvalidRequestError
from ...formats.jsontext import decode
from ...protocol.layout import Chunk
from ...readers.frames import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Follow a chat."""

    key: str
    chat_id: str
    """Empty where the client only knows the run."""
    run_id: str | None = None
    """The one run to follow, under the client's own name."""
    cursor: int | None = None
    """Where to go on; ``None`` for the running generation, or the run, from its start."""
    is_live: bool = False
    """Whether to stay from one generation to the next."""
    resumes: bool = False
    """Whether the client may have seen the beginning of an answer that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """Follow no longer. What runs, runs on."""

    key: str
    stops_start: bool = False
    """Whether a start that has not begun yet is to begin nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start a generation, and follow it."""

    key: str
    chat_id: str
    body: dict[str, Any]
    """What one would POST."""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop what runs."""

    key: str
    chat_id: str
    generation_id: str | None = None
    """The only one to stop, if given."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Say that you are there."""


Command = Subscribe | Unsubscribe | Start | Stop | Ping


class FrameRefusedError(InvalidRequestError):
    """A frame asks for what cannot be. The socket lives on."""

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        """What it was about, if that much could be read."""


NOTHING = "nothing"
"""Why a subscription ends, beside the end reasons of generations: nothing runs, and the client has it all."""
FORBIDDEN = "forbidden"
SHUTDOWN = "shutdown"
UNAVAILABLE = "unavailable"
RECONNECT_AFTER = (SHUTDOWN, UNAVAILABLE)
"""Ends after which the client should come again, with its cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEnd:
    """Why nothing more comes, or, for a live subscription, how a generation ended."""

    reason: str
    """An :class:`~resumable_stream.types.EndReason`'s value, or one of the four above."""
    cursor: int | None
    generation_id: str | None = None
    text: str = ""
    """For people."""
    cause: str | None = None
    """Why it was interrupted, or which limit it met: the text of a :class:`~resumable_stream.protocol.layout.Cause`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, for people and for programs."""

    status: int
    """As HTTP would have it."""
    text: str
    retry_seconds: float | None = None
    """After which it is tried again without the client's doing; ``None`` where the request has failed."""
    generation_id: str | None = None
    """What runs instead, where that is the reason."""


def json_of(chunk: Chunk) -> str:
    """Return a chunk's JSON; nothing of one that another program wrote and that is none: it would spoil the frame."""
    try:
        decode(chunk.body)
    except (ValueError, TypeError):
        return ""
    return chunk.body


class SocketDialect(ABC):
    """Translates for one socket. Where a method returns a text it is sent as it is; ``None`` sends nothing."""

    subprotocol: ClassVar[str | None] = None
    """The websocket subprotocol by which clients ask for it."""
    formats: ClassVar[frozenset[str] | None] = None
    """Names of the formats whose chunks its clients understand; ``None`` for any."""

    def opening(self, query: Mapping[str, str]) -> Sequence[Command]:
        """Return what the URL itself asks for, as soon as the socket is open.

        Raises:
            FrameRefusedError: It asks for what cannot be.
        """
        return ()

    @abstractmethod
    def read(self, frame: dict[str, Any]) -> Command:
        """Understand what the client sent.

        Raises:
            FrameRefusedError: It is no command, or one with a bad field.
        """

    @abstractmethod
    def chunk(self, key: str, frame: Frame) -> str:
        """Say a chunk; empty to say nothing of it.

        Called for every chunk and socket: whatever sockets can share belongs into ``frame``.
        """

    def subscribed(self, key: str, cursor: int | None) -> str | None:
        """Say where chunks will come from; ``None`` if there is nothing."""
        return None

    def unsubscribed(self, key: str) -> str | None:
        """Say that nothing more comes."""
        return None

    def started(self, key: str, generation_id: str, cursor: int) -> str | None:
        """Say that a generation was started, or found."""
        return None

    def stopping(self, key: str, generation_id: str | None) -> str | None:
        """Say what was stopped; ``None`` if nothing ran."""
        return None

    def caught_up(self, key: str, cursor: int) -> str | None:
        """Say that all that was on the log has been sent."""
        return None

    @abstractmethod
    def ended(self, key: str, end: SubscriptionEnd, *, is_last: bool) -> str | None:
        """Say that a generation or, where ``is_last``, the subscription is over."""

    @abstractmethod
    def failed(self, key: str | None, failure: Failure) -> str | None:
        """Say what went wrong."""

    def pong(self) -> str | None:
        """Answer a ping."""
        return None

    def keep_alive(self) -> str | None:
        """Say something, because nothing was said for a while."""
        return None

    def refusal_code(self, key: str | None) -> int | None:
        """Return the code to close the socket with after a request has failed; ``None`` to leave it open."""
        return None

    def close_code(self, key: str, end: SubscriptionEnd) -> int | None:
        """Return the code to close the socket with after the last word on ``key``; ``None`` to leave it open."""
        return None
