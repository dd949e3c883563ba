"""The protocol with one flaw each, to show that the explorer would see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from resumable_stream.exceptions import (
    AppendConditionError,
    AppendOutcomeUnknownError,
    FencingTokenMismatchError,
    GenerationLostError,
    SeqNumMismatchError,
)
from resumable_stream.protocol import claim, effects, ending
from resumable_stream.protocol.claim import Claim, Opening
from resumable_stream.protocol.effects import Append, Operation
from resumable_stream.protocol.ending import Closing, Ending
from resumable_stream.protocol.head import Head, find_head
from resumable_stream.protocol.layout import Token, terminal_records
from resumable_stream.records import AppendAck, Record
from resumable_stream.types import EndReason

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A flaw, those who must meet for it to show, and the promise it breaks."""

    patch: Patch
    cast: str
    faults: int
    promise: str
    keys: tuple[str, str] = ("", "")
    stop_attempts: int = 1


def append_again_without_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append of unknown outcome goes again wherever the tail is."""

    def append_once(records: Sequence[Record], *, token: str, at: int) -> Operation[AppendAck]:
        operation = original(records, token=token, at=at)
        effect = next(operation)
        try:
            while True:
                try:
                    answer = yield effect
                except AppendOutcomeUnknownError as error:
                    effect = operation.throw(error)._replace(match_seq_num=None)
                except AppendConditionError as error:
                    effect = operation.throw(error)
                else:
                    effect = operation.send(answer)
        except StopIteration as stopped:
            return stopped.value

    original = effects.append_once
    monkeypatch.setattr(effects, "append_once", append_once)


def append_and_hope(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append of unknown outcome counts as done."""

    def append_once(records: Sequence[Record], *, token: str, at: int) -> Operation[AppendAck]:
        try:
            return (yield Append(records, token, at))
        except AppendOutcomeUnknownError:
            return AppendAck(start=at, end=at + len(records), tail=at + len(records))
        except AppendConditionError:
            raise GenerationLostError(token) from None

    monkeypatch.setattr(effects, "append_once", append_once)


def believe_that_it_landed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal after an unknown outcome counts as proof that the append is on the log."""
    monkeypatch.setattr(effects, "landed", _answering(True))


def deny_that_it_landed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal after an unknown outcome counts as proof that the end is not on the log."""
    monkeypatch.setattr(ending, "landed", _answering(False))


def _answering(answer: bool) -> Callable[[Sequence[Record], int], Operation[bool]]:
    def landed(records: Sequence[Record], at: int) -> Operation[bool]:
        return answer
        yield

    return landed


def append_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner relies on the position alone."""

    def append_once(records: Sequence[Record], *, token: str, at: int) -> Operation[AppendAck]:
        while True:
            try:
                return (yield Append(records, None, at))
            except AppendOutcomeUnknownError:
                continue
            except SeqNumMismatchError as error:
                at = error.expected

    monkeypatch.setattr(effects, "append_once", append_once)


def end_at_no_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover, a stop or an interruption does not name the tail that it has looked at."""
    append = Closing._append
    monkeypatch.setattr(Closing, "_append", lambda self, records, *, at: append(self, records, at=None))


def end_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends a generation relies on the position, and takes the position anew where that has moved."""

    def append(self: Closing, records: Sequence[Record], *, at: int | None) -> Operation[int | None]:
        try:
            return (yield Append(records, None, None)).end
        except AppendOutcomeUnknownError:
            return None

    monkeypatch.setattr(Closing, "_append", append)


def end_in_two_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closing chunks go first, the terminal fence after them."""

    def end_at_tail(self: Closing, tail: int, following: Sequence[Record] = ()) -> Operation[Ending | None]:
        yield from self._catch_up(tail)
        *closing, fence = terminal_records(self._closing_chunks(), self._facts, back=tail - self.start)
        end = yield from self._append(closing, at=tail)
        if end is not None:
            end = yield from self._append([fence, *following], at=end)
        return None if end is None else self._ended(end - len(following))

    monkeypatch.setattr(Closing, "end_at_tail", end_at_tail)


def close_with_the_encoder_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that was refused goes on with an encoder that has already closed the answer."""
    monkeypatch.setattr(ending, "copy", SimpleNamespace(deepcopy=lambda encoder: encoder))


def close_what_was_seen_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that was refused closes only what it saw at first."""

    def catch_up(self: Closing, tail: int) -> Operation[None]:
        if not self._position > self.start:
            yield from original(self, tail)

    original = Closing._catch_up
    monkeypatch.setattr(Closing, "_catch_up", catch_up)


def look_for_the_end_at_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop of unknown outcome looks only at the newest generation."""

    def find_end(self: Closing) -> Operation[int | None]:
        head = yield from find_head()
        is_ours = head is not None and head.end is not None and head.end.by == self._facts.by
        return head.tail if head is not None and is_ours else None

    monkeypatch.setattr(Closing, "_find_end", find_end)


def claim_again_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim of unknown outcome goes again under whatever token the stream has by then."""

    def claim_(opening: Opening, *, guess: str = "", at: int | None = None) -> Operation[Claim | None]:
        token = guess
        while True:
            try:
                ack: AppendAck = yield Append(claim._claim_records(opening), token, at)
                return claim._granted(opening, ack.end)
            except AppendOutcomeUnknownError:
                continue
            except FencingTokenMismatchError as error:
                if not Token.parse(error.actual).is_free:
                    return None
                token = error.actual

    monkeypatch.setattr(claim, "claim", claim_)


def claim_under_any_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim swaps its token for the one the stream has, whoever owns that."""

    def claim_(opening: Opening, *, guess: str = "", at: int | None = None) -> Operation[Claim | None]:
        token = guess
        while True:
            try:
                ack: AppendAck = yield Append(claim._claim_records(opening), token, at)
                return claim._granted(opening, ack.end)
            except FencingTokenMismatchError as error:
                token = error.actual

    monkeypatch.setattr(claim, "claim", claim_)


def claim_wherever_the_tail_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim with a key does not name the tail at which the key was looked for."""
    monkeypatch.setattr(claim, "_position", lambda head, opening: None)


def stop_whatever_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not look at which generation runs."""
    stop = ending.stop
    monkeypatch.setattr(ending, "stop", lambda generation_id, encoder_for: stop(None, encoder_for))


def leave_the_silent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ends what has lost its writer."""
    monkeypatch.setattr(ending, "interrupt", lambda head, encoder_for, *, text: find_nothing())


def find_nothing() -> Operation[None]:
    yield from find_head()


def look_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that finds the stream owned looks again, and again."""

    def start(opening: Opening, *_: Any, guess: str, **__: Any) -> Operation[Claim]:
        while True:
            granted = yield from claim.claim(opening, guess=guess)
            if granted is not None:
                return granted

    monkeypatch.setattr(claim, "start", start)


def replace_in_two_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start ends what it replaces first, and claims the stream after that."""

    def attempt(self: claim._Replacing, head: Head) -> Operation[Claim | None]:
        closing = Closing(head, self._encoder_for(head.begin), EndReason.STOPPED)
        ended = yield from closing.end_at_tail(head.tail)
        granted = None if ended is None else (yield from claim.claim(self._opening, guess="end-"))
        return None if granted is None else replace(granted, ended=ended)

    monkeypatch.setattr(claim._Replacing, "attempt", attempt)


def replace_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start swaps the owner's token for its own, and writes no end."""

    def attempt(self: claim._Replacing, head: Head) -> Operation[Claim | None]:
        try:
            ack = yield Append(self._following, head.token.text, head.tail)
        except (AppendConditionError, AppendOutcomeUnknownError):
            return None
        return claim._granted(self._opening, ack.end)

    monkeypatch.setattr(claim._Replacing, "attempt", attempt)


def replace_what_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start decides once that it may replace what runs, and does not ask again when something else runs."""
    asked: dict[str, bool] = {}

    def may_replace(self: Opening, head: Head) -> bool:
        return asked.setdefault(self.token.text, True)

    monkeypatch.setattr(Opening, "may_replace", may_replace)


def forget_what_follows_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that has lost its reply takes the place of the end for the place of its claim."""
    find = Closing._find
    monkeypatch.setattr(Closing, "_find", lambda self, records, at, following: find(self, records, at, 0))


def replace_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that may replace what runs tries without a bound, and never gets there."""
    monkeypatch.setattr(claim._Replacing, "attempt", lambda self, head: find_nothing())


MUTANTS = [
    Mutant(append_again_without_a_position, "A", 1, "chunks stand once and in order"),
    Mutant(append_and_hope, "A", 1, "what is acknowledged is on the log"),
    Mutant(believe_that_it_landed, "AS", 1, "what is acknowledged is on the log"),
    Mutant(deny_that_it_landed, "AS", 1, "every end is told"),
    Mutant(append_without_the_token, "AS", 0, "nothing of a generation stands"),
    Mutant(end_at_no_position, "AS", 0, "who ends a generation has seen all of it"),
    Mutant(end_without_the_token, "AS", 0, "nothing of a generation stands"),
    Mutant(end_in_two_appends, "AS", 0, "an append of the owner does not end with SeqNumMismatchError"),
    Mutant(close_with_the_encoder_itself, "AS", 0, "a generation ends with its last chunk"),
    Mutant(close_what_was_seen_first, "AS", 0, "who ends a generation has seen all of it", stop_attempts=2),
    Mutant(look_for_the_end_at_the_head, "ABS", 1, "every end is told"),
    Mutant(claim_again_blindly, "AS", 1, "a generation begins once"),
    Mutant(claim_under_any_token, "AB", 0, "a stream has one owner at a time"),
    Mutant(claim_wherever_the_tail_is, "AB", 0, "a key begins one generation", keys=("key", "key")),
    Mutant(stop_whatever_runs, "ABT", 0, "a stop ends the generation it names"),
    Mutant(leave_the_silent_alone, "A", 0, "a waiting reader ends what has lost its writer"),
    Mutant(replace_in_two_appends, "AP", 0, "a start that stops a generation follows it at once"),
    Mutant(replace_without_an_end, "AP", 0, "a stream has one owner at a time"),
    Mutant(replace_what_came_since, "ABP", 0, "a start replaces what it may"),
    Mutant(forget_what_follows_an_end, "AP", 1, "a claim starts where it says"),
    Mutant(replace_for_ever, "AP", 0, "every operation comes to an end"),
    Mutant(look_for_ever, "AB", 0, "every operation comes to an end"),
]
