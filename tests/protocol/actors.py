"""Those who share a stream, each doing what its counterpart in the app does with the protocol's operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    GenerationActiveError,
    GenerationLostError,
    ResumableStreamError,
)
from resumable_stream.protocol import claim, effects, ending
from resumable_stream.protocol.claim import Claim
from resumable_stream.protocol.effects import Operation
from resumable_stream.protocol.ending import Ending
from resumable_stream.protocol.head import Head, find_head, is_abandoned
from resumable_stream.protocol.layout import EndFacts, Token, terminal_records, with_back
from resumable_stream.records import AppendAck, Record
from resumable_stream.types import EndReason

from .fakes import encoder_for, generation_id, opening
from .model_log import Log


class BrokenPromiseError(AssertionError):
    """What the protocol promises did not hold."""


def require(holds: bool, promise: str) -> None:
    """Raise :exc:`BrokenPromiseError` unless ``promise`` holds."""
    if not holds:
        raise BrokenPromiseError(f"Broken: {promise}.")


class Outcome(NamedTuple):
    """What an operation came to."""

    value: Any = None
    error: ResumableStreamError | None = None

    def __str__(self) -> str:
        if isinstance(self.value, Claim) and self.value.ended is not None:
            return "Claim with Ending"
        return type(self.value if self.error is None else self.error).__name__


class Stage(NamedTuple):
    """What an actor is doing, and what it remembers of what it did before."""

    doing: str
    """The empty string when it has nothing left to do."""
    start: int = 0
    position: int = 0
    written: int = 0
    reports: tuple[str, ...] = ()
    """Generations whose end it has told the app of."""


class Actor(ABC):
    """Somebody who runs one operation after the other, beginning in the stage ``start``."""

    name: str
    watches_silence = False
    """Does it matter to it how long ago the last record came?"""

    @abstractmethod
    def operation(self, stage: Stage) -> Operation[Any]:
        """Make the operation of a stage."""

    @abstractmethod
    def settle(self, stage: Stage, outcome: Outcome, log: Log) -> Stage:
        """Check what the operation has told against the log, and say what the actor does next."""


Drawn = tuple[str, int]
"""For whom random values were drawn, and how many."""


class Randomness:
    """Takes the place of ``secrets``, so that an operation that is fed the same answers does the same."""

    def __init__(self) -> None:
        self.drawn: Drawn = ("", 0)

    def begin(self, name: str) -> None:
        self.drawn = (name, 0)

    def go_on(self, drawn: Drawn) -> None:
        """Go on with an operation that has drawn so many values."""
        self.drawn = drawn

    def token_hex(self, length: int) -> str:
        name, count = self.drawn
        self.drawn = (name, count + 1)
        return f"{name}{count + 1}"


randomness = Randomness()


class Writer(Actor):
    """Claims the stream, appends its chunks one append after the other, and ends its generation.

    Its claim stops a running generation whose letter is in ``replaces``.
    """

    watches_silence = True

    def __init__(
        self,
        name: str,
        *appends: Sequence[str],
        mode: str = "session",
        key: str = "",
        guess: str = "",
        replaces: str = "",
    ) -> None:
        self.name = name
        self.guess = guess
        self._replaces = replaces
        self._opening = opening(name, mode=mode, key=key, replaces=replaces)
        self._appends = appends

    def operation(self, stage: Stage) -> Operation[Any]:
        randomness.begin(self.name)
        if stage.doing == "start":
            return claim.start(self._opening, encoder_for, text="Gone.", guess=self.guess)
        records = self._records(stage)
        return effects.append_once(records, token=self._opening.token.text, at=stage.position)

    def _records(self, stage: Stage) -> list[Record]:
        back = stage.position - stage.start
        if stage.written == len(self._appends):
            facts = EndFacts(generation_id=generation_id(self.name), reason=EndReason.FINISHED, by=self.name)
            return terminal_records(["finished"], facts, back=back)
        chunks = [Record(chunk) for chunk in self._appends[stage.written]]
        return with_back(chunks, back + len(chunks) - 1)

    def settle(self, stage: Stage, outcome: Outcome, log: Log) -> Stage:
        if stage.doing == "start":
            return self._settle_start(outcome, log)
        records = self._records(stage)
        end = stage.position + len(records)
        is_there = stage.position >= log.first and log.records[stage.position : end] == tuple(records)
        if isinstance(outcome.error, GenerationLostError):
            require(not is_there, "what a writer is told it has lost is not on the log")
            return Stage("", reports=stage.reports)
        if may_not_know(outcome, self._opening.mode):
            return Stage("", reports=stage.reports)
        require(isinstance(outcome.value, AppendAck), f"an append of the owner does not end with {outcome}")
        require(is_there, "what is acknowledged is on the log")
        require(
            (outcome.value.start, outcome.value.end) == (stage.position, end), "the acknowledged positions are true"
        )
        if stage.written < len(self._appends):
            return stage._replace(position=end, written=stage.written + 1)
        return Stage("", reports=(*stage.reports, generation_id(self.name)))

    def _settle_start(self, outcome: Outcome, log: Log) -> Stage:
        if isinstance(outcome.error, GenerationActiveError | GenerationLostError | AppendOutcomeUnknownError):
            return Stage("")
        if isinstance(outcome.value, Head):
            require(bool(self._opening.key), "only a generation with a key attaches to another")
            return Stage("")
        granted = outcome.value
        require(isinstance(granted, Claim), f"a start does not end with {outcome}")
        fence, begin = log.records[granted.start : granted.end]
        require(fence == Record.fence(self._opening.token.text), "a claim starts where it says")
        require([begin] == with_back(self._opening.records, 1), "a claim ends where it says")
        if granted.ended is None:
            return Stage("write", granted.start, granted.end)
        facts = granted.ended.facts
        is_stopped = facts.reason is EndReason.STOPPED
        require(not is_stopped or (facts.generation_id or "Z")[0] in self._replaces, "a start replaces what it may")
        return Stage("write", granted.start, granted.end, 0, reports_of(granted.ended, log))


class Stopper(Actor):
    """Stops whatever runs, or the one generation it names."""

    def __init__(self, name: str, target: str | None = None, *, mode: str = "session") -> None:
        self.name = name
        self._mode = mode
        self._target = generation_id(target) if target is not None else None

    def operation(self, stage: Stage) -> Operation[Any]:
        randomness.begin(self.name)
        return ending.stop(self._target, encoder_for)

    def settle(self, stage: Stage, outcome: Outcome, log: Log) -> Stage:
        if isinstance(outcome.error, GenerationActiveError):
            require(outcome.error.generation_id != self._target, "a stop refuses only another generation")
            return Stage("")
        if may_not_know(outcome, self._mode):
            return Stage("")
        require(outcome.error is None, f"a stop does not end with {outcome}")
        if outcome.value is None:
            return Stage("")
        require(self._target in (None, outcome.value.facts.generation_id), "a stop ends the generation it names")
        return Stage("", reports=reports_of(outcome.value, log))


class Reader(Actor):
    """Waits for the end, and ends a generation whose owner it finds silent."""

    watches_silence = True

    def __init__(self, name: str, *, mode: str = "session") -> None:
        self.name = name
        self._mode = mode

    def operation(self, stage: Stage) -> Operation[Any]:
        randomness.begin(self.name)
        return end_if_abandoned(self._mode)

    def settle(self, stage: Stage, outcome: Outcome, log: Log) -> Stage:
        if may_not_know(outcome, self._mode):
            return Stage("")
        require(outcome.error is None, f"looking after an owner does not end with {outcome}")
        return Stage("", reports=reports_of(outcome.value, log) if outcome.value is not None else ())


def end_if_abandoned(mode: str = "session") -> Operation[Ending | None]:
    """Look once at who owns the stream, and end what the owner has left."""
    head = yield from find_head()
    if head is None or not is_abandoned(head, mode=mode):
        return None
    return (yield from ending.interrupt(head, encoder_for, text="Gone."))


def may_not_know(outcome: Outcome, mode: str) -> bool:
    """Tell whether an unknown outcome is excused: where claims trim, the next one takes what would tell."""
    return mode == "shared" and isinstance(outcome.error, AppendOutcomeUnknownError)


def reports_of(ended: Ending, log: Log) -> tuple[str, ...]:
    """Check what is told about an end, and return whose end it is."""
    token = Record.fence(f"end-{ended.facts.reason.value}-{ended.facts.generation_id}")
    require(log.records[ended.tail - 1] == token, "an end is where it is said to be")
    require(log.records[ended.tail - 2].body == "", "the facts of an end stand before it")
    claims = (at for at in reversed(range(ended.tail)) if log.records[at].is_command and not is_end(log.records[at]))
    start = next(claims)
    require(ended.start == start or start < log.first, "the ended generation starts where it is said to")
    return (ended.facts.generation_id or "",)


def is_end(record: Record) -> bool:
    return Token.parse(record.body).end is not None
