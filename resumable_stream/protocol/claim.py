"""Starting a generation: the claim of a free stream, the takeover of an abandoned one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from ..exceptions import (
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    GenerationActiveError,
    GenerationLostError,
    SeqNumMismatchError,
)
from ..records import AppendAck, Record
from ..types import EndReason
from .effects import Append, Operation
from .ending import Closing, EncoderFactory, Ending
from .head import Head, find_head, is_abandoned, seconds_to_abandonment
from .layout import Cause, Token, with_back

TRIM_ALL = 0x7F7F7F7F7F7F7F7F
"""A position beyond every stream, whose 8 bytes are also 8 ASCII characters."""
REPLACE_ATTEMPTS = 10
"""How often a start tries to end the generation that it replaces exactly at its tail before it ends it anywhere."""
LAST_ATTEMPTS = 3
"""How often it then tries to end it anywhere: each of these can fail only because another start came first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim that was granted."""

    token: Token
    start: int
    """``seq_num`` of the claim's fence."""
    end: int
    """The position after what was appended with the claim."""
    ended: Ending | None = None
    """The generation that was ended in the same append: a silent owner's, or the one that this claim replaces."""


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
    replaces: Callable[[Head], bool] | None = None
    """Decides whether a running generation is stopped and replaced by this one; ``None``: no generation is."""

    def may_replace(self, head: Head) -> bool:
        """Return whether the running generation of ``head`` may be stopped for this one."""
        return self.mode != "single-use" and self.replaces is not None and self.replaces(head)


def start(
    opening: Opening,
    encoder_for: EncoderFactory,
    *,
    text: str,
    guess: str = "",
    resolution_ms: int = 0,
) -> Operation[Claim | Head]:
    """Start a generation: claim a free stream, take over an abandoned one, or replace what runs.

    ``guess`` is the token the stream probably has: right, and the start costs one append. ``text`` is told to people
    who wait for the abandoned answer. Returns the head instead if its generation has the same idempotency key.

    Raises:
        GenerationActiveError: Another generation runs and is not to be replaced, or the stream was for a single use.
        GenerationLostError: Granted, its reply lost, and ended by somebody since.
        AppendOutcomeUnknownError: It may have been granted; nobody will write under it.
    """
    replacing = _Replacing(opening, encoder_for)
    head = (yield from find_head()) if opening.key else None
    while not _has_key(head, opening.key):
        if head is None or not _is_taken(head, opening.mode):
            token = guess if head is None else head.token.text
            granted = yield from claim(opening, guess=token, at=_position(head, opening))
        elif opening.mode != "single-use" and is_abandoned(head, mode=opening.mode, resolution_ms=resolution_ms):
            granted = yield from take_over(head, encoder_for, opening, text=text)
        elif opening.may_replace(head):
            granted = yield from replacing.attempt(head)
        else:
            raise _active_error(head, opening.mode, resolution_ms)
        if granted is not None:
            return granted
        head = yield from find_head()
    return head


def _active_error(head: Head, mode: str, resolution_ms: int) -> GenerationActiveError:
    """Make the error of a start that finds an owner, which may be alive, or may have died less than a lease ago."""
    silent_seconds = (head.silent_ms - resolution_ms) // 1000
    may_be_dead = silent_seconds >= 1 and mode != "single-use"
    retry_after = seconds_to_abandonment(head, resolution_ms=resolution_ms) if may_be_dead else None
    return GenerationActiveError(head.token.generation_id, silent_seconds=silent_seconds, retry_after=retry_after)


def _has_key(head: Head | None, key: str) -> TypeGuard[Head]:
    return bool(key) and head is not None and head.begin is not None and head.begin.key == key


def _is_taken(head: Head, mode: str) -> bool:
    return head.is_running or (mode == "single-use" and head.tail > 0)


def _position(head: Head | None, opening: Opening) -> int | None:
    """Tell where a claim must stand, if that matters."""
    if opening.mode == "single-use":
        return 0
    if not opening.key:
        return None
    # It must follow the very state that was looked at: a generation with the same key could have come and gone since.
    return 0 if head is None else head.tail


def claim(opening: Opening, *, guess: str = "", at: int | None = None) -> Operation[Claim | None]:
    """Become the owner of a free stream, with one append if ``guess`` is its token, otherwise with two.

    ``None`` if the stream is owned, or if its tail is not ``at``. Raises as :func:`start` does, but for
    :exc:`GenerationActiveError`.
    """
    records = _claim_records(opening)
    # The swap would also succeed under an owner's token, and rob it.
    token = guess if Token.parse(guess).is_free else ""
    uncertain = False
    while True:
        try:
            ack: AppendAck = yield Append(records, token, at)
            return _granted(opening, ack.end)
        except AppendOutcomeUnknownError:
            uncertain = True
        except FencingTokenMismatchError as error:
            if uncertain:
                return (yield from _resolve(opening, error))
            actual = Token.parse(error.actual)
            if not actual.is_free:
                return None
            token = actual.text
        except SeqNumMismatchError:
            # The token is as it was, so no earlier attempt was applied; nor can one be, now that the tail has moved.
            return None


def _resolve(opening: Opening, refusal: FencingTokenMismatchError) -> Operation[Claim]:
    """Find out what became of a claim whose reply was lost, once its repetition was refused."""
    actual = Token.parse(refusal.actual)
    if actual.generation_id != opening.token.generation_id:
        # It may have been granted and ended by now: claiming again could begin the generation twice.
        raise AppendOutcomeUnknownError("It is not known whether the stream was claimed.") from refusal
    head = (yield from find_head()) if actual.end is None else None
    if head is None or head.token != opening.token:
        raise GenerationLostError(actual.text if head is None else head.token.text) from refusal
    return _granted(opening, head.start + 1 + len(opening.records))


def _granted(opening: Opening, end: int) -> Claim:
    return Claim(token=opening.token, start=end - len(opening.records) - 1, end=end)


def _claim_records(opening: Opening) -> list[Record]:
    records = [Record.fence(opening.token.text), *with_back(opening.records, len(opening.records))]
    return [Record.trim(TRIM_ALL), *records] if opening.mode == "shared" else records


def take_over(head: Head, encoder_for: EncoderFactory, opening: Opening, *, text: str) -> Operation[Claim | None]:
    """End a silent owner's generation and claim the stream in the same append; ``None`` if anybody has acted since."""
    closing = Closing(head, encoder_for(head.begin), EndReason.INTERRUPTED, text, cause=Cause.TAKEN_OVER)
    following = _following_records(opening)
    return _claimed(opening, (yield from closing.end_at_tail(head.tail, following)), following)


class _Replacing:
    """The attempts of one start to stop what runs and to claim the stream in the same append."""

    def __init__(self, opening: Opening, encoder_for: EncoderFactory) -> None:
        self._opening = opening
        self._following = _following_records(opening)
        self._encoder_for = encoder_for
        self._closing: Closing | None = None
        self._attempts = 0

    def attempt(self, head: Head) -> Operation[Claim | None]:
        """Try once; ``None`` if the owner, or anybody, has acted since ``head`` was found.

        Raises:
            GenerationActiveError: The bound on attempts is reached; other starts came first each time.
            AppendOutcomeUnknownError: It may have been granted, and what would tell was trimmed since.
        """
        if self._attempts >= REPLACE_ATTEMPTS + LAST_ATTEMPTS:
            raise GenerationActiveError(head.token.generation_id)
        if self._closing is None or self._closing.start != head.start:
            self._closing = Closing(head, self._encoder_for(head.begin), EndReason.STOPPED)
        self._attempts += 1
        if self._attempts <= REPLACE_ATTEMPTS:
            ended = yield from self._closing.end_at_tail(head.tail, self._following)
        else:
            ended = yield from self._closing.end_anywhere(self._following)
        return _claimed(self._opening, ended, self._following)


def _following_records(opening: Opening) -> list[Record]:
    """Lay out a claim that follows the end of another generation in the same append."""
    records = _claim_records(opening)
    # The end of the old generation must outlive the trim, which reaches everything before itself.
    return records[1:] if opening.mode == "shared" else records


def _claimed(opening: Opening, ended: Ending | None, following: Sequence[Record]) -> Claim | None:
    if ended is None:
        return None
    return replace(_granted(opening, ended.tail + len(following)), ended=ended)
