"""Whether a reader may go on: what the repeated check of its right to read can say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum


class Standing(Enum):
    """How a reader stands when its right to read is checked again."""

    HOLDS = "holds"
    RENEWED = "renewed"
    """The person has another session now: may read the running answer to its end, and must come again for more."""
    RECONNECT = "reconnect"
    """Must come again at once, to show who it is."""
    ENDED = "ended"
    """May read no more."""


Check = Callable[[], Awaitable[bool | Standing]]
"""Returns whether a reader may go on."""
