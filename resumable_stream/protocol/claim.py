"""Starting a generation: the claim of a free stream, the takeover of an abandoned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from ..exceptions import (
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    GenerationActiveError,
    GenerationLostError,
    SeqNumMismatchError,
)
from ..formats.base import EndReason
from ..layout import Token, with_back
from ..records import AppendAck, Record
from .effects import Append, Operation
from .ending import Closing, EncoderFactory, Ending
from .head import Head, find_head, is_abandoned

TRIM_ALL = 0x7F7F7F7F7F7F7F7F
"""A position beyond every stream, whose 8 bytes are also 8 ASCII characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim that was granted."""

    token: Token
    start: int
    """``seq_num`` of the claim's fence."""
    end: int
    """The position after what was appended with the claim."""
    ended: Ending | None = None
    """The silent owner's generation that was ended in the same append."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a generation that wants to start brings along."""

    token: Token
    records: Sequence[Record]
    """Appended with the claim: the begin record first."""
    mode: str = "session"
    """``session``: the stream goes on; ``shared``: what came before is trimmed; ``single-use``: only a stream that was
    never claimed is free."""
    key: str = ""
    """Hash of the idempotency key; a generation that has the same is attached to rather than started again."""


def start(
    opening: Opening,
    encoder_for: EncoderFactory,
    *,
    text: str,
    guess: str = "",
    resolution_ms: int = 0,
) -> Operation[Claim | Head]:
    """Start a generation: claim a free stream, or take over an abandoned one.

    ``guess`` is the token the stream probably has: right, and the start costs one append. ``text`` is told to people
    who wait for the abandoned answer. Returns the head instead if its generation has the same idempotency key.

    Raises:
        GenerationActiveError: Another generation runs.
        GenerationLostError: Granted, its reply lost, and ended by somebody since.
        AppendOutcomeUnknownError: It may have been granted; nobody will write under it.
    """
    while True:
        if opening.key:
            head = yield from find_head()
            if _has_key(head, opening.key):
                return head
            guess = head.token.text if head is not None else ""
        try:
            # With a key the swap must be from the very state that was looked at: a generation with the same key could
            # have come and gone since.
            granted: Claim | Head | None = yield from claim(opening, guess=guess, exact=bool(opening.key))
        except GenerationActiveError as error:
            granted = yield from _contend(opening, encoder_for, error, text=text, resolution_ms=resolution_ms)
        if granted is not None:
            return granted


def _contend(
    opening: Opening,
    encoder_for: EncoderFactory,
    refusal: GenerationActiveError,
    *,
    text: str,
    resolution_ms: int,
) -> Operation[Claim | Head | None]:
    """Look at the generation that holds the stream: attach to it or take over; ``None`` if it has ended meanwhile."""
    head = yield from find_head()
    if _has_key(head, opening.key):
        return head
    if head is None or not head.is_running:
        if opening.mode == "single-use":
            raise refusal
        return None
    if not is_abandoned(head, mode=opening.mode, resolution_ms=resolution_ms):
        raise GenerationActiveError(head.token.generation_id) from refusal
    return (yield from take_over(head, encoder_for, opening, text=text))


def _has_key(head: Head | None, key: str) -> TypeGuard[Head]:
    return bool(key) and head is not None and head.begin is not None and head.begin.key == key


def claim(opening: Opening, *, guess: str = "", exact: bool = False) -> Operation[Claim | None]:
    """Become the owner of a free stream, with one append if ``guess`` is its token, otherwise with two.

    ``None`` only with ``exact``: the stream is free, but its token is not ``guess``. Raises as :func:`start` does.
    """
    records = _claim_records(opening)
    uncertain = False
    while True:
        try:
            ack: AppendAck = yield Append(records, guess, 0 if opening.mode == "single-use" else None)
            return _granted(opening, ack.end)
        except AppendOutcomeUnknownError:
            uncertain = True
        except FencingTokenMismatchError as error:
            actual = Token.parse(error.actual)
            if uncertain and actual.generation_id == opening.token.generation_id:
                return (yield from _granted_earlier(opening, actual))
            _refuse_claim(opening, actual, uncertain, error)
            if exact:
                return None
            guess = actual.text
        except SeqNumMismatchError as error:
            raise GenerationActiveError(None) from error


def _refuse_claim(opening: Opening, actual: Token, uncertain: bool, error: FencingTokenMismatchError) -> None:
    """Raise unless the claim may go again under the token that the stream has."""
    if not actual.is_free or (opening.mode == "single-use" and not uncertain):
        raise GenerationActiveError(actual.generation_id) from error
    if uncertain:
        # It may have been granted and ended by now: claiming again could begin the generation twice.
        raise AppendOutcomeUnknownError("It is not known whether the stream was claimed.") from error


def _granted(opening: Opening, end: int) -> Claim:
    return Claim(token=opening.token, start=end - len(opening.records) - 1, end=end)


def _granted_earlier(opening: Opening, actual: Token) -> Operation[Claim]:
    """Find the position of a claim whose reply was lost."""
    if actual.text != opening.token.text:
        raise GenerationLostError(actual.text)
    head = yield from find_head()
    if head is None or head.token.text != opening.token.text:
        raise GenerationLostError(head.token.text if head is not None else "")
    return _granted(opening, head.start + 1 + len(opening.records))


def _claim_records(opening: Opening) -> list[Record]:
    records = [Record.fence(opening.token.text), *with_back(opening.records, len(opening.records))]
    return [Record.trim(TRIM_ALL), *records] if opening.mode == "shared" else records


def take_over(head: Head, encoder_for: EncoderFactory, opening: Opening, *, text: str) -> Operation[Claim | None]:
    """End a silent owner's generation and claim the stream in the same append; ``None`` if anybody has acted since."""
    closing = Closing(head, encoder_for(head.begin), EndReason.INTERRUPTED, text)
    following = _claim_records(opening)
    if opening.mode == "shared":
        # The end of the old generation must outlive the trim, which reaches everything before itself.
        following = following[1:]
    ended = yield from closing.end_at_tail(head.tail, following)
    if ended is None:
        return None
    return replace(_granted(opening, ended.tail + len(following)), ended=ended)
