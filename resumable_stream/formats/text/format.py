"""Plain text, for pages that read an ``EventSource`` or a ``fetch`` body themselves.

A chunk is a JSON string, a piece of the answer's text, or a JSON object, an event of the app's own. The first comes as
an SSE message, the second as the event ``data``, and the last thing on a body is the event ``end``::

    const source = new EventSource(url);
    source.onmessage = ({ data }) => (answer.textContent += JSON.parse(data));
    source.addEventListener("end", () => source.close());
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ...types import EndReason, FinishReason, Message
from ..base import ChatRequest, ChunkEncoder, ChunkFormat, Dialect, GenerationFacts, StoredGeneration
from ..conversation import Conversation
from ..item_types import Chunk, Finish, Item
from ..jsontext import decode, encode, encode_text, mend_surrogates
from ..producers.reader import ItemReader
from ..refusals import unknown_chunk
from .request import parse_request

DATA_EVENT = "data"
END_EVENT = "end"


class TextEncoder(ChunkEncoder):
    """Encodes one generation. Nothing is ever open in it; how it ended is told by the ``end`` event alone."""

    def __init__(self) -> None:
        self._reader = ItemReader()
        self._finish: Finish | None = None

    @property
    def end(self) -> EndReason | None:
        """Always none: a producer of text just comes to its end."""
        return None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as it says itself."""
        return self._finish.reason if self._finish is not None else None

    def start(self) -> list[str]:
        """Return nothing: text has no frame."""
        return []

    def encode(self, item: object) -> list[str]:
        """Encode text as a JSON string, and an event as a JSON object."""
        if type(item) is str:
            return [encode_text(item)] if item else []
        return self._encode_items(self._reader.read(item))

    def _encode_items(self, items: Iterable[Item]) -> list[str]:
        chunks: list[str] = []
        for item in items:
            if isinstance(item, Finish):
                self._finish = item
            else:
                chunks += _encode_item(item)
        return chunks

    def observe(self, chunk: str) -> None:
        """Do nothing: there is nothing that would have to be closed."""

    def finish(self) -> list[str]:
        """Say why the model has stopped where that is unusual; the ``end`` event says that the answer has ended."""
        chunks = self._encode_items(self._reader.flush())
        if self._finish is not None and self._finish.is_unusual:
            chunks.append(encode({"type": "finish", "reason": self._finish.reason}))
        return chunks

    def stop(self) -> list[str]:
        """Return nothing: the ``end`` event says it."""
        return []

    def fail(self, text: str) -> list[str]:
        """Return nothing: the ``end`` event says it."""
        return []

    def interrupt(self, text: str) -> list[str]:
        """Return nothing: the ``end`` event says it."""
        return []


def _encode_item(item: Item) -> list[str]:
    """Encode text and events; what a model thinks, calls or draws is not text, and is left out."""
    if isinstance(item, str):
        return [encode_text(item)]
    if not isinstance(item, Chunk):
        return []
    if item.made_of or not isinstance(item.data, (str, Mapping)):
        fix = "For an event of your own, yield a dict."
        raise unknown_chunk(item, "The text format takes text as str and events of the app's own as dict", fix)
    return [item.text]


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
