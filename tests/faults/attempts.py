"""What a run's actors mean to do: sources that number what they yield, and the turns of a chat, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum

from resumable_stream.protocol.layout import new_generation_id


class SourceError(Exception):
    """The failure that a plan asked for."""


class Ending(Enum):
    """How a turn's source, or what becomes of it, is meant to end."""

    FINISH = "finish"
    FAIL = "fail"
    STOP_HERE = "stopped by its own process"
    STOP_THERE = "stopped by the other process"
    DIE = "writer dies, readers wait"
    DIE_ALONE = "writer dies, nobody waits"


@dataclass(slots=True)
class Attempt:
    """One start: what its source yields, and what has become of it."""

    sizes: list[int]
    pauses: list[float]
    ending: Ending = Ending.FINISH
    id: str = field(default_factory=new_generation_id)
    key: str = ""
    act_at: int = 0
    """After this many chunks it is stopped or dies, if it is meant to."""
    yielded: list[str] = field(default_factory=list)
    accepted: int = 0
    """How many of them the writer has taken: it asked for the next one."""
    opened: int = 0
    closed: int = 0
    is_granted: bool = False
    was_stopped_here: bool = False
    may_be_replaced: bool = False
    """Whether a rival that replaces what runs has seen it running."""
    ends_told: list[str] = field(default_factory=list)
    """The end reasons that ``on_end`` was called with."""
    ripe: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is time to stop or kill it, or when its source is over."""

    def again(self) -> Attempt:
        """Make the same attempt under an id of its own: ids are never used twice."""
        return Attempt(self.sizes, self.pauses, self.ending, key=self.key, act_at=self.act_at)

    async def source(self) -> AsyncGenerator[str, None]:
        """Yield numbered chunks."""
        self.opened += 1
        try:
            for number, (size, pause) in enumerate(zip(self.sizes, self.pauses, strict=True)):
                if number == self.act_at:
                    self.ripe.set()
                self.yielded.append(f"{self.id} {number} {'é' * (size // 2)}")
                yield self.yielded[-1]
                self.accepted += 1
                if pause:
                    await asyncio.sleep(pause)
            if self.ending is Ending.FAIL:
                raise SourceError
            if self.ending is not Ending.FINISH:
                self.ripe.set()
                await asyncio.Event().wait()
        finally:
            self.closed += 1
            self.ripe.set()


@dataclass(slots=True)
class Turn:
    """One message and its answer."""

    attempt: Attempt
    here: int
    """Which of the two processes takes it."""
    readers: list[int]
    """Where the further readers connect."""
    rival: Attempt | None
    """A second start at the same time, in the other process."""
    rival_after: float
    rival_replaces: bool
    """Whether the second start stops what runs, rather than being refused."""
    starter_reads: bool


def draw_turns(draw: random.Random, *, is_single: bool) -> list[Turn]:
    """Draw the turns of a run."""
    return [_draw_turn(draw) for _ in range(1 if is_single else draw.randint(1, 3))]


def _draw_turn(draw: random.Random) -> Turn:
    ending = draw.choice((Ending.FINISH, Ending.FINISH, *Ending))
    attempt = _draw_attempt(draw, draw.randint(1, 120), ending)
    rival = _draw_attempt(draw, draw.randint(1, 5), Ending.FINISH) if draw.random() < 0.3 else None
    if draw.random() < 0.3:
        attempt.key = attempt.id
    return Turn(
        attempt=attempt,
        here=draw.randint(0, 1),
        readers=[draw.randint(0, 1) for _ in range(draw.randint(0 if ending is Ending.DIE_ALONE else 1, 2))],
        rival=rival,
        rival_after=draw.uniform(0, 0.3),
        starter_reads=draw.random() < 0.8 and ending is not Ending.DIE_ALONE,
        rival_replaces=draw.random() < 0.5,
    )


def _draw_attempt(draw: random.Random, count: int, ending: Ending) -> Attempt:
    sizes = [draw.choice((0, 4, 20, 20, 20, 200, 2000)) for _ in range(count)]
    if draw.random() < 0.06:
        # Over 800 kB a chunk is split over records, and over appends.
        sizes[draw.randrange(count)] = draw.choice((850_000, 1_700_000))
    longest = draw.choice((0.0, 0.005, 0.02))
    pauses = [draw.uniform(0, longest) for _ in range(count)]
    if draw.random() < 0.1:
        pauses[draw.randrange(count)] = draw.uniform(0.4, 1.5)  # Long enough for heartbeats.
    return Attempt(sizes=sizes, pauses=pauses, ending=ending, act_at=draw.randrange(count))
