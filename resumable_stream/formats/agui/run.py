"""One run as a stream of AG-UI events: begun once, in order, and ended once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...types import EndReason
from ..jsontext import encode
from .events import AGUIEvent, OpenEvents, opener_of

_INTERMEDIATE = "tool_calls"
"""The finish reason of TanStack AI's runs that go on once the tools have answered."""


def stated_reason(event: AGUIEvent) -> Any:
    """Read why a run finished, from either of the places where TanStack AI writes it."""
    metadata = event.get("metadata")
    extras = metadata.get("tanstack") if isinstance(metadata, Mapping) else None
    nested = extras.get("finishReason") if isinstance(extras, Mapping) else None
    return event.get("finishReason", nested)


def is_intermediate(event: AGUIEvent) -> bool:
    """Tell whether a ``RUN_FINISHED`` ends but one round of a run."""
    outcome = event.get("outcome")
    is_interrupt = isinstance(outcome, Mapping) and outcome.get("type") == "interrupt"
    return stated_reason(event) == _INTERMEDIATE and not is_interrupt


class Run:
    """The events of one run on their way out."""

    def __init__(
        self, run_id: str, thread_id: str, *, store: Callable[[str], None], note: Callable[[AGUIEvent], None]
    ) -> None:
        """Begin with nothing; ``store`` gets every chunk, ``note`` every event that becomes part of the run."""
        self.run_id = run_id
        self.thread_id = thread_id
        self.open = OpenEvents()
        self.end: EndReason | None = None
        """How it ended: clients take nothing more."""
        self._store = store
        self._note = note
        self._is_started = False

    def begin(self) -> None:
        """Send ``RUN_STARTED``, unless it was."""
        if not self._is_started:
            self._is_started = True
            self._store(encode({"type": "RUN_STARTED", "runId": self.run_id, "threadId": self.thread_id}))

    def send(self, event: AGUIEvent, text: str | None = None) -> None:
        """Send an event, or leave it out if it has no place; ``text`` is its JSON if that is known."""
        if self.end is not None:
            return
        if not self.open.has_place(event):
            opener = opener_of(event)
            if opener is None:
                return
            self.send(opener)
        encoded = text or encode(event)
        self.begin()
        self._store(encoded)
        self._take_note(event)

    def close(self) -> None:
        """Close what is open."""
        for event in self.open.closing():
            self.send(event)

    def finish(self, event: AGUIEvent, reason: EndReason) -> None:
        """Close what is open and end with ``event``, unless the run is over."""
        self.close()
        self.send(event)
        self.end = self.end or reason

    def _take_note(self, event: AGUIEvent) -> None:
        self.open.note(event)
        self._note(event)

    def observe(self, event: AGUIEvent) -> None:
        """Take note of an event that is already stored."""
        kind = event["type"]
        if kind == "RUN_STARTED":
            self._is_started = True
            # Another program's generation may consist of several.
            self.end = None
            self.run_id = str(event.get("runId") or self.run_id)
            self.thread_id = str(event.get("threadId") or self.thread_id)
        elif kind == "RUN_ERROR":
            self.end = EndReason.FAILED
        elif kind == "RUN_FINISHED" and not is_intermediate(event):
            self.end = EndReason.FINISHED
        self._is_started = True
        self._take_note(event)
