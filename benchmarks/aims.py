"""What a run should reach, for each log. Ratios are against the peer that is measured in the same run."""

from __future__ import annotations

from dataclasses import dataclass

LATER_THAN_COMMIT_MS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """Upper bounds; the defaults are those of the embedded log."""

    replay_time: float = 5
    """Times the bare app's."""
    first_chunk_ms: float = 20
    lone_latency_ms: float | None = None
    """From ``yield`` to client, of a single generation; ``None``: what a commit takes, and five milliseconds."""
    live_latency_ms: float | None = None
    """The same of many."""
    live_cpu: float = 3
    """Times the bare app's."""
    burst_cpu: float = 4
    fanout_cpu: float = 1.5
    fanout_p99: float = 2
    idle_reader_kib: float = 40
    generation_kib: float = 60
    """Of a running generation."""
    read_generation_kib: float = 100
    """Of a running generation and its reader."""
    stalled_client_kib: float = 1024
    reconnect: float = 2
    """Times what the same costs in a short answer."""
    lingering: float = 1.05
    """Times the operations and the delay of the npm package's batches, where they wait for 50 ms as those do."""
    stop_ms: float = 1000
    """Until a generation notices that another process has stopped it."""

    def latency_ms(self, generations: int, commit_ms: float) -> float:
        """Return the bound of the median from ``yield`` to client."""
        fixed = self.lone_latency_ms if generations == 1 else self.live_latency_ms
        return round(commit_ms + LATER_THAN_COMMIT_MS, 2) if fixed is None else fixed


EMBEDDED = Aims()
S2_LITE = Aims(
    replay_time=8,
    first_chunk_ms=30,
    lone_latency_ms=12,
    live_latency_ms=55,
    live_cpu=4.5,
    burst_cpu=5,
    read_generation_kib=60,
)
