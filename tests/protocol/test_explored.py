"""Every order in which those who share a stream can act, with every fault, within bounds.

The bounds are who takes part, what the writers append, and how many faults happen; within them nothing is left out.
By default some 1.3 million states are visited, which takes under a minute; with ``EXPLORE=full`` in the
environment there are 40 million, which takes eight minutes and 3 GB of memory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest

from resumable_stream.protocol import claim, ending, head
from resumable_stream.protocol.layout import Token
from resumable_stream.records import Record

from .actors import Actor, Reader, Stopper, Writer, randomness
from .explorer import Explorer
from .fakes import LEASE_SECONDS, ScriptedWriter, generation_id
from .invariants import LogChecker, check_told
from .model_log import Log, Stream
from .mutants import MUTANTS, Mutant

CHUNKS = {"A": ["A1", "A2", "A3"], "B": ["B1"], "P": ["P1"], "Q": ["Q1"]}


def cast_of(letters: str, *, mode: str = "session", keys: tuple[str, str] = ("", "")) -> list[Actor]:
    """Make those whom the letters name.

    Writers A and B; writers that replace what runs: P (A alone) and Q (anything); stoppers S (of anything) and T (of A
    alone); a reader R.
    """
    everybody = {
        "A": Writer("A", CHUNKS["A"][:1], CHUNKS["A"][1:], mode=mode, key=keys[0]),
        "B": Writer("B", CHUNKS["B"], mode=mode, key=keys[1]),
        "P": Writer("P", CHUNKS["P"], mode=mode, key=keys[1], replaces="A"),
        "Q": Writer("Q", CHUNKS["Q"], mode=mode, replaces="ABPQZ"),
        "S": Stopper("S", mode=mode),
        "T": Stopper("T", "A", mode=mode),
        "R": Reader("R", mode=mode),
    }
    return [everybody[letter] for letter in letters]


@cache
def explored(
    cast: str, *, faults: int, log: Log, mode: str, keys: tuple[str, str], attempts: int
) -> tuple[int, Collection[str]]:
    """Explore once, however many tests look at it; return how many states there are, and what operations came to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending, "STOP_ATTEMPTS", attempts)
        patch.setattr(claim, "REPLACE_ATTEMPTS", attempts)
        explorer = explore(cast_of(cast, mode=mode, keys=keys), faults=faults, log=log, mode=mode)
    return len(explorer.visited), frozenset(explorer.outcomes)


def explore(actors: Sequence[Actor], *, faults: int, log: Log | None = None, mode: str = "session") -> Explorer:
    trims = mode == "shared"
    explorer = Explorer(
        actors,
        log or Log(),
        faults=faults,
        check_log=LogChecker(CHUNKS),
        # Where claims trim, the next one may take what would tell who has ended a generation.
        check_told=accept if trims and faults else check_told,
        trims=trims,
    )
    explorer.run()
    return explorer


def accept(log: Log, reports: Collection[str]) -> None:
    """Accept that nobody knows."""


@pytest.fixture(autouse=True)
def nothing_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an operation that is fed the same answers do the same."""
    monkeypatch.setattr(ending, "secrets", randomness)
    monkeypatch.setattr(ending, "new_generation_id", lambda: randomness.token_hex(6).ljust(20, "-"))
    monkeypatch.setattr(head, "new_generation_id", lambda: "nobody's token")


def used() -> Log:
    """Make a stream with one generation that has ended."""
    stream = Stream()
    ScriptedWriter(stream, "Z").finish()
    return stream.log


def foreign() -> Log:
    """Make a stream that a Node service owns."""
    return Log().append([Record.fence("session-k3x9q2ab"), Record("1")])


def emptied() -> Log:
    """Make a stream whose owner is gone, and of whose records retention has left nothing."""
    token = Token.owner(generation_id("Z"), LEASE_SECONDS)
    return Log().append([Record.fence(token.text), Record("1")]).expire()


NEW = Log()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Who meets on which stream, how many faults happen, and what must have been seen for that to be worth its time."""

    cast: str
    faults: int
    states: int
    """How many there were when the bound was chosen."""
    seen: frozenset[str]
    """What operations came to, among others."""
    mode: str = "session"
    keys: tuple[str, str] = ("", "")
    log: Log = NEW
    stop_attempts: int = 1
    """How often a stop tries to meet the tail: the writers here would be done before they had outrun ten attempts."""


WRITTEN = frozenset({"A start: Claim", "A write: AppendAck", "A write: GenerationLostError"})
CONTENDED = WRITTEN | {"B start: Claim", "B start: Claim with Ending", "A start: GenerationActiveError"}
LOST = frozenset({"A start: AppendOutcomeUnknownError", "A start: GenerationLostError"})
STOPPED = frozenset({"S start: Ending", "S start: NoneType"})
STOPPED_BY_NAME = frozenset({"T start: Ending", "T start: NoneType"})
INTERRUPTED = frozenset({"R start: Ending", "R start: NoneType"})
REPLACED = frozenset({"P start: Claim", "P start: Claim with Ending"})
ATTACHED = frozenset({"A start: Claim", "A start: Head", "B start: Head"})

SCENARIOS = {
    "everybody": Scenario(
        cast="ABSTR",
        faults=0,
        states=340_471,
        seen=CONTENDED | STOPPED | STOPPED_BY_NAME | INTERRUPTED | {"T start: GenerationActiveError"},
    ),
    "two writers": Scenario(cast="AB", faults=4, states=18_764, seen=CONTENDED | LOST),
    "two writers and a stopper": Scenario(cast="ABS", faults=2, states=152_296, seen=CONTENDED | LOST | STOPPED),
    "two writers and a reader": Scenario(cast="ABR", faults=2, states=39_804, seen=CONTENDED | LOST | INTERRUPTED),
    "two stoppers that try twice": Scenario(
        cast="AST", faults=3, states=121_164, seen=WRITTEN | STOPPED | STOPPED_BY_NAME, stop_attempts=2
    ),
    "a writer that replaces another": Scenario(
        cast="AP", faults=2, states=8_000, seen=WRITTEN | REPLACED | LOST, stop_attempts=2
    ),
    "a writer that replaces another, and a stopper": Scenario(
        cast="APT", faults=1, states=52_342, seen=WRITTEN | REPLACED | STOPPED_BY_NAME
    ),
    "a writer that replaces another, and a reader": Scenario(
        cast="APR", faults=1, states=20_896, seen=WRITTEN | REPLACED | INTERRUPTED
    ),
    "a writer that may not replace the second": Scenario(
        cast="ABP", faults=0, states=52_611, seen=CONTENDED | REPLACED | {"P start: GenerationActiveError"}
    ),
    "two writers that replace": Scenario(
        cast="APQ", faults=0, states=135_462, seen=WRITTEN | REPLACED | {"Q start: Claim with Ending"}
    ),
    "a writer that replaces another, one key": Scenario(
        cast="AP",
        faults=2,
        states=328,
        seen=frozenset({"A start: Claim", "A start: Head", "P start: Claim", "P start: Head"}),
        keys=("key", "key"),
    ),
    "shared, a writer that replaces another": Scenario(
        cast="AP", faults=1, states=29_902, seen=WRITTEN | REPLACED, mode="shared"
    ),
    "single use, a writer that would replace another": Scenario(
        cast="AP",
        faults=1,
        states=20,
        seen=frozenset({"A start: Claim", "A write: AppendAck", "P start: GenerationActiveError"}),
        mode="single-use",
    ),
    "a foreign owner that is replaced": Scenario(
        cast="QS",
        faults=1,
        states=100,
        seen=frozenset({"Q start: Claim with Ending", "S start: Ending"}),
        log=foreign(),
    ),
    "a used stream": Scenario(cast="ABSR", faults=0, states=33_795, seen=CONTENDED | STOPPED | INTERRUPTED, log=used()),
    "one key": Scenario(cast="ABST", faults=1, states=30_708, seen=ATTACHED | LOST | STOPPED, keys=("key", "key")),
    "two keys": Scenario(cast="ABS", faults=1, states=47_330, seen=CONTENDED | LOST | STOPPED, keys=("one", "two")),
    "shared, with faults": Scenario(cast="AB", faults=1, states=9_968, seen=CONTENDED | LOST, mode="shared"),
    "shared, with a stopper": Scenario(cast="ABS", faults=0, states=166_436, seen=CONTENDED | STOPPED, mode="shared"),
    "shared, with a reader": Scenario(cast="ABR", faults=0, states=47_761, seen=CONTENDED | INTERRUPTED, mode="shared"),
    "shared, one key": Scenario(
        cast="ABS", faults=1, states=51_244, seen=ATTACHED | LOST | STOPPED, mode="shared", keys=("key", "key")
    ),
    "single use": Scenario(
        cast="ABSR", faults=1, states=12_250, seen=WRITTEN | LOST | STOPPED | INTERRUPTED, mode="single-use"
    ),
    "a foreign owner": Scenario(
        cast="ABS", faults=1, states=4_761, seen=CONTENDED | LOST | {"S start: Ending"}, log=foreign()
    ),
    "a foreign owner, shared": Scenario(
        cast="ASR",
        faults=0,
        states=68_888,
        seen=WRITTEN | STOPPED | INTERRUPTED | {"A start: Claim with Ending"},
        mode="shared",
        log=foreign(),
    ),
    "an emptied stream": Scenario(cast="AB", faults=1, states=13_210, seen=CONTENDED, log=emptied()),
    "an emptied stream, ended": Scenario(
        cast="ASR", faults=0, states=17_585, seen=WRITTEN | STOPPED | INTERRUPTED, log=emptied()
    ),
}

MORE_SCENARIOS = {
    "more: everybody, with a fault": replace(
        SCENARIOS["everybody"], faults=1, states=4_991_085, seen=SCENARIOS["everybody"].seen | LOST
    ),
    "more: everybody, trying twice": replace(
        SCENARIOS["everybody"], faults=1, states=4_991_085, seen=SCENARIOS["everybody"].seen | LOST, stop_attempts=2
    ),
    "more: two writers": replace(SCENARIOS["two writers"], faults=8),
    "more: two writers and a stopper": replace(SCENARIOS["two writers and a stopper"], faults=4),
    "more: two writers and a reader": replace(SCENARIOS["two writers and a reader"], faults=5),
    "more: two stoppers that try three times": replace(
        SCENARIOS["two stoppers that try twice"], faults=5, stop_attempts=3
    ),
    "more: a writer that replaces another, with more faults": replace(
        SCENARIOS["a writer that replaces another"], faults=4
    ),
    "more: two writers that replace": replace(SCENARIOS["two writers that replace"], faults=1),
    "more: two writers and two stoppers": replace(
        SCENARIOS["two writers and a stopper"], cast="ABST", faults=2, states=604_452
    ),
    "more: a used stream": replace(SCENARIOS["a used stream"], faults=1),
    "more: one key": replace(SCENARIOS["one key"], faults=3),
    "more: two keys": replace(SCENARIOS["two keys"], cast="ABSR"),
    "more: shared, with more faults": replace(SCENARIOS["shared, with faults"], faults=3),
    "more: shared, everybody": replace(SCENARIOS["shared, with a stopper"], cast="ABSR"),
    "more: single use": replace(SCENARIOS["single use"], faults=4),
    "more: a foreign owner": replace(SCENARIOS["a foreign owner"], cast="ABSR", faults=2),
    "more: a foreign owner, shared": replace(SCENARIOS["a foreign owner, shared"], faults=1),
    "more: an emptied stream": replace(SCENARIOS["an emptied stream"], cast="ABS"),
}
ALL_SCENARIOS = SCENARIOS | MORE_SCENARIOS


@pytest.mark.parametrize("name", ALL_SCENARIOS if os.environ.get("EXPLORE") == "full" else SCENARIOS)
def test_every_promise_holds_in_every_order(name: str) -> None:
    scenario = ALL_SCENARIOS[name]
    states, outcomes = explored(
        scenario.cast,
        faults=scenario.faults,
        log=scenario.log,
        mode=scenario.mode,
        keys=scenario.keys,
        attempts=scenario.stop_attempts,
    )
    assert scenario.seen - set(outcomes) == set()
    # Far fewer would mean that something has come to be left out.
    assert states > scenario.states // 2


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.patch.__name__)
def test_a_protocol_with_a_flaw_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    explored(
        mutant.cast, faults=mutant.faults, log=NEW, mode="session", keys=mutant.keys, attempts=mutant.stop_attempts
    )
    monkeypatch.setattr(ending, "STOP_ATTEMPTS", mutant.stop_attempts)
    monkeypatch.setattr(claim, "REPLACE_ATTEMPTS", mutant.stop_attempts)
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.promise):
        explore(cast_of(mutant.cast, keys=mutant.keys), faults=mutant.faults)
