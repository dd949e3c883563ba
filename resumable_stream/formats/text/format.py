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
from ..conversation import Conversation
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
        chat = Conversation()
        for generation in generations:
            for message in generation.user_messages:
                chat.place_user_message(message)
            answer = _fold_answer(generation, fallback_id=f"message-{len(chat)}")
            if answer is not None:
                chat.place_answer(answer)
        return chat.messages()

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        """Fold one generation's text; events are not part of it."""
        return _fold_answer(generation, fallback_id="message-0")


def _fold_answer(generation: StoredGeneration, *, fallback_id: str) -> Message | None:
    deltas = [_read_delta(chunk) for chunk in generation.chunks if chunk.startswith('"')]
    if not deltas:
        return None
    message_id = generation.message_id or generation.generation_id or fallback_id
    return {"id": message_id, "role": "assistant", "content": mend_surrogates("".join(deltas))}


def _read_delta(chunk: str) -> str:
    try:
        return str(decode(chunk))
    except ValueError:
        # Another program's record, which no client could read either.
        return ""
