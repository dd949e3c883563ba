"""Types that every layer speaks of: messages, deliveries, and why an answer has ended."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal, get_args

Delivery = Literal["response", "replay"]
"""Whether the request that starts a generation streams it, or answers 202 and leaves that to another request."""

Message = dict[str, Any]
"""A chat message as the client library has it in memory (for the AI SDK: a ``UIMessage``)."""

FinishReason = Literal["stop", "length", "content-filter", "tool-calls", "other"]
FINISH_REASONS: tuple[FinishReason, ...] = get_args(FinishReason)


class EndReason(Enum):
    """Why a generation ended; the values stand on the log and on the wire."""

    FINISHED = "finished"
    """The producer came to its end."""
    STOPPED = "stopped"
    """Somebody stopped it."""
    FAILED = "failed"
    """The producer raised, or its output could not be encoded or stored."""
    INTERRUPTED = "interrupted"
    """The writer died or was shut down, and somebody else wrote the end."""
