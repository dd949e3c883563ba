"""Frames: the entries of a stream on their way to readers, each encoded once for all readers of one wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, AnyStr

from ..protocol.layout import Chunk, Entry

FrameEncoder = Callable[[Chunk], bytes]


class Frame:
    """An entry on its way to readers, with its encoded forms."""

    __slots__ = ("_encoder", "_form", "_other_forms", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        # Nearly always there is one form only, and there are many frames.
        self._encoder: object = None
        self._form: Any = None
        self._other_forms: dict[object, Any] | None = None

    def encoded(self, encoder: Callable[[Chunk], AnyStr]) -> AnyStr:
        """Return what a chunk is on a wire; made once however many readers ask. Only chunks have such a form."""
        if self._encoder is encoder:
            form: AnyStr = self._form
            return form
        assert isinstance(self.entry, Chunk)
        if self._encoder is None:
            form = self._form = encoder(self.entry)
            self._encoder = encoder
            return form
        if self._other_forms is None:
            self._other_forms = {}
        if encoder not in self._other_forms:
            self._other_forms[encoder] = encoder(self.entry)
        other: AnyStr = self._other_forms[encoder]
        return other

    @property
    def size(self) -> int:
        """Roughly what the frame holds in memory, in bytes."""
        return len(self.entry.body) * 2 + 300 if isinstance(self.entry, Chunk) else 300


def cursor_of(frame: Frame) -> int:
    """Return the cursor after the frame's entry."""
    return frame.entry.cursor
