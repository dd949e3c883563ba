"""Encode one generation as the parts of an answer, and know what they have come to.

Chunks are ``start``, ``part`` (a new one), ``delta`` (a piece of the text of the last one) and ``end`` (all parts, and
how it ended); each names its answer, so that a fragment can be made of it alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...types import EndReason, Message
from ..base import GenerationFacts
from ..encoder import DeltaEncoder, DeltaKind, ItemEncoder, delta_encoder
from ..item_types import (
    File,
    FormatChunk,
    InvalidToolInput,
    Source,
    ToolError,
    ToolInput,
    ToolInputDelta,
    ToolInputStart,
    ToolItem,
    ToolOutput,
)
from ..jsontext import decode, encode
from ..refusals import unknown_type

_ELEMENT_ID = re.compile(r"[A-Za-z0-9_-]+\Z")
_REPLACED = re.compile("\r\n?|[\0\ud800-\udfff]")
_FIELDS: dict[str, dict[str, type]] = {
    "start": {},
    "part": {"index": int, "part": dict},
    "delta": {"index": int, "delta": str},
    "end": {"end": str, "parts": list},
}
# Of the AI SDK's protocol: what begins and makes its parts.
_FOREIGN_TYPES = frozenset(
    f"{kind}-{step}" for kind in ("text", "reasoning", "tool-input") for step in ("start", "delta", "end", "available")
)
AnswerPart = dict[str, Any]


def read_chunk(chunk: str) -> dict[str, Any] | None:
    """Decode a chunk; ``None`` for a record of another program."""
    try:
        return checked_chunk(decode(chunk))
    except (ValueError, TypeError):
        return None


def checked_chunk(decoded: Any) -> dict[str, Any] | None:
    """Return what a chunk of ours was decoded to; ``None`` if it is none."""
    answer_id = decoded.get("id") if isinstance(decoded, dict) else None
    if not isinstance(answer_id, str) or not _ELEMENT_ID.match(answer_id):
        return None
    fields = _FIELDS.get(str(decoded.get("type")))
    is_ours = fields is not None and all(isinstance(decoded.get(name), kind) for name, kind in fields.items())
    return decoded if is_ours else None


class HTMLAnswer:
    """An answer as its chunks make it."""

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self.end: str | None = None
        """How it ended; ``None`` while it runs."""
        self.error: str | None = None
        self.finish_reason: str | None = None
        """Why the model has stopped, where that is unusual."""
        self._parts: list[AnswerPart] = []
        self._pieces: list[str] = []
        """Of the last part's text: joined when they are asked for, for answers come in many small ones."""

    @classmethod
    def of(cls, chunk: Mapping[str, Any]) -> HTMLAnswer:
        """Make the answer that one chunk tells."""
        answer = cls(chunk["id"])
        answer.note(chunk)
        return answer

    @property
    def parts(self) -> list[AnswerPart]:
        """The parts so far."""
        if self._pieces:
            last = self._parts[-1]
            last["text"] += "".join(self._pieces)
            self._pieces.clear()
        return self._parts

    def note(self, chunk: Mapping[str, Any]) -> None:
        """Take note of one chunk."""
        match chunk["type"]:
            case "part":
                self.parts.append(dict(chunk["part"]))
            case "delta" if self._parts and isinstance(self._parts[-1].get("text"), str):
                self._pieces.append(chunk["delta"])
            case "end":
                self._pieces.clear()
                self._parts = [dict(part) for part in chunk["parts"] if isinstance(part, Mapping)]
                self.end, self.error = chunk["end"], chunk.get("error")
                self.finish_reason = chunk.get("finish_reason")

    def message(self) -> Message:
        """Return the answer as a message; ``content`` is its text."""
        content = "".join(str(part.get("text", "")) for part in self.parts if part.get("type") == "text")
        told = {"parts": [*self.parts], "end": self.end, "error": self.error}
        if self.finish_reason is not None:
            told["finish_reason"] = self.finish_reason
        return {"id": self.id, "role": "assistant", "content": content, **told}


class _Text:
    """Makes text fit for a page, piece by piece: one kind of line end, no NUL, whole characters.

    HTML has no way to say the others, and a page would show something else after a reload.
    """

    def __init__(self) -> None:
        self._held = ""
        """A character that the next piece may belong to: a carriage return, or the first half of a pair."""

    def feed(self, piece: str) -> str:
        """Return what can be shown so far."""
        text = self._held + piece
        self._held = text[-1] if text[-1:] == "\r" or "\ud800" <= text[-1:] <= "\udbff" else ""
        return _clean_text(text[: len(text) - len(self._held)])

    def flush(self) -> str:
        """Return what was held back."""
        held, self._held = self._held, ""
        return _clean_text(held)


def clean(value: Any) -> Any:
    """Make the texts in a value of JSON fit for a page."""
    if isinstance(value, str):
        return _clean_text(value)
    # No comprehensions: each would take another frame of the stack, of which there are not so many.
    if isinstance(value, dict):
        cleaned = {}
        for name, entry in value.items():
            cleaned[_clean_text(name)] = clean(entry)
        return cleaned
    if isinstance(value, list):
        listed = []
        for entry in value:
            listed.append(clean(entry))  # noqa: PERF401 - as above
        return listed
    return value


def _clean_text(text: str) -> str:
    if "\r" not in text and "\0" not in text:
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if not text.isascii() else text
    return _REPLACED.sub(lambda match: "\n" if match[0][0] == "\r" else "\ufffd", text)


class HTMLEncoder(ItemEncoder):
    """Encodes one generation. Text of one kind goes into one part, until something else comes in between."""

    def __init__(self, facts: GenerationFacts) -> None:
        super().__init__()
        # Element ids and selectors are made of it.
        self._id = facts.message_id if _ELEMENT_ID.match(facts.message_id) else facts.generation_id
        self._answer = HTMLAnswer(self._id)
        self._text = _Text()
        self._text_kind = ""
        """The kind of the last part, if pieces of text can be added to it."""
        self._count = 0
        self._encode_delta = delta_encoder("", "")

    def start(self) -> list[str]:
        """Empty the answer's element: whoever reads from here on may have shown some of it before."""
        return [encode({"type": "start", "id": self._id})]

    def note_stored(self, data: Any) -> None:
        """Take note of a chunk on the log, unless it is another program's."""
        read = checked_chunk(data)
        if read is not None:
            self._id = self._answer.id = read["id"]
            self._answer.note(read)

    def close(self, reason: EndReason, text: str | None) -> None:
        """Render the whole answer: as finished, as stopped, or with the error."""
        self._close_text()
        facts = {"type": "end", "id": self._id, "end": reason.value, "error": clean(text), "parts": self._answer.parts}
        if reason is EndReason.FINISHED and self.model_finish is not None and self.model_finish.is_unusual:
            facts["finish_reason"] = self.model_finish.reason
        self.pending.append(encode(facts))

    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add a part of the app's own."""
        self._add_part(_checked_part(chunk))

    def add_file(self, item: File) -> None:
        """Add a file."""
        self._add_part({"type": "file", "media_type": item.media_type, "url": item.url})

    def add_source(self, item: Source) -> None:
        """Add a source."""
        self._add_part({"type": "source", "url": item.url, "title": item.title})

    def add_tool(self, item: ToolItem) -> None:
        """Add a call when it is complete, and what the tool has answered."""
        if not isinstance(item, (ToolInputStart, ToolInputDelta)):
            self._add_part(_tool_part(item))

    def _add_part(self, part: AnswerPart) -> None:
        self._close_text()
        # As it will be read back: templates see the same in a fragment and after a reload.
        part = clean(decode(encode(part)))
        chunk = {"type": "part", "id": self._id, "index": self._count, "part": part}
        self._count += 1
        self._answer.note(chunk)
        self.pending.append(encode(chunk))

    def add_delta(self, kind: DeltaKind, delta: str) -> None:
        """Add a piece of text; what HTML would not keep of it is replaced, so that no delta is a piece as it came."""
        if kind != self._text_kind:
            self.open_part(kind)
        self._send_text(self._text.feed(delta))

    def open_part(self, kind: DeltaKind) -> DeltaEncoder:
        """Open a part for text of ``kind``, unless the last part is one."""
        if kind != self._text_kind:
            self._add_part({"type": kind, "text": ""})
            self._text_kind = kind
            before = f'{{"type":"delta","id":"{self._id}","index":{self._count - 1},"delta":'
            self._encode_delta = delta_encoder(before, "}")
        return self._encode_delta

    def _send_text(self, text: str) -> None:
        if text:
            self._answer.note({"type": "delta", "delta": text})
            self.pending.append(self._encode_delta(text))

    def _close_text(self) -> None:
        self._send_text(self._text.flush())
        self._text_kind = ""


def _checked_part(chunk: FormatChunk) -> AnswerPart:
    data = chunk.data
    kind = data.get("type") if isinstance(data, Mapping) else None
    # A template that does not know a type shows nothing. Pieces of another protocol would vanish without a trace.
    if not isinstance(kind, str) or kind in _FOREIGN_TYPES:
        wanted = "A part of an answer is a mapping with a 'type' that the template of parts knows"
        fix = "Yield str for text, or choose the format that these chunks belong to."
        raise unknown_type(chunk, f"{wanted}, not {data!r:.200}.", fix)
    return dict(data)


def _tool_part(item: ToolItem) -> AnswerPart:
    match item:
        case ToolInput(call_id, name, value):
            return {"type": "tool-call", "call_id": call_id, "name": name, "input": value}
        case InvalidToolInput(call_id, name, raw_input):
            return {"type": "tool-call", "call_id": call_id, "name": name, "input": raw_input}
        case ToolOutput(call_id, output):
            return {"type": "tool-result", "call_id": call_id, "output": output}
        case ToolError(call_id, error_text):
            return {"type": "tool-error", "call_id": call_id, "error": error_text}
        case _:
            raise AssertionError(f"{item!r} is no complete call.")
