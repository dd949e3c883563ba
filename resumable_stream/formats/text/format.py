"""Plain text, for pages that read an ``EventSource`` or a ``fetch`` body themselves.

A chunk is a JSON string, a piece of the answer's text, or a JSON object, an event of the app's own. The first comes as
an SSE message, the second as the event ``data``, and the last thing on a body is the event ``end``::

    const source = new EventSource(url);
    source.onmessage = ({ data }) => (answer.textContent += JSON.parse(data));
    source.addEventListener("end", () => source.close());
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...types import EndReason, Message
from ..base import ChatRequest, ChunkFormat, Dialect, GenerationFacts, StoredGeneration
from ..conversation import answer_id, place_answers
from ..encoder import DeltaEncoder, DeltaKind, ItemEncoder
from ..item_types import FormatChunk
from ..jsontext import decode, encode, encode_text, mend_surrogates
from ..refusals import unknown_chunk
from .request import parse_request

DATA_EVENT = "data"
END_EVENT = "end"


class TextEncoder(ItemEncoder):
    """Encodes one generation. Nothing is ever open in it; how it ended is told by the ``end`` event alone."""

    def open_part(self, kind: DeltaKind) -> DeltaEncoder | None:
        """Carry text; what a model thinks, calls or draws is no text, and is left out."""
        return encode_text if kind == "text" else None

    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add an event of the app's own as a JSON object, or encoded text as a JSON string."""
        if chunk.made_of or not isinstance(chunk.data, (str, Mapping)):
            fix = "For an event of your own, yield a dict."
            raise unknown_chunk(chunk, "The text format takes text as str and events of the app's own as dict", fix)
        self.pending.append(chunk.text)

    def close(self, reason: EndReason, text: str | None) -> None:
        """Say why the model has stopped where that is unusual; the ``end`` event says that the answer has ended."""
        finish = self.model_finish
        if reason is EndReason.FINISHED and finish is not None and finish.is_unusual:
            self.pending.append(encode({"type": "finish", "reason": finish.reason}))


class TextFormat(ChunkFormat):
    """Text deltas as JSON strings, and events of the app's own as JSON objects."""

    name: ClassVar[str] = "text"
    dialect: ClassVar[Dialect] = Dialect(reads_with_event_source=True)

    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        """Read ``{id, message}`` or ``{id, messages}``; a message is a text, or has ``content`` or ``parts``."""
        return parse_request(body)

    def encoder(self, facts: GenerationFacts) -> TextEncoder:
        """Make the encoder of one generation."""
        return TextEncoder()

    def event(self, chunk: str) -> str | None:
        """Name the event of an object; text is an SSE message without a name."""
        return DATA_EVENT if chunk.startswith("{") else None

    def end_event(self, reason: EndReason, text: str | None, cause: str | None = None) -> tuple[str, str] | None:
        """Tell how the answer ended, and after a failure why."""
        optional = {"error": text, "cause": cause}
        return END_EVENT, encode(
            {"reason": reason.value, **{name: value for name, value in optional.items() if value is not None}}
        )

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        """Fold what is stored into ``{id, role, content}`` messages."""
        return place_answers(generations, lambda generation, chat: _fold_answers(generation, len(chat)))

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation's text; events are not part of it."""
        return next(iter(_fold_answers(generation)), None)


def _fold_answers(generation: StoredGeneration, place: int = 0) -> list[Message]:
    deltas = [_read_delta(chunk) for chunk in generation.chunks if chunk.startswith('"')]
    content = mend_surrogates("".join(deltas))
    return [{"id": answer_id(generation, place), "role": "assistant", "content": content}] if deltas else []


def _read_delta(chunk: str) -> str:
    try:
        return str(decode(chunk))
    except ValueError:
        # Another program's record, which no client could read either.
        return ""
