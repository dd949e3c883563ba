"""Runs the protocol's operations against one model log in every order, with every fault, and looks at each state.

A state is the log, where each actor stands, which requests are still under way, and how many faults may yet happen.
Generators cannot be copied, so where an actor stands is the stage it is in and the answers its operation has had there:
a new generator that is fed the same answers stands in the same place. The first answer that a place meets goes to the
generator that stands there; only further ones need a new generator.

One kind of fault covers all that can happen to an append. Its sender is told that the outcome is unknown, and the
request stays under way, to be applied at any later moment, or never. Applied at once, it is a reply that was lost;
never applied, a request that was lost; applied late, a duplicate of what its sender has sent again by then. That an
actor dies needs no step: to the others it is one whose turn does not come. What must hold when all have gone is looked
at on every log.

What keeps the number of states down, without hiding any:

- Where a range of the log can never change, reading it is not a step of its own: whatever the others do before it or
  after it, its answer is the same.
- A request under way that the log would refuse now is forgotten. Tokens do not come back and positions do not shrink,
  so it would be refused at any later moment too, and nobody waits for the refusal.
- Logs, effects, answers and places are numbered, and what follows from them is worked out once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from resumable_stream.exceptions import AppendConditionError, AppendOutcomeUnknownError, ResumableStreamError
from resumable_stream.protocol.effects import Append, Effect, Operation, Read, Tail

from .actors import Actor, Drawn, Outcome, Stage, randomness, require
from .model_log import LONG_AGO_MS, Log, perform

MAX_ANSWERS = 60
"""An operation that has had so many answers and still asks for more would go on for ever."""


class _Refusal(NamedTuple):
    """An error, as an answer that can be compared and numbered."""

    kind: type[ResumableStreamError]
    fact: Any

    @classmethod
    def of(cls, error: ResumableStreamError) -> _Refusal:
        return cls(type(error), *vars(error).values())


_UNKNOWN = _Refusal(AppendOutcomeUnknownError, "The reply was lost.")


class _Paused(NamedTuple):
    """A generator that waits for an answer, and what it has drawn of the random values by now."""

    operation: Operation[Any]
    drawn: Drawn


@dataclass(slots=True)
class _Place:
    """Where an actor stands: what it wants done next, or what its operation came to."""

    actor: int
    stage: Stage
    history: tuple[int, ...]
    effect: int | None = None
    outcome: Outcome | None = None
    after: dict[int, int] = field(default_factory=dict)
    """The place that each answer leads to."""
    paused: _Paused | None = None
    """The generator that stands here, until it is fed an answer."""


T = TypeVar("T", bound=Hashable)


class _Numbers(Generic[T]):
    """Gives each value a number, equal values the same."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def of(self, value: T) -> int:
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


State = tuple[int, ...]
"""Numbers: of the log, how many faults may yet happen, of the requests under way, and of each actor's place."""
PLACES = 3
"""Where the places begin in a state."""


class Step(NamedTuple):
    """What leads from one state to the next."""

    who: str
    what: str
    effect: int | None = None


class _Move(NamedTuple):
    """What an actor can do next, and where that leads; depends on the log and on its own place alone."""

    step: Step
    log: int
    place: int
    faults: int = 0
    """How many faults it takes."""
    request: int | None = None
    """The effect that stays under way although its sender waits no more."""


class Explorer:
    """Visits every state that actors can reach from a log; raises what is wrong with a note of the way there."""

    def __init__(
        self,
        actors: Sequence[Actor],
        log: Log,
        *,
        faults: int,
        check_log: Callable[[Log], None],
        check_told: Callable[[Log, Collection[str]], None],
        trims: bool = False,
    ) -> None:
        self.visited: set[State] = set()
        self.outcomes: Counter[str] = Counter()
        """What operations came to; shows that the interesting cases did occur."""
        self._actors = actors
        self._check_log = check_log
        self._check_told = check_told
        self._trims = trims
        self._may_fail = faults > 0
        self._logs: _Numbers[Log] = _Numbers()
        self._effects: _Numbers[Effect] = _Numbers()
        self._answers: _Numbers[Any] = _Numbers()
        self._requests: _Numbers[tuple[int, ...]] = _Numbers()
        self._unknown = self._answers.of(_UNKNOWN)
        self._places: list[_Place] = []
        self._place_numbers: dict[tuple[int, Stage, tuple[int, ...]], int] = {}
        self._known_moves: dict[tuple[int, int], list[_Move]] = {}
        self._known_requests: dict[tuple[int, int, int | None], int] = {}
        self._performed: dict[tuple[int, int, bool], tuple[int, int]] = {}
        self._settled: dict[tuple[int, int], int] = {}
        self._doing = Step("Nobody", "has done anything")
        places = [self._place(index, Stage("start"), ()) for index in range(len(actors))]
        self._first: State = (self._logs.of(log), faults, self._requests.of(()), *places)

    def run(self) -> None:
        """Visit all states, depth first."""
        path: list[Step] = []
        visited = self.visited
        visited.add(self._first)
        try:
            stack = [iter(self._successors(self._first))]
            while stack:
                for step, state in stack[-1]:
                    if state not in visited:
                        visited.add(state)
                        path.append(step)
                        stack.append(iter(self._successors(state)))
                        break
                else:
                    stack.pop()
                    del path[-1:]
        except Exception as error:
            for who, what, effect in [*path, self._doing]:
                error.add_note(f"{who} {what}" + ("" if effect is None else f": {_told(self._effects.values[effect])}"))
            raise

    def _successors(self, state: State) -> list[tuple[Step, State]]:
        log, faults, requests = state[:PLACES]
        successors = []
        for index in range(PLACES, len(state)):
            for move in self._moves(log, state[index]):
                if move.faults > faults:
                    continue
                left = requests
                if move.log != log or move.request is not None:
                    left = self._under_way(move.log, requests, move.request)
                places = (*state[PLACES:index], move.place, *state[index + 1 :])
                if self._places[move.place].stage.reports:
                    self._check_reports(move.step, places)
                successors.append((move.step, (move.log, faults - move.faults, left, *places)))
        for step, after, left in self._arrivals(log, requests):
            successors.append((step, (after, faults, left, *state[PLACES:])))
        if all(self._places[number].effect is None for number in state[PLACES:]):
            self._doing = Step("Everybody", "is done")
            self._check_told(self._logs.values[log], self._reports(state[PLACES:]))
        return successors

    def _reports(self, places: Sequence[int]) -> list[str]:
        return [report for number in places for report in self._places[number].stage.reports]

    def _check_reports(self, step: Step, places: Sequence[int]) -> None:
        self._doing = step
        told = self._reports(places)
        require(len(told) == len(set(told)), "the end of a generation is told once")

    def _moves(self, log: int, number: int) -> list[_Move]:
        moves = self._known_moves.get((log, number))
        if moves is None:
            place = self._places[number]
            moves = [] if place.effect is None else list(self._find_moves(log, number, place, place.effect))
            self._known_moves[log, number] = moves
        return moves

    def _find_moves(self, log: int, number: int, place: _Place, effect: int) -> Iterator[_Move]:
        who = self._actors[place.actor]
        is_watched = who.watches_silence and isinstance(self._effects.values[effect], Tail)
        for silent in (False, True) if is_watched else (False,):
            self._doing = Step(who.name, "finds it silent" if silent else "asks", effect)
            after, answer = self._perform(log, effect, silent)
            yield _Move(self._doing, after, self._where_it_leads(after, self._next(number, answer)))
        if self._may_fail and isinstance(self._effects.values[effect], Append):
            self._doing = Step(who.name, "gets no answer", effect)
            yield _Move(self._doing, log, self._where_it_leads(log, self._next(number, self._unknown)), 1, effect)

    def _arrivals(self, log: int, requests: int) -> Iterator[tuple[Step, int, int]]:
        under_way = self._requests.values[requests]
        for index, request in enumerate(under_way):
            self._doing = step = Step("A request", "arrives late", request)
            after, _ = self._perform(log, request, False)
            others = self._requests.of(under_way[:index] + under_way[index + 1 :])
            yield step, after, self._under_way(after, others, None)

    def _where_it_leads(self, log: int, number: int) -> int:
        """Give the place where an actor gets to from another before anybody can interfere."""
        while True:
            place = self._places[number]
            if place.outcome is not None:
                number = self._settle(log, number, place.outcome)
            elif place.effect is not None and self._is_settled(log, place.effect):
                number = self._next(number, self._perform(log, place.effect, False)[1])
            else:
                return number

    def _is_settled(self, log: int, effect: int) -> bool:
        """Tell whether the log will answer an effect in the same way for ever."""
        asked = self._effects.values[effect]
        return isinstance(asked, Read) and not self._trims and asked.start + asked.limit <= self._logs.values[log].tail

    def _settle(self, log: int, number: int, outcome: Outcome) -> int:
        after = self._settled.get((log, number))
        if after is None:
            place = self._places[number]
            who = self._actors[place.actor]
            self.outcomes[f"{who.name} {place.stage.doing}: {outcome}"] += 1
            stage = who.settle(place.stage, outcome, self._logs.values[log])
            after = self._settled[log, number] = self._place(place.actor, stage, ())
        return after

    def _next(self, number: int, answer: int) -> int:
        """Give the place an answer leads to."""
        place = self._places[number]
        after = place.after.get(answer)
        if after is None:
            paused, place.paused = place.paused, None
            after = place.after[answer] = self._place(place.actor, place.stage, (*place.history, answer), paused)
        return after

    def _place(self, actor: int, stage: Stage, history: tuple[int, ...], paused: _Paused | None = None) -> int:
        number = self._place_numbers.get((actor, stage, history))
        if number is None:
            number = self._place_numbers[actor, stage, history] = len(self._places)
            place = _Place(actor, stage, history)
            self._places.append(place)
            if stage.doing:
                self._bring_to(place, paused)
        return number

    def _bring_to(self, place: _Place, paused: _Paused | None) -> None:
        """Bring an operation to ``place`` and see what it does there; ``paused`` is one that lacks the last answer."""
        require(len(place.history) <= MAX_ANSWERS, "every operation comes to an end")
        try:
            if paused is None:
                operation, missing = self._actors[place.actor].operation(place.stage), place.history
                effect = next(operation)
            else:
                operation, missing = paused.operation, place.history[-1:]
                randomness.go_on(paused.drawn)
            for number in missing:
                answer = self._answers.values[number]
                if isinstance(answer, _Refusal):
                    effect = operation.throw(answer.kind(answer.fact))
                else:
                    effect = operation.send(answer)
        except StopIteration as stopped:
            place.outcome = Outcome(stopped.value)
        except ResumableStreamError as error:
            place.outcome = Outcome(error=error)
        else:
            if isinstance(effect, Append):
                effect = effect._replace(records=tuple(effect.records))
            place.effect, place.paused = self._effects.of(effect), _Paused(operation, randomness.drawn)

    def _perform(self, log: int, effect: int, silent: bool) -> tuple[int, int]:
        """Give the log after an effect, and the answer."""
        result = self._performed.get((log, effect, silent))
        if result is None:
            answer: Any
            before = after = self._logs.values[log]
            try:
                silent_ms = LONG_AGO_MS if silent else 0
                after, answer = perform(before, self._effects.values[effect], silent_ms=silent_ms)
            except ResumableStreamError as error:
                answer = _Refusal.of(error)
            if after is not before:
                self._check_log(after)
            result = self._performed[log, effect, silent] = self._logs.of(after), self._answers.of(answer)
        return result

    def _under_way(self, log: int, requests: int, request: int | None) -> int:
        """Add a request to those under way, and leave out those that the log would refuse now, and so for ever."""
        known = self._known_requests.get((log, requests, request))
        if known is None:
            all_ = [*self._requests.values[requests], *([] if request is None else [request])]
            possible = (number for number in all_ if self._takes(log, number))
            known = self._known_requests[log, requests, request] = self._requests.of(tuple(sorted(possible)))
        return known

    def _takes(self, log: int, request: int) -> bool:
        effect = self._effects.values[request]
        assert isinstance(effect, Append)
        try:
            self._logs.values[log].append(*effect)
        except AppendConditionError:
            return False
        return True


def _told(effect: Effect) -> str:
    if not isinstance(effect, Append):
        return repr(effect)
    records = " ".join(f"[{record.body or dict(record.headers)}]" for record in effect.records)
    return f"Append({records}, fencing_token={effect.fencing_token!r}, match_seq_num={effect.match_seq_num})"
