"""What a followed stream brings: events, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why there is nothing more to follow."""

    FINISHED = "finished"
    """The answer came to its end. Anthropic's events tell an answer that was stopped in the same way."""
    STOPPED = "stopped"
    """Somebody stopped it."""
    FAILED = "failed"
    """Its producer failed."""
    INTERRUPTED = "interrupted"
    """Its server died or was shut down. The events of the AI SDK and of Anthropic tell this as a failure."""
    NOTHING = "nothing"
    """There was nothing to follow: nothing runs, and nothing comes after the cursor."""
    UNTOLD = "untold"
    """It is over and complete; no event of it said how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a stream ended."""

    reason: Reason
    text: str = ""
    """What people are told of a failure or an interruption."""
    cause: str | None = None
    """Why the answer was interrupted or over a limit (``"shutdown"``, ``"lease-expired"``, ``"taken-over"``,
    ``"limit-exceeded"``), where the format tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a stream."""

    data: str
    name: str = "message"
    """The event's type."""
    cursor: int | None = None
    """Where to go on after this event; ``None`` if the server gave it no number."""

    def json(self) -> Any:
        """Decode the data.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.data)


EndOf = Callable[[Event], End | None]
"""Tells how a stream ended whose last event this is; ``None`` if it is no event that ends one."""

_TYPES = {
    # AI SDK
    "finish": Reason.FINISHED,
    "abort": Reason.STOPPED,
    "error": Reason.FAILED,
    # AG-UI, TanStack AI
    "RUN_FINISHED": Reason.FINISHED,
    "RUN_ERROR": Reason.FAILED,
    # Anthropic, whose errors have the same type as those of the AI SDK
    "message_stop": Reason.FINISHED,
}


def end_of(event: Event) -> End | None:
    """Read the last event as the formats of this app end their answers."""
    try:
        data = json.loads(event.data)
    except ValueError:
        data = None
    fields: dict[str, Any] = data if isinstance(data, dict) else {}
    if event.name == "end":
        reason = fields.get("reason")
        cause = fields.get("cause")
        return End(
            reason=Reason(reason) if reason in _TOLD else Reason.UNTOLD,
            text=_text(fields),
            cause=cause if isinstance(cause, str) else None,
        )
    found = _TYPES.get(str(fields.get("type")))
    if found is None:
        return None
    if found is Reason.FAILED:
        is_interrupted = fields.get("code") == "interrupted"
        return End(reason=Reason.INTERRUPTED if is_interrupted else found, text=_text(fields))
    return End(reason=Reason.STOPPED if _is_cancelled(fields) else found)


def _is_cancelled(fields: dict[str, Any]) -> bool:
    """Return whether a ``RUN_FINISHED`` of AG-UI ends a stopped run; before version 1.0, its metadata says so."""
    outcome, metadata = fields.get("outcome"), fields.get("metadata")
    if isinstance(outcome, dict):
        return outcome.get("type") == "cancelled"
    mark = metadata.get("resumable_stream") if isinstance(metadata, dict) else None
    return isinstance(mark, dict) and mark.get("outcome") == "cancelled"


_TOLD = {Reason.FINISHED, Reason.STOPPED, Reason.FAILED, Reason.INTERRUPTED}


def _text(fields: dict[str, Any]) -> str:
    """Find the words of an error, wherever the format has them."""
    error = fields.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    found = (fields.get("errorText"), fields.get("message"), error)
    return next((text for text in found if isinstance(text, str)), "")
