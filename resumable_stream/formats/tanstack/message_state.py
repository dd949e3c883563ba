"""What a TanStack AI client remembers of a message while it is streamed, and how its parts grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...types import Message
from ..javascript import MISSING
from ..jsontext import encode, mend_surrogates
from .messages import TanStackPart, extras, text
from .partial_json import parse_partial
from .transcript import Transcript

MOST_TRIES = 20
"""Pieces that are left out, one after the other, of a JSON text that cannot be read: an object always can, however it
ends, and the text of anything else is no structured answer."""


class TextGrowth:
    """Parts whose text is still in pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[TanStackPart, str, list[str]]] = {}

    def add(self, part: TanStackPart, name: str, pieces: list[str]) -> None:
        """Let the field ``name`` of a part be what the pieces make together."""
        self._parts[id(part)] = (part, name, pieces)

    def pieces(self, part: TanStackPart, name: str) -> list[str]:
        """Return the pieces of a field, to add to."""
        if id(part) not in self._parts:
            self.add(part, name, [part[name]] if part.get(name) else [])
        return self._parts[id(part)][2]

    def pieces_of(self, part: TanStackPart, name: str) -> Sequence[str]:
        """Return what a field consists of, whether it still grows or not."""
        known = self._parts.get(id(part))
        return known[2] if known is not None and known[1] == name else [text(part, name)]

    def freeze(self, part: TanStackPart, count: int | None = None) -> None:
        """Let a part have its first ``count`` pieces, and no more; by default those that there are."""
        known = self._parts.pop(id(part), None)
        if known is not None:
            _, name, pieces = known
            part[name] = mend_surrogates("".join(pieces[:count]))

    def settle(self) -> None:
        """Give every part the text that it has so far."""
        for part, name, pieces in self._parts.values():
            part[name] = mend_surrogates("".join(pieces))
            if name == "raw":
                _show_progress(part, pieces)

    def forget(self) -> None:
        """Give every part its text, which is then all of it."""
        self.settle()
        self._parts.clear()


def _show_progress(part: TanStackPart, pieces: list[str]) -> None:
    """Show as much of a JSON text as could be read of it, after whichever piece that was."""
    for count in range(len(pieces), max(0, len(pieces) - MOST_TRIES), -1):
        value = parse_partial("".join(pieces[:count]))
        if value is not None and value is not MISSING:
            part["partial"] = value
            return


@dataclass(slots=True)
class StreamedCall:
    """A call while it is streamed."""

    name: Any
    metadata: Any
    state: str = "awaiting-input"
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Thought:
    """What was thought in one step."""

    pieces: list[str] = field(default_factory=list)
    signature: Any = None


class StreamedMessage:
    """One message while it is streamed."""

    def __init__(self, message: Message, role: str, growth: TextGrowth, transcript: Transcript) -> None:
        self.message = message
        self.role = role
        self.segment: list[str] = []
        """The text since the last calls."""
        self.has_calls = False
        """Whether there were calls since the text last began or went on."""
        self.step: str | None = None
        self.thoughts: dict[str, Thought] = {}
        self.calls: dict[str, StreamedCall] = {}
        self._growth = growth
        self._transcript = transcript
        self._text_part: TanStackPart | None = None

    @property
    def id(self) -> str:
        """The message's id."""
        return str(self.message["id"])

    @property
    def _parts(self) -> list[TanStackPart]:
        parts: list[TanStackPart] = self.message["parts"]
        return parts

    def _part(self, kind: str, **name: str) -> TanStackPart:
        """Return the part of a kind and name; made if it is not there."""
        part = self._transcript.part_of(self.message, kind, *name.values())
        if part is None:
            part = {"type": kind, **name}
            self._transcript.add_part(self.message, part)
        return part

    def begin_segment(self) -> None:
        """Begin a text after calls."""
        self._leave_text_part(len(self.segment))
        self.segment = []
        self.has_calls = False

    def continue_text(self) -> None:
        """Go on with the text that the message ends with."""
        last = self._parts[-1] if self._parts else {}
        if last.get("type") == "text" and text(last, "content"):
            self.segment = [text(last, "content")]

    def _leave_text_part(self, count: int) -> None:
        if self._text_part is not None:
            self._growth.freeze(self._text_part, count)
            self._text_part = None

    def grow_text(self, delta: str) -> None:
        """Show the text with its new piece: in the message's last part if that is text, or else in a new one."""
        if not delta:
            return
        self.segment.append(delta)
        last = self._parts[-1] if self._parts else None
        if last is not None and last is self._text_part:
            return
        self._leave_text_part(len(self.segment) - 1)
        if last is not None and last.get("type") == "text":
            self._growth.freeze(last, 0)
            self._parts.pop()
        self._text_part = {"type": "text", "content": ""}
        self._parts.append(self._text_part)
        self._growth.add(self._text_part, "content", self.segment)

    def enter_step(self, step: str) -> None:
        """Let thoughts go to a part of their own."""
        self.step = step
        self.thoughts.setdefault(step, Thought())

    def grow_thought(self, step: str, delta: str) -> None:
        """Show what is thought in a step."""
        thought = self.thoughts[step]
        if delta:
            thought.pieces.append(delta)
        self._show_thought(step, thought)

    def sign_thought(self, step: str, signature: Any) -> None:
        """Show the provider's seal on what was thought."""
        thought = self.thoughts.setdefault(step, Thought())
        thought.signature = signature
        self._show_thought(step, thought)

    def _show_thought(self, step: str, thought: Thought) -> None:
        part = self._part("thinking", stepId=step)
        part.clear()
        part |= {"type": "thinking", "stepId": step}
        part |= {"signature": thought.signature} if thought.signature else {}
        self._growth.add(part, "content", thought.pieces)

    def begin_call(self, call_id: str, name: Any, metadata: Any) -> None:
        """Take the beginning of a call."""
        self.calls[call_id] = StreamedCall(name, metadata)
        self.show_call(call_id)

    def grow_call(self, call_id: str, delta: str) -> None:
        """Take a piece of a call's input."""
        call = self.calls[call_id]
        if delta:
            call.arguments.append(delta)
            if call.state == "awaiting-input":
                call.state = "input-streaming"
        self.show_call(call_id)

    def fill_in(self, call_id: str, value: Any) -> None:
        """Take a call's input as a whole, where no pieces of it came."""
        call = self.calls[call_id]
        if value is not MISSING and not call.arguments:
            call.arguments.append(encode(value))

    def show_call(self, call_id: str, *, value: Any = MISSING) -> None:
        """Show a call as it is; what else the part says of it stays."""
        call = self.calls[call_id]
        part = self._part("tool-call", id=call_id)
        part |= {"name": call.name, "state": call.state}
        if value is not MISSING and value is not None:
            part["input"] = value
        if call.metadata is not None:
            part["metadata"] = call.metadata
        self._growth.add(part, "arguments", call.arguments)

    def grow_structured(self, delta: str) -> None:
        """Show a JSON answer with its new piece."""
        if not delta:
            return
        part = self._part("structured-output")
        for outdated in ("data", "errorMessage"):
            part.pop(outdated, None)
        part["status"] = "streaming"
        pieces = self._growth.pieces(part, "raw")
        pieces.append(delta)

    def complete_structured(self, value: TanStackPart) -> None:
        """Show the whole of a JSON answer."""
        part = self._part("structured-output")
        self._growth.freeze(part)
        raw = text(value, "raw") or text(part, "raw")
        if not raw and "object" in value:
            raw = encode(value["object"])
        part.clear()
        part |= {"type": "structured-output", "status": "complete", "raw": raw}
        part |= {name: value["object"] for name in ("data", "partial") if "object" in value}
        part |= {"reasoning": value["reasoning"]} if "reasoning" in value else {}


class _Owned(dict[str, Any]):
    """An object that this fold has made, and may change."""


def _own(value: Any) -> dict[str, Any]:
    return value if isinstance(value, _Owned) else _Owned(value or {})


def merge_metadata(message: Message, event: Mapping[str, Any]) -> None:
    """Add to a message what its events say about it; of TanStack AI's own fields, key by key."""
    incoming = event.get("metadata")
    if not isinstance(incoming, dict):
        return
    known, new = extras(message), incoming.get("tanstack")
    # In place: with many events of one message, copies of what is known would cost its square.
    merged = message["metadata"] = _own(message.get("metadata"))
    merged |= incoming
    if isinstance(new, dict):
        merged["tanstack"] = _own(known)
        merged["tanstack"] |= {name: new[name] for name in new if name not in ("content", "args")}
