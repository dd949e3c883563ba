"""The contract of a format: an adapter between what ``generate`` yields, what is stored and what a client expects.

A chunk is one JSON text without raw newlines: the body of one record on the log and the ``data`` of one SSE frame.
A format is stateless and shared; what one generation needs (which parts are open) lives in its encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..types import Delivery, EndReason, FinishReason, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A client's request for an answer, out of whatever body its library sends."""

    chat_id: Any
    """As the client sent it: not yet validated."""
    messages: list[Message]
    """The messages of the request in their order; at least one."""
    message_id: str | None = None
    """The id the answer must have, where the request fixes one (it continues an assistant message)."""
    is_asked_anew: bool = False
    """Whether it asks again from an earlier point of the chat (regenerates an answer, edits a question): what comes
    after that point is replaced, also where it is still being written."""
    says_trigger: bool = False
    """Whether its client would have said so if it asked anew."""
    is_history: bool = False
    """Whether :attr:`messages` are the chat as the page has it, each under the id that the page gave it."""
    is_unnamed: bool = False
    """Whether they are a list in which the page has named none; their ids are made up, for this request only."""
    deleted: frozenset[str] = frozenset()
    """Ids of messages that the page says it has deleted."""
    run_id: str | None = None
    """The client's own name for the run it asks for, not yet validated; the same again asks for the same run."""
    protocol_version: str = ""
    """The version of its protocol that the client names, where a format's clients name one; validated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFacts:
    """What an encoder may know of its generation."""

    generation_id: str
    message_id: str
    """The id of the answer."""
    chat_id: str = ""
    run_id: str = ""
    """The client's own name for the run; the generation's id if it has none."""
    protocol_version: str = ""
    """The version of its protocol that the client has named; empty if it named none."""
    user_messages: Sequence[Message] = ()
    """What the user says with this generation; empty for a stranger that only ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGeneration:
    """One generation as it stands on the log, ready to be folded."""

    generation_id: str | None
    """``None`` for a generation that another program wrote."""
    message_id: str | None = None
    """The id of the answer."""
    run_id: str | None = None
    """The client's own name for it, if it has one."""
    user_messages: Sequence[Message] = ()
    """The user's messages stored with the generation."""
    is_whole: bool = False
    """Whether :attr:`user_messages` are the whole chat before the answer, in the place of all earlier generations."""
    told: frozenset[str] = frozenset()
    """Ids of those messages that are no user's, and that no generation has written: the client has told of them."""
    chunks: Sequence[str] = field(default=(), repr=False)
    """The stored chunks, in order."""
    end: EndReason | None = None
    """``None`` while it runs."""


class ChunkEncoder(ABC):
    """Encodes one generation's items into chunks, and knows what is still open.

    Every method returns the chunks to store, in order, possibly none. The chunks never hold lone surrogates or raw
    newlines. After :meth:`finish`, :meth:`stop`, :meth:`fail` or :meth:`interrupt` the encoder is done.
    """

    @property
    @abstractmethod
    def end(self) -> EndReason | None:
        """How the producer itself said that it ended (a finish, error or abort chunk of its own); ``None`` so far."""

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as it says itself; ``None`` if it has not said so, or the format does not know."""
        return None

    @abstractmethod
    def start(self) -> list[str]:
        """Chunks that are stored with the claim, before the producer is asked for anything."""

    @abstractmethod
    def encode(self, item: object) -> list[str]:
        """Encode one item of the producer.

        Raises:
            TypeError: The format cannot encode it; the message names the type and the fix.
        """

    @abstractmethod
    def observe(self, chunk: str) -> None:
        """Take note of a chunk that is already stored, so that a stranger can end the generation properly."""

    @abstractmethod
    def finish(self) -> list[str]:
        """Close what is open and end the answer; adds nothing that the producer itself has already sent."""

    @abstractmethod
    def stop(self) -> list[str]:
        """Close what is open and mark the answer as stopped."""

    @abstractmethod
    def fail(self, text: str) -> list[str]:
        """Close what is open and end with an error; ``text`` is shown to people."""

    @abstractmethod
    def interrupt(self, text: str) -> list[str]:
        """Close what is open and end an answer whose writer is gone; ``text`` is shown to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What client libraries say and expect around the chunks, where they differ. The defaults are the AI SDK's.

    A format names its clients' dialect; doors ask it these questions, and never which format they serve.
    """

    session_delivery: Delivery = "response"
    """How the starting request of a session is answered unless the view says otherwise."""
    holds_sessions_open: bool = False
    """Whether replays of a session go on from one generation to the next, also where there is nothing yet, and begin
    with a snapshot of what is over for who comes without a cursor, or with one that leads nowhere."""
    names_runs: bool = False
    """Whether clients know a generation by a run id of their own, and GET the prefix itself to join that run or to
    load the chat."""
    reads_with_event_source: bool = False
    """Whether clients read with an ``EventSource``, which takes an error status for the last word: what would pass by
    itself is answered with an event stream that is empty but for when to come again."""
    replays_what_is_over: bool = False
    """Whether who comes without a cursor gets the newest generation also when it is over: clients lose theirs."""
    makes_answers_anew: bool = False
    """Whether clients who resume without a cursor make the message anew from the generation's start, in its place: for
    a while after its end they then get it once more, since they may have missed the end."""
    takes_forms: bool = False
    """Whether clients POST HTML forms too; these are answered with a fragment that follows the answer."""


class ChunkFormat(ABC):
    """How chunks look to one family of clients, and what those clients send."""

    name: ClassVar[str]
    """Stands in the ``format`` attribute of a view and in the begin record."""
    headers: ClassVar[Mapping[str, str]] = {}
    """Response headers beside those of every event stream."""
    dialect: ClassVar[Dialect] = Dialect()
    """What its clients expect around the chunks."""

    @abstractmethod
    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read the JSON object that a client POSTs.

        Raises:
            InvalidRequestError: Something is missing or has the wrong type; the message tells the client what to send.
        """

    @abstractmethod
    def encoder(self, facts: GenerationFacts) -> ChunkEncoder:
        """Make the encoder of one generation."""

    def event(self, chunk: str) -> str | None:
        """Name the SSE event that carries ``chunk``; ``None`` for a frame without an ``event`` line."""
        return None

    def data(self, chunk: str) -> str:
        """Return what the SSE event of ``chunk`` carries, of one line or several; nothing else sees it."""
        return chunk

    def end_event(self, reason: EndReason, text: str | None, cause: str | None = None) -> tuple[str, str] | None:
        """Give the SSE event (name, data) that ends a body after the terminal record, if these clients take one.

        ``text`` is the message shown to people after a failure or an interruption, ``cause`` says for programs why the
        answer was interrupted or over a limit: a value of :class:`~resumable_stream.protocol.layout.Cause`.
        """
        return None

    def nothing_left(self) -> tuple[str, str] | None:
        """Give the SSE event (name, data) for a reader who has it all, if its client would not take a 204 for that."""
        return None

    def render_turn(self, user_messages: Sequence[Message], message_id: str, url: str) -> str:
        """Render the HTML that a form is answered with, for clients that send forms (:attr:`Dialect.takes_forms`).

        ``url`` is where the events of the answer come from, which is called ``message_id``.
        """
        raise NotImplementedError(f"The format {self.name!r} takes no forms.")

    def rebuild(self, message: Message) -> list[str]:
        """Return chunks from which a client makes ``message``; none if its clients need no such thing.

        A generation may continue a message that the client brought along. A replay to a client that starts from
        nothing sends these chunks before the generation's own; they are not stored.
        """
        return []

    def merge_answers(self, known: Message, told: Message) -> Message:
        """Return ``known``, a message of the log, with what a client has added where the log asked for it.

        ``told`` is the same message as the client sends it. Outputs of the page's own tools and people's approvals are
        taken from it, for calls that wait for them; nothing else is.
        """
        return known

    def admitted(self, told: Sequence[Message], chat: Sequence[Message]) -> Sequence[Message]:
        """Return those messages that a client may add to ``chat``, out of those that the log does not know."""
        return told

    def snapshot(self, messages: Sequence[Message]) -> str | None:
        """Return a chunk that makes a client hold ``messages`` and nothing else; ``None`` if there is no such chunk.

        ``messages`` are what :meth:`fold` gave. It is not stored.
        """
        return None

    def begins_turn(self, message: Message) -> bool:
        """Return whether a message of :meth:`fold` is one with which a person begins a turn; pages are cut there."""
        return message.get("role") == "user"

    @abstractmethod
    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into the messages the client library itself would hold, in order.

        A user message whose id occurred before replaces it and everything after it (the client edited or asked
        again). A generation whose ``message_id`` is that of the last message continues that message.
        """

    @abstractmethod
    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation's chunks into its answer; ``None`` if it holds nothing."""
