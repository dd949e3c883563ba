"""How large a run is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of a run; the defaults are those that the aims are about."""

    repeats: int = 3
    """How often each side is measured, in turn; the medians are reported."""
    window_seconds: float = 5.0
    """How long a steady state is watched."""
    settling_seconds: float = 1.5
    """How long before that nothing is measured."""
    replay_chunks: int = 100_000
    long_replay_chunks: int = 400_000
    turns: int = 200
    """Of a long chat; together they have :attr:`replay_chunks`."""
    commits: int = 200
    """Appends of one record that are measured alone."""
    generations: int = 200
    """That stream at the pace of a model, at once."""
    burst_generations: int = 100
    """That go as fast as they can, at once."""
    burst_chunks: int = 1_000
    readers: int = 1_000
    """Of one generation."""
    earlier_chunks: int = 100
    """Of a generation that has been running for a while when it is measured."""
    stalled_readers: int = 10
    reconnects: int = 50
    crashed_generations: int = 20
    """That one killed process was writing."""
    lease_seconds: float = 10
    """Of those; the product's default."""
    stops: int = 20
    paced_chunks: int = 1_000
    """Of the answer whose requests to S2 are counted."""
    writers: tuple[int, ...] = (1, 50)
    """That append to S2 at once."""
    appends: int = 2_000
    """Of all of them together."""
    follows: tuple[int, ...] = (1_000, 3_000)
    """Open at once."""
    idle_seconds: float = 15
    """How long they are watched while nothing comes; S2 sends each a ping at least that often."""


FULL = Scale()
QUICK = Scale(
    repeats=1,
    window_seconds=2.0,
    replay_chunks=20_000,
    long_replay_chunks=50_000,
    turns=50,
    generations=50,
    burst_generations=25,
    readers=200,
    stalled_readers=5,
    reconnects=20,
    crashed_generations=5,
    lease_seconds=3,
    stops=5,
    paced_chunks=250,
    appends=500,
    follows=(100, 300),
    idle_seconds=5,
)
