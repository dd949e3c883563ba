"""What an answer is made of, whoever produces it and whatever format carries it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..types import FinishReason


class FormatChunk(NamedTuple):
    """A chunk in the format's own words."""

    data: Any
    """The decoded JSON value; a mapping, in formats whose chunks are objects."""
    text: str
    """The same as JSON, on one line."""
    made_of: str = ""
    """The class of the object that the app has yielded, with its module; empty for mappings and encoded events."""


class Reasoning(NamedTuple):
    """A piece of what the model thinks aloud; a piece of the answer itself is a plain ``str``."""

    delta: str


class File(NamedTuple):
    """A file that the model has made, for instance an image."""

    media_type: str
    url: str
    """Where it is, or all of it as a ``data:`` URL."""


class Source(NamedTuple):
    """A page that the model names as a source of its answer."""

    url: str
    """Begins with ``http:`` or ``https:``."""
    title: str


class Finish(NamedTuple):
    """Why the model has stopped; of a loop over several calls of a model, the last one counts."""

    reason: FinishReason

    @property
    def is_unusual(self) -> bool:
        """Return whether the answer is not what the model would have written in full."""
        return self.reason not in ("stop", "tool-calls")


class ToolInputStart(NamedTuple):
    """The model begins to call a tool."""

    call_id: str
    name: str


class ToolInputDelta(NamedTuple):
    """A piece of a call's input."""

    call_id: str
    delta: str


class ToolInput(NamedTuple):
    """A call is complete; ``input`` is its decoded JSON."""

    call_id: str
    name: str
    input: Any


class InvalidToolInput(NamedTuple):
    """A call is complete, but its input is not JSON."""

    call_id: str
    name: str
    raw_input: str


class ToolOutput(NamedTuple):
    """What a tool answered."""

    call_id: str
    output: Any


class ToolError(NamedTuple):
    """A tool failed; the text is for the model and for people."""

    call_id: str
    error_text: str


ToolItem = ToolInputStart | ToolInputDelta | ToolInput | InvalidToolInput | ToolOutput | ToolError
Item = str | FormatChunk | Reasoning | File | Source | Finish | ToolItem
