"""The scenarios: each a coroutine function that takes a :class:`Scale` and gives figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..report import Figure
from ..scale import Scale
from . import burst, fanout, live, memory, reconnect, replay

Scenario = Callable[[Scale], Awaitable[list[Figure]]]

SCENARIOS: dict[str, Scenario] = {
    "replay": replay.run,
    "live": live.run,
    "burst": burst.run,
    "fanout": fanout.run,
    "memory": memory.run,
    "reconnect": reconnect.run,
}
