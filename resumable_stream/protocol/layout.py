"""What the records of a stream mean: tokens, headers, and the way from records to entries and back.

The layout is that of the npm package ``@s2-dev/resumable-stream``: a chunk is a record whose body is its JSON, a
fence with a token that begins with ``end-`` or ``error-`` ends a generation, any other token owns the stream, and
records with an empty body are skipped by every reader. Our own facts therefore stand in headers of records with an
empty body, or beside a chunk:

=================  =====================================================================================
header             meaning
=================  =====================================================================================
``rs``             kind of a record with an empty body: ``begin``, ``user``, ``beat`` or ``end``
``rs-back``        on the last record of every append: how many records before it the claim's fence stands
``rs-part``        ``index/count``: the body (of a ``user`` record: the JSON) is one part of a longer one
``rs-json``        JSON of a user message
other ``rs-…``     facts of the begin and end records, see :class:`Begin` and :class:`EndFacts`
=================  =====================================================================================

``rs-back`` is what makes the newest generation cheap to find: the last two records of a stream lead to its start.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ..formats.jsontext import decode
from ..records import Headers, Record, SequencedRecord, utf8_length
from ..types import FINISH_REASONS, EndReason, FinishReason, Message
from ..utils.log_once import warn_once

logger = logging.getLogger(__name__)

MAX_APPEND_BYTES = 900_000
"""Metered bytes we put into one append: S2 takes 1 MiB, but no more than 2,000,000 bytes of JSON, in which a chunk's
quotes and backslashes count twice."""
MAX_PART_BYTES = 800_000
"""UTF-8 bytes of one part of a chunk that is too long for one record."""

_OWNER = re.compile(r"gen-([0-9a-z]{1,5})-([A-Za-z0-9_-]{20})\Z")
_TERMINAL = re.compile(r"(?:end|error)-([a-z]+)-([A-Za-z0-9_-]{20})\Z")
_PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})\Z")
_WHOLE = re.compile(r"[0-9]{1,9}\Z")
_BACK = re.compile(r"[0-9]{1,18}\Z")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_generation_id() -> str:
    """Make a random id of 20 characters (120 bits): what fits into a token beside its end reason."""
    return secrets.token_urlsafe(15)


class Token(NamedTuple):
    """A fencing token, read as the state of its stream."""

    text: str
    generation_id: str | None = None
    """Of the owner, or of the generation that ended; ``None`` if another program wrote the token."""
    lease_seconds: int | None = None
    """How long the owner may stay silent (:func:`promised_seconds`); ``None`` for one that promises no heartbeats."""
    end: EndReason | None = None
    """How the last generation ended; ``None`` while one runs or if there never was one."""

    @property
    def is_free(self) -> bool:
        """Whether a new generation may claim the stream."""
        return self.text == "" or self.end is not None

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token of ours, of the npm package, or of anyone."""
        if owner := _OWNER.match(text):
            return cls(text, owner[2], int(owner[1], 36), None)
        if not text.startswith(("end-", "error-")):
            return cls(text)
        if (terminal := _TERMINAL.match(text)) and terminal[1] in _END_REASONS:
            return cls(text, terminal[2], None, EndReason(terminal[1]))
        return cls(text, None, None, EndReason.FAILED if text.startswith("error-") else EndReason.FINISHED)

    @classmethod
    def owner(cls, generation_id: str, lease_seconds: int) -> Token:
        """Make the token under which a generation writes."""
        return cls(f"gen-{_base36(lease_seconds)}-{generation_id}", generation_id, lease_seconds, None)

    @classmethod
    def terminal(cls, generation_id: str, reason: EndReason) -> Token:
        """Make the token that ends a generation: 36 bytes at most, as S2 demands."""
        kind = "error" if reason is EndReason.FAILED else "end"
        return cls(f"{kind}-{reason.value}-{generation_id}", generation_id, None, reason)


_END_REASONS = {reason.value for reason in EndReason}

BEATS_PER_LEASE = 4
"""Heartbeats of a silent owner in a lease."""


def promised_seconds(lease_seconds: float) -> int:
    """Return how long an owner may stay silent before others may take over.

    This is a lease and the time between two heartbeats: an owner whose event loop is busy for less than a lease writes
    its heartbeat in time, also if that was just due when the loop got busy.
    """
    return math.ceil(lease_seconds * (1 + 1 / BEATS_PER_LEASE))


def beat_seconds(token: Token) -> float | None:
    """Return after what silence the owner writes a heartbeat; ``None`` if it promises none."""
    return None if token.lease_seconds is None else token.lease_seconds / (BEATS_PER_LEASE + 1)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return digits or "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The facts that a generation states about itself when it claims its stream."""

    generation_id: str
    format: str
    """Name of its format."""
    message_id: str = ""
    """Id of the answer."""
    chat_id: str = ""
    actor: str = ""
    """Who started it, as the view names its user; for the app's own use."""
    key: str = ""
    """Hash of the idempotency key of the start."""
    run_id: str = ""
    """The client's own name for the generation; empty if it has none."""
    asks: str = ""
    """The id of the user's message that it answers; empty if it continues an answer."""
    page: str = ""
    """Number and hash of the messages of its request: those of a page that goes on from it begin with the same."""
    whole: int = 0
    """How many messages are stored with it, if they take the place of all that the stream holds before; else 0."""
    protocol_version: str = ""
    """The version of its protocol that the client has named; empty if it named none."""

    def record(self) -> Record:
        """Lay the facts out."""
        facts = {
            "rs-generation": self.generation_id,
            "rs-format": self.format,
            "rs-message": self.message_id,
            "rs-chat": self.chat_id,
            "rs-actor": self.actor,
            "rs-key": self.key,
            "rs-run": self.run_id,
            "rs-asks": self.asks,
            "rs-page": self.page,
            "rs-whole": str(self.whole or ""),
            "rs-protocol": self.protocol_version,
        }
        return Record("", (("rs", "begin"), *((name, value) for name, value in facts.items() if value)))

    @classmethod
    def parse(cls, headers: Headers) -> Begin:
        """Read the facts back."""
        facts = dict(headers)
        return cls(
            generation_id=facts.get("rs-generation", ""),
            format=facts.get("rs-format", ""),
            message_id=facts.get("rs-message", ""),
            chat_id=facts.get("rs-chat", ""),
            actor=facts.get("rs-actor", ""),
            key=facts.get("rs-key", ""),
            run_id=facts.get("rs-run", ""),
            asks=facts.get("rs-asks", ""),
            page=facts.get("rs-page", ""),
            whole=int(facts["rs-whole"]) if _WHOLE.match(facts.get("rs-whole", "")) else 0,
            protocol_version=facts.get("rs-protocol", ""),
        )


class Cause(StrEnum):
    """Why a generation was interrupted, or failed where that was not its producer; the values stand on the log."""

    SHUTDOWN = "shutdown"
    """Its process was told to end, or its event loop ended."""
    LEASE_EXPIRED = "lease-expired"
    """Its owner had written nothing for longer than its lease, and a reader came."""
    TAKEN_OVER = "taken-over"
    """Likewise, and another generation was started in the chat."""
    LIMIT_EXCEEDED = "limit-exceeded"
    """It failed: it took longer than ``MAX_GENERATION_SECONDS``, or grew larger than ``MAX_GENERATION_BYTES``."""


_CAUSES = frozenset(Cause)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndFacts:
    """How a generation ended."""

    generation_id: str | None
    reason: EndReason
    text: str = ""
    """What people are told about a failure or an interruption."""
    by: str = ""
    """A random name of the append that wrote the end, by which its writer knows it again."""
    cause: Cause | None = None
    """Why it was interrupted, where that is known."""
    finish_reason: FinishReason | None = None
    """Why the model has stopped, of a generation that has finished and whose producer says so."""

    def record(self) -> Record:
        """Lay the facts out."""
        facts = {"rs-generation": self.generation_id or "", "rs-end": self.reason.value}
        facts |= {"rs-text": self.text, "rs-by": self.by, "rs-cause": self.cause or ""}
        facts["rs-finish"] = self.finish_reason or ""
        return Record("", (("rs", "end"), *((name, value) for name, value in facts.items() if value)))

    @classmethod
    def parse(cls, headers: Headers) -> EndFacts:
        """Read the facts back."""
        facts = dict(headers)
        reason = facts.get("rs-end", "")
        return cls(
            generation_id=facts.get("rs-generation") or None,
            reason=EndReason(reason) if reason in _END_REASONS else EndReason.FINISHED,
            text=facts.get("rs-text", ""),
            by=facts.get("rs-by", ""),
            cause=Cause(facts["rs-cause"]) if facts.get("rs-cause") in _CAUSES else None,
            finish_reason=next((known for known in FINISH_REASONS if known == facts.get("rs-finish")), None),
        )


HEARTBEAT = Record("", (("rs", "beat"),))


def chunk_records(chunk: str) -> list[Record]:
    """Lay out one chunk: one record, or several parts if it is longer than :data:`MAX_PART_BYTES`."""
    if len(chunk) * 4 <= MAX_PART_BYTES or utf8_length(chunk) <= MAX_PART_BYTES:
        return [Record(chunk)]
    parts = list(_split(chunk))
    return [Record(part, (("rs-part", f"{index}/{len(parts)}"),)) for index, part in enumerate(parts)]


def user_records(message: Message, *, is_told: bool = False) -> list[Record]:
    """Lay out a user message so that readers who only know chunks pass it over.

    Raises:
        TypeError: It has no ``id`` or ``role`` that is a string, or JSON cannot hold it: no reader would take it.
    """
    if not _is_message(message):
        raise TypeError(f"A message to store has an 'id' and a 'role', both str, not {message!r:.100}.")
    try:
        text = json.dumps(message, allow_nan=False)
    except ValueError as error:
        raise TypeError("JSON cannot hold a message with a number that is not finite.") from error
    parts = list(_split(text))
    mark = (("rs-told", "1"),) if is_told else ()
    if len(parts) == 1:
        return [Record("", (("rs", "user"), ("rs-json", text), *mark))]
    return [
        Record("", (("rs", "user"), ("rs-json", part), ("rs-part", f"{index}/{len(parts)}"), *mark))
        for index, part in enumerate(parts)
    ]


def _split(text: str) -> Iterator[str]:
    # A character has up to 4 bytes; pieces of the least length that cannot be too long keep this simple.
    size = MAX_PART_BYTES if text.isascii() else MAX_PART_BYTES // 4
    return (text[at : at + size] for at in range(0, len(text), size))


def with_back(records: Sequence[Record], back: int) -> list[Record]:
    """Mark the last record of an append with its distance from the claim's fence."""
    body, headers = records[-1]
    return [*records[:-1], Record(body, (*headers, ("rs-back", str(back))))]


def terminal_records(chunks: Iterable[str], facts: EndFacts, *, back: int | None) -> list[Record]:
    """Lay out the end of a generation: closing chunks, end facts and the terminal fence, for one append.

    ``back`` is how many records stand between the claim's fence and the first of these (the fence included); ``None``
    if that is not known, and whoever looks for the start must look back for it.
    """
    records = [record for chunk in chunks for record in chunk_records(chunk)]
    if back is not None:
        back += len(records)
    records.append(facts.record())
    if back is not None:
        records = with_back(records, back)
    token = Token.terminal(facts.generation_id or new_generation_id(), facts.reason)
    return [*records, Record.fence(token.text)]


class Chunk(NamedTuple):
    """A chunk, whole."""

    cursor: int
    """The ``seq_num`` after it: where a reader that has it goes on. 0 if the log does not have it: nobody can go on
    from there."""
    body: str


class Claimed(NamedTuple):
    """A writer has become the owner."""

    cursor: int
    token: Token


class Began(NamedTuple):
    """A generation of ours states its facts."""

    cursor: int
    begin: Begin


class UserMessage(NamedTuple):
    """A user message stored with the generation: an object of JSON whose ``id`` and ``role`` are strings."""

    cursor: int
    message: dict[str, Any]
    is_told: bool = False
    """Whether it is an answer that no generation has written."""


class Ended(NamedTuple):
    """A generation is over: nothing of it follows."""

    cursor: int
    facts: EndFacts


Entry = Chunk | Claimed | Began | UserMessage | Ended


class Decoder:
    """Turns records into entries; feed it consecutive records from any position.

    Parts of a chunk whose beginning was not seen, or whose end never came, give no entry. With ``skips_messages`` the
    messages that generations have brought give none either: to read one takes long where it is large.
    """

    __slots__ = ("_count", "_facts", "_parts", "_skips_messages", "boundary")

    def __init__(self, position: int, *, skips_messages: bool = False) -> None:
        self.boundary = position
        """A position from which a fresh decoder gives everything that this one has not yet given."""
        self._parts: list[str] = []
        self._count = 0
        self._facts: tuple[int, EndFacts] | None = None
        self._skips_messages = skips_messages

    def size_of_messages(self, records: Iterable[SequencedRecord]) -> int:
        """Estimate how much there is to read in the messages that ``records`` hold or complete."""
        values = (len(value) for record in records if not record.body for _, value in record.headers)
        return sum(map(len, self._parts)) + sum(values)

    def feed(self, records: Iterable[SequencedRecord]) -> list[Entry]:
        """Return the entries that ``records`` complete."""
        entries: list[Entry] = []
        for record in records:
            # The common case first: a chunk, alone in its append or one of many.
            if record.body and not self._parts and (not record.headers or _is_back_only(record.headers)):
                self.boundary = cursor = record.seq_num + 1
                entries.append(Chunk(cursor, record.body))
            elif (entry := self._decode(record)) is not None:
                entries.append(entry)
        return entries

    def _decode(self, record: SequencedRecord) -> Entry | None:
        cursor = record.seq_num + 1
        if record.is_command:
            return self._decode_command(record, cursor)
        facts = dict(record.headers)
        kind = facts.get("rs", "") if not record.body else ""
        if record.body or kind == "user":
            text = facts.get("rs-json", "") if kind == "user" else record.body
            whole = self._join(text, facts.get("rs-part"))
            if whole is None:
                return None
            self.boundary = cursor
            if kind != "user":
                return Chunk(cursor, whole)
            return None if self._skips_messages else _user_message(cursor, whole, "rs-told" in facts)
        if kind == "end":
            # The fence that makes it true is the next record of the same append.
            self._facts = cursor, EndFacts.parse(record.headers)
            return None
        if kind == "begin":
            self._parts.clear()  # No parts go on behind it; waiting for them, a fresh decoder would give it again.
            self.boundary = cursor
            return Began(cursor, Begin.parse(record.headers))
        if not self._parts:
            self.boundary = cursor
        return None

    def _decode_command(self, record: SequencedRecord, cursor: int) -> Entry | None:
        position, facts = self._facts or (None, None)
        self._facts = None
        self._parts.clear()
        self.boundary = cursor
        if not record.is_fence or not record.body:
            return None
        token = Token.parse(record.body)
        if token.end is None:
            return Claimed(cursor, token)
        if facts is None or position != record.seq_num or facts.generation_id != token.generation_id:
            facts = EndFacts(generation_id=token.generation_id, reason=token.end)
        return Ended(cursor, facts)

    def _join(self, text: str, part: str | None) -> str | None:
        marker = _PART.match(part) if part is not None else None
        if marker is None:
            self._parts.clear()
            return text
        index, count = int(marker[1]), int(marker[2])
        if index == 0:
            self._parts, self._count = [], count
        if index != len(self._parts) or count != self._count:
            self._parts.clear()
            return None
        self._parts.append(text)
        if len(self._parts) < count:
            return None
        whole = "".join(self._parts)
        self._parts = []
        return whole


def _is_back_only(headers: Headers) -> bool:
    return len(headers) == 1 and headers[0][0] == "rs-back"


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str) and isinstance(value.get("role"), str)


def _user_message(cursor: int, text: str, is_told: bool) -> UserMessage | None:
    """Read a user's message; ``None`` for one that we would not have written, which readers must get past."""
    try:
        message = decode(text)
    except (ValueError, TypeError) as error:
        warn_once(logger, "stored message passed over seq_num=%d: %s text=%.100r", cursor - 1, error, text)
        return None
    if not _is_message(message):
        warn_once(logger, "stored message passed over, no id or role seq_num=%d text=%.100r", cursor - 1, text)
        return None
    return UserMessage(cursor, message, is_told)


def back_of(record: SequencedRecord) -> int | None:
    """Read how many records before ``record`` its generation's claim stands; ``None`` if it does not say."""
    for name, value in reversed(record.headers):
        if name == "rs-back" and _BACK.match(value):
            return int(value)
    return None
