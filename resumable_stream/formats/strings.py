"""Strings as they are, for the generic resumer: what goes in comes out, and nothing is said beside it.

A record's body is the string itself, as the npm package's own generic context stores it, so that each reads what the
other has written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from ..types import EndReason, Message
from .base import ChatRequest, ChunkEncoder, ChunkFormat, GenerationFacts, StoredGeneration
from .conversation import answer_id

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class StringEncoder(ChunkEncoder):
    """Passes the strings of one stream on, as valid Unicode. How the stream ended is told by its terminal alone."""

    def __init__(self) -> None:
        self._half = ""
        """The first half of a surrogate pair that a source has cut in two."""

    @property
    def end(self) -> EndReason | None:
        """Always none: a source of strings just comes to its end."""
        return None

    def start(self) -> list[str]:
        """Return nothing: strings have no frame."""
        return []

    def encode(self, item: object) -> list[str]:
        """Return the string; nothing for an empty one, which no reader would tell from a record without content."""
        if item is None:
            return []
        if not isinstance(item, str):
            raise TypeError(
                f"The stream takes strings, not {type(item).__module__}.{type(item).__qualname__}: "
                "yield str (decode bytes, or encode objects with json.dumps)."
            )
        text = self._half + item
        self._half = ""
        if not text.isascii():
            text = self._valid(text)
        return [text] if text else []

    def _valid(self, text: str) -> str:
        """Join halves of surrogate pairs, keep the last one for its other half, and replace those that stand alone."""
        try:
            text.encode()
        except UnicodeEncodeError:
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._half = text[:-1], text[-1]
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def observe(self, chunk: str) -> None:
        """Do nothing: there is nothing that would have to be closed."""

    def finish(self) -> list[str]:
        """Return what is left of a half that stayed alone."""
        return [REPLACEMENT] if self._half else []

    def stop(self) -> list[str]:
        """Return nothing: a chunk of ours would be taken for a part of the stream."""
        return []

    def fail(self, text: str) -> list[str]:
        """Return nothing: a chunk of ours would be taken for a part of the stream."""
        return []

    def interrupt(self, text: str) -> list[str]:
        """Return nothing: a chunk of ours would be taken for a part of the stream."""
        return []


class StringsFormat(ChunkFormat):
    """Strings as they are; what :class:`~resumable_stream.string_streams.ResumableStreamContext` stores."""

    name: ClassVar[str] = "strings"

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Refuse: strings know no messages."""
        raise ImproperlyConfigured(
            "The format 'strings' is for ResumableStreamContext and knows no chats. Give the view format = 'text'."
        )

    def encoder(self, facts: GenerationFacts) -> StringEncoder:
        """Make the encoder of one stream."""
        return StringEncoder()

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold each generation into one ``{id, role, content}``."""
        return [answer for generation in generations if (answer := self.fold_answer(generation)) is not None]

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Join the strings."""
        if not generation.chunks:
            return None
        message_id = answer_id(generation)
        return {"id": message_id, "role": "assistant", "content": "".join(generation.chunks)}
