"""What the encoders of all formats have in common: they take an item by its kind, and collect the chunks to store."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Any, Literal

from ..types import EndReason, FinishReason
from .base import ChunkEncoder
from .item_types import File, Finish, FormatChunk, Item, Reasoning, Source, ToolItem
from .jsontext import decode, escape_unsafe
from .producers.reader import ItemReader

DeltaKind = Literal["text", "reasoning"]


DeltaEncoder = Callable[[str], str]
"""Makes the chunk of one delta of one part."""


def delta_encoder(before: str, after: str) -> DeltaEncoder:
    """Return what encodes a delta as a JSON string between ``before`` and ``after``.

    Most chunks of most answers are deltas. What those of one part have in common is therefore encoded once.
    """

    def encode_delta(delta: str) -> str:
        return f"{before}{escape_unsafe(encode_basestring(delta))}{after}"

    return encode_delta


class ItemEncoder(ChunkEncoder):
    """Encodes one generation; a format says what each kind of item becomes.

    A subclass puts each chunk on its way with ``self.pending.append(chunk)``. If an item cannot be encoded, the chunks
    before it stay in :attr:`pending`, and are stored with the end of the answer.
    """

    def __init__(self, reader: ItemReader | None = None) -> None:
        """Begin a generation, whose items ``reader`` reads."""
        self.reader = reader if reader is not None else ItemReader()
        self.pending: list[str] = []
        """The chunks to store, in order."""
        self.model_finish: Finish | None = None
        """Why the model says that it has stopped."""
        self._encode_text: DeltaEncoder | None = None
        """Encodes the next delta of text, if the last item was such a delta too: nothing has changed since."""

    # -- what a format says ----------------------------------------------------------------------------------------

    @abstractmethod
    def open_part(self, kind: DeltaKind) -> DeltaEncoder | None:
        """Open a part for deltas of ``kind``, unless it is open, and return what encodes them; ``None`` drops them.

        What it returns is used while text follows text. After anything else it is asked again.
        """

    @abstractmethod
    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add what the app has yielded as a chunk of the format: a mapping, a dataclass or an encoded event.

        Raises:
            TypeError: It is none; the message says what to yield.
        """

    @abstractmethod
    def close(self, reason: EndReason, text: str | None) -> None:
        """Close what is open, and add what ends the answer.

        ``text`` is shown to people if the answer has failed or was interrupted; otherwise it is ``None``.
        """

    def add_tool(self, item: ToolItem) -> None:
        """Add a piece of a tool's call, or what the tool has answered; by default it is left out."""

    def add_file(self, item: File) -> None:
        """Add a file; by default it is left out."""

    def add_source(self, item: Source) -> None:
        """Add a source; by default it is left out."""

    def note_stored(self, data: Any) -> None:
        """Take note of a chunk on the log, decoded, so that :meth:`close` closes what it has opened.

        Another program may have written it, so that it may have any shape.
        """

    # -- what all formats do ---------------------------------------------------------------------------------------

    @property
    def end(self) -> EndReason | None:
        """How the producer itself said that the answer ended; never, unless a format has chunks that say so."""
        return None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as it says itself."""
        return self.model_finish.reason if self.model_finish is not None else None

    def start(self) -> list[str]:
        """Return the chunks that are stored with the claim; none, unless a format has some."""
        return []

    def encode(self, item: object) -> list[str]:
        """Encode one item of the producer; a ``str`` is a delta of text, whatever it looks like."""
        if type(item) is str:
            if self._encode_text is not None and item:
                return [self._encode_text(item)]
            self.add_delta("text", item)
        else:
            self._encode_text = None
            try:
                self.encode_object(item)
            finally:
                # What a part of the item has opened need not be open at its end.
                self._encode_text = None
        return self.take()

    def encode_object(self, item: object) -> None:
        """Add an item that is no ``str``."""
        self.add_items(self.reader.read(item))

    def add_items(self, items: Iterable[Item]) -> None:
        """Add what the reader has made of an item."""
        for item in items:
            if isinstance(item, str):
                self.add_delta("text", item)
            elif isinstance(item, Reasoning):
                self.add_delta("reasoning", item.delta)
            elif isinstance(item, FormatChunk):
                self.add_chunk(item)
            elif isinstance(item, Finish):
                self.model_finish = item
            elif isinstance(item, Source):
                self.add_source(item)
            elif isinstance(item, File):
                self.add_file(item)
            else:
                self.add_tool(item)

    def add_delta(self, kind: DeltaKind, delta: str) -> None:
        """Add a piece of text or reasoning to its part, which is opened for it."""
        if not delta:
            return
        encode_delta = self.open_part(kind)
        if encode_delta is not None:
            self.pending.append(encode_delta(delta))
            self._encode_text = encode_delta if kind == "text" else None

    def take(self) -> list[str]:
        """Return the chunks that were added since the last call."""
        pending, self.pending = self.pending, []
        return pending

    def observe(self, chunk: str) -> None:
        """Take note of a chunk that is already stored; a record of another program that is no JSON is passed over."""
        self._encode_text = None
        try:
            data = decode(chunk)
        except (ValueError, TypeError):
            return
        self.note_stored(data)

    def finish(self) -> list[str]:
        """Complete the calls that are open, and end an answer whose producer has come to its end."""
        self._encode_text = None
        self.add_items(self.reader.flush())
        return self._end(EndReason.FINISHED)

    def stop(self) -> list[str]:
        """End an answer that was stopped."""
        return self._end(EndReason.STOPPED)

    def fail(self, text: str) -> list[str]:
        """End an answer whose producer has failed."""
        return self._end(EndReason.FAILED, text)

    def interrupt(self, text: str) -> list[str]:
        """End an answer whose writer is gone."""
        return self._end(EndReason.INTERRUPTED, text)

    def _end(self, reason: EndReason, text: str | None = None) -> list[str]:
        self.close(reason, text)
        self._encode_text = None
        return self.take()
