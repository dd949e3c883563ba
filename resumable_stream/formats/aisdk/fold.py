"""Fold AI SDK chunks into the messages that the client itself would hold (``process-ui-message-stream.ts``).

Same chunks in, same messages out, for each major version of the client. A client that meets a chunk it does not take,
or an error chunk, stops there and keeps what it has; so does the fold. ``undefined`` in the client is a missing key
here. Joining and parsing is put off to the end, so that the time grows with the text and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...types import Message
from ..base import StoredGeneration
from ..conversation import Conversation, answer_id, is_broken_off, place_answers
from ..jsontext import copied, mend_surrogates
from .chunks import NEWEST_VERSION, is_taken
from .partial_json import UnparsableError, parse_safely
from .parts import UIPart, parts_of, pick
from .tools import TOOL_PARTS, BrokenStreamError, ToolChunk

_PROTOTYPE_KEYS = ("__proto__", "constructor", "prototype")


class _GrowingText(NamedTuple):
    """A text or reasoning part and the deltas that it consists of."""

    part: UIPart
    pieces: list[str]


class AnswerFold:
    """Takes the chunks of one generation and tells which messages they make."""

    def __init__(self, *, version: int, message_id: str, continues: Message | None = None) -> None:
        """Begin with an empty answer, or with a copy of the message that the generation continues.

        ``message_id`` is the id of an answer whose chunks name none.
        """
        self._version = version
        self._message: Message
        self._finished: list[Message] = []
        self._texts: list[_GrowingText] = []
        if continues is None:
            self._begin(message_id)
        else:
            self._message = copied({**continues, "parts": parts_of(continues)})
            self._enter()
            self._shown_live = False

    def _begin(self, message_id: str) -> None:
        self._message = {"id": message_id, "role": "assistant", "parts": []}
        self._enter()
        self._shown_live = True

    def _enter(self) -> None:
        self._parts: list[UIPart] = self._message["parts"]
        self._tools = TOOL_PARTS[self._version](self._parts)
        self._open_texts: dict[tuple[str, str], _GrowingText] = {}
        self._data_parts: dict[tuple[str, str], UIPart] = {}
        for part in self._parts:
            if isinstance(part.get("id"), str):
                self._data_parts.setdefault((part["type"], part["id"]), part)
        self._writes = 0
        self._shown_parts = 0

    def take(self, chunk: str) -> bool:
        """Take one chunk; false if the client stops at it."""
        try:
            decoded = parse_safely(chunk)
        except UnparsableError:
            return False
        if not is_taken(decoded, self._version) or decoded["type"] == "error":
            return False
        is_data = decoded["type"].startswith("data-")
        handler = AnswerFold._add_data if is_data else _HANDLERS.get(decoded["type"])
        if handler is None:
            return True
        try:
            handler(self, decoded)
        except BrokenStreamError:
            return False
        return True

    def messages(self) -> list[Message]:
        """Return what the client shows: the message, and before it those that a new ``messageId`` put an end to."""
        self._settle()
        return self._finished + self._shown()

    def _settle(self) -> None:
        self._tools.settle()
        for text in self._texts:
            text.part["text"] = mend_surrogates("".join(text.pieces))
        self._texts.clear()

    def _shown(self) -> list[Message]:
        if self._writes == 0:
            return []
        # The first write hands the client's own object to the page, later ones a copy: of a step that begins after
        # the last of several writes, the page never learns.
        live = self._shown_live and self._writes == 1
        parts = self._parts if live else self._parts[: self._shown_parts]
        return [self._message | {"parts": parts}]

    def _write(self) -> None:
        self._writes += 1
        self._shown_parts = len(self._parts)

    def _append(self, part: UIPart) -> None:
        self._parts.append(part)
        self._write()

    def _start(self, chunk: ToolChunk) -> None:
        message_id = chunk.get("messageId")
        if message_id is not None and message_id != self._message["id"]:
            # An answer of its own. Only while nothing is there yet does the id rename the message.
            self._settle()
            self._finished += self._shown()
            self._begin(message_id)
        self._merge_metadata(chunk)
        if message_id is not None or chunk.get("messageMetadata") is not None:
            self._write()

    def _metadata(self, chunk: ToolChunk) -> None:
        self._merge_metadata(chunk)
        if chunk.get("messageMetadata") is not None:
            self._write()

    def _merge_metadata(self, chunk: ToolChunk) -> None:
        new = chunk.get("messageMetadata")
        if new is not None:
            old = self._message.get("metadata")
            self._message["metadata"] = new if old is None else merge_objects(old, new)

    def _start_text(self, chunk: ToolChunk) -> None:
        kind = _text_kind(chunk)
        part: UIPart = {"type": kind, "text": "", "state": "streaming"} | pick(chunk, "providerMetadata")
        if kind == "reasoning":
            part["id"] = chunk["id"]
        text = _GrowingText(part, [])
        self._texts.append(text)
        self._open_texts[kind, chunk["id"]] = text
        self._append(part)

    def _grow_text(self, chunk: ToolChunk) -> None:
        text = self._open_text(chunk)
        text.pieces.append(chunk["delta"])
        if "providerMetadata" in chunk:
            text.part["providerMetadata"] = chunk["providerMetadata"]
        self._write()

    def _end_text(self, chunk: ToolChunk) -> None:
        text = self._open_text(chunk)
        text.part.update(pick(chunk, "providerMetadata"), state="done")
        if self._version >= 7 and chunk["type"] == "text-end":
            text.part.update(pick(chunk, "citations"))
        del self._open_texts[_text_kind(chunk), chunk["id"]]
        self._write()

    def _open_text(self, chunk: ToolChunk) -> _GrowingText:
        text = self._open_texts.get((_text_kind(chunk), chunk["id"]))
        if text is None:
            raise BrokenStreamError(chunk["id"])
        return text

    def _update_tool(self, chunk: ToolChunk) -> None:
        _TOOL_HANDLERS[chunk["type"]](self._tools, chunk)
        self._write()

    def _add_file(self, chunk: ToolChunk) -> None:
        names = ("type", "mediaType", "url") if self._version < 6 else ("type", "mediaType", "url", "providerMetadata")
        self._append(pick(chunk, *names))

    def _add_data(self, chunk: ToolChunk) -> None:
        if chunk.get("transient"):
            return
        key = (chunk["type"], chunk["id"]) if "id" in chunk else None
        if key in self._data_parts:
            part = self._data_parts[key]
            part.pop("data", None)
            part |= pick(chunk, "data")
            self._write()
            return
        if key is not None:
            self._data_parts[key] = chunk
        self._append(chunk)

    def _start_step(self, chunk: ToolChunk) -> None:
        self._parts.append({"type": "step-start"})
        self._tools.start_step()

    def _finish_step(self, chunk: ToolChunk) -> None:
        if self._version < 7:
            self._open_texts.clear()

    def _reset_step(self, chunk: ToolChunk) -> None:
        """Take back the parts of the current step."""
        begin = _step_begin(self._parts)
        self._open_texts.clear()
        self._tools.reset_step()
        if len(self._parts) > begin:
            for part in self._parts[begin:]:
                key = (part["type"], str(part.get("id")))
                if self._data_parts.get(key) is part:
                    del self._data_parts[key]
            del self._parts[begin:]
            self._write()


def _text_kind(chunk: ToolChunk) -> str:
    return str(chunk["type"]).partition("-")[0]


def _step_begin(parts: Sequence[UIPart]) -> int:
    for index in range(len(parts) - 1, -1, -1):
        if parts[index]["type"] == "step-start":
            return index + 1
    return 0


def _append_fields(*names: str) -> Callable[[AnswerFold, ToolChunk], None]:
    def append(fold: AnswerFold, chunk: ToolChunk) -> None:
        fold._append(pick(chunk, "type", *names))

    return append


_HANDLERS: dict[str, Callable[[AnswerFold, ToolChunk], None]] = {
    "start": AnswerFold._start,
    "finish": AnswerFold._metadata,
    "message-metadata": AnswerFold._metadata,
    "text-start": AnswerFold._start_text,
    "text-delta": AnswerFold._grow_text,
    "text-end": AnswerFold._end_text,
    "reasoning-start": AnswerFold._start_text,
    "reasoning-delta": AnswerFold._grow_text,
    "reasoning-end": AnswerFold._end_text,
    "file": AnswerFold._add_file,
    "reasoning-file": AnswerFold._add_file,
    "source-url": _append_fields("sourceId", "url", "title", "providerMetadata"),
    "source-document": _append_fields("sourceId", "mediaType", "title", "filename", "providerMetadata"),
    "custom": _append_fields("kind", "providerMetadata"),
    "steering-message": _append_fields("id", "parts"),
    "start-step": AnswerFold._start_step,
    "finish-step": AnswerFold._finish_step,
    "reset-step": AnswerFold._reset_step,
}
_TOOL_HANDLERS = {
    "tool-input-start": lambda tools, chunk: tools.input_start(chunk),
    "tool-input-delta": lambda tools, chunk: tools.input_delta(chunk),
    "tool-input-available": lambda tools, chunk: tools.input_available(chunk),
    "tool-input-error": lambda tools, chunk: tools.input_error(chunk),
    "tool-output-available": lambda tools, chunk: tools.output(chunk),
    "tool-output-error": lambda tools, chunk: tools.output(chunk),
    "tool-output-denied": lambda tools, chunk: tools.output_denied(chunk),
    "tool-approval-request": lambda tools, chunk: tools.approval_request(chunk),
    "tool-approval-response": lambda tools, chunk: tools.approval_response(chunk),
}
_HANDLERS |= dict.fromkeys(_TOOL_HANDLERS, AnswerFold._update_tool)


def merge_objects(base: Any, overrides: Any) -> Any:
    """Merge metadata deeply (``merge-objects.ts``): lists and plain values are replaced, objects merged.

    ``base`` is changed if it is an object: with many pieces of metadata, copies would cost their square.
    """
    entries = {key: value for key, value in _own_entries(overrides).items() if key not in _PROTOTYPE_KEYS}
    if entries and not isinstance(base, (dict, list)):
        raise BrokenStreamError("metadata")
    merged = base if isinstance(base, dict) else _own_entries(base)
    for key, value in entries.items():
        old = merged.get(key)
        merged[key] = merge_objects(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _own_entries(value: Any) -> dict[str, Any]:
    """List what ``{...value}`` gives in JavaScript: strings and arrays have their indexes as keys."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list):
        return {str(index): entry for index, entry in enumerate(value)}
    if isinstance(value, str):
        units = value.encode("utf-16-le", "surrogatepass")
        pairs = (units[index : index + 2] for index in range(0, len(units), 2))
        return {str(index): pair.decode("utf-16-le", "surrogatepass") for index, pair in enumerate(pairs)}
    return {}


def fold_chunks(
    chunks: Iterable[str], *, message_id: str, version: int = NEWEST_VERSION, continues: Message | None = None
) -> list[Message]:
    """Fold one generation's chunks into the messages that a client of ``version`` shows; none if it shows nothing."""
    fold = AnswerFold(version=version, message_id=message_id, continues=continues)
    for chunk in chunks:
        if not fold.take(chunk):
            break
    return fold.messages()


def fold_answers(
    generation: StoredGeneration, *, message_id: str, version: int, continues: Message | None
) -> list[Message]:
    """Fold one generation into its messages; an answer that was broken off before its first part is none."""
    answers = fold_chunks(generation.chunks, message_id=message_id, version=version, continues=continues)
    if is_broken_off(generation) and continues is None:
        return [answer for answer in answers if any(part["type"] != "step-start" for part in answer["parts"])]
    return answers


def fold_generations(generations: Iterable[StoredGeneration], *, version: int = NEWEST_VERSION) -> list[Message]:
    """Fold a chat's generations into its messages."""

    def answers(generation: StoredGeneration, chat: Conversation) -> list[Message]:
        continued = chat.answer(generation.message_id)
        message_id = answer_id(generation, len(chat))
        return fold_answers(generation, message_id=message_id, version=version, continues=continued)

    return place_answers(generations, answers)
