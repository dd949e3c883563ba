"""The scenarios: each a coroutine function that takes a :class:`Scale` and a :class:`Log` and gives figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..logs import Log
from ..report import Figure
from ..scale import Scale
from . import (
    appends,
    burst,
    crash,
    fanout,
    follows,
    live,
    memory,
    operations,
    reconnect,
    replay,
    snapshot,
    sockets,
    stop,
)

Scenario = Callable[[Scale, Log], Awaitable[list[Figure]]]

_EVERYWHERE: dict[str, Scenario] = {
    "replay": replay.run,
    "live": live.run,
    "burst": burst.run,
    "fanout": fanout.run,
    "sockets": sockets.run,
    "memory": memory.run,
    "reconnect": reconnect.run,
    "crash": crash.run,
    "stop": stop.run,
    "snapshot": snapshot.run,
}
_ON_S2: dict[str, Scenario] = {
    "operations": operations.run,
    "appends": appends.run,
    "follows": follows.run,
}
SCENARIOS = {"sqlite": _EVERYWHERE, "s2-lite": {**_EVERYWHERE, **_ON_S2}}
"""By the name of the log."""
