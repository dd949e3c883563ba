"""Encode one generation as an AI SDK UI message stream, and know what is open in it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ...types import EndReason
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
)
from ..jsontext import encode
from ..producers.finishes import named_finish
from ..producers.reader import ItemReader
from ..refusals import unknown_chunk, unknown_type

# Chunks of producers' own that say something within or beside the text, rather than begin another part.
_BESIDE_TEXT_PREFIXES = ("data-", "source-")
_BESIDE_TEXT = frozenset(
    ("message-metadata", "text-delta", "text-end", "reasoning-delta", "reasoning-end", "tool-input-delta")
)
# Fields that may hold anything but must be there. Models are dumped without their None, and None is what a tool
# without a result returns.
_REQUIRED_VALUES = {
    "tool-input-available": "input",
    "tool-input-error": "input",
    "tool-output-available": "output",
    "message-metadata": "messageMetadata",
}
_ENDS = {"finish": EndReason.FINISHED, "abort": EndReason.STOPPED, "error": EndReason.FAILED}
# Chunks that say how the answer ended need no message to be there. Without one, clients make none.
_NEED_NO_START = ("start", "abort", "error")
# What may follow an abort that stays the end.
_AFTER_ABORT = ("finish", "finish-step", "message-metadata", "text-end", "reasoning-end")

_FIX = "Yield str for text, and {'type': 'data-…', 'data': …} for data of your own."

_OpenPart = tuple[str, str]
"""Kind ("text" or "reasoning") and id."""


class PartTracker:
    """What is open in a stream of chunks, and how it ended."""

    def __init__(self) -> None:
        self.started = False
        self.end: EndReason | None = None
        self.open_parts: dict[_OpenPart, None] = {}
        """In the order in which they were opened."""
        self.step_is_open = False

    def note(self, kind: str, chunk: Mapping[str, Any]) -> None:
        """Take note of one chunk."""
        self.started = True
        if self.end is EndReason.STOPPED and kind not in _AFTER_ABORT:
            self.end = None
        if kind in ("text-start", "reasoning-start", "text-delta", "reasoning-delta"):
            # A delta counts too: in version 7, a part may go on after the step it began in.
            self.open_parts[_part_of(kind, chunk)] = None
        elif kind in ("text-end", "reasoning-end"):
            self.open_parts.pop(_part_of(kind, chunk), None)
        elif kind in _ENDS:
            # A finish after an abort takes nothing back; an error after a finish is the end.
            self.end = self.end or _ENDS[kind] if kind == "finish" else _ENDS[kind]
        elif kind == "start-step":
            self.step_is_open = True
        elif kind in ("finish-step", "reset-step"):
            self.step_is_open = self.step_is_open and kind == "reset-step"
            # Here clients forget their open parts, at finish-step those of versions 5 and 6. To close one that is
            # forgotten would be an error; one that stays open is merely never marked as done.
            self.open_parts.clear()


def _part_of(kind: str, chunk: Mapping[str, Any]) -> _OpenPart:
    return kind.partition("-")[0], str(chunk.get("id"))


class AISDKEncoder(ItemEncoder):
    """Encodes one generation.

    Strings go into a part of their own, which is opened for the first and closed before the next part begins.
    """

    def __init__(self, *, message_id: str, chunk_types: Container[str], sdk_version: int) -> None:
        super().__init__(ItemReader(sdk_version=sdk_version))
        self.message_id = message_id
        """The id of the answer; the producer's own, once it has sent a ``start`` that has one."""
        self._chunk_types = chunk_types
        self._parts = PartTracker()
        self._error: FormatChunk | None = None
        """The producer's own error, which is put off to the end: clients take nothing after it."""
        self._is_done = False
        self._own_part: _OpenPart | None = None
        self._encode_own = delta_encoder("", "")
        self._own_count = 0
        self._source_count = 0

    @property
    def end(self) -> EndReason | None:
        """How the producer's own last chunk said that it ended; an error of its own has the last word."""
        return EndReason.FAILED if self._error is not None else self._parts.end

    def note_stored(self, data: Any) -> None:
        """Take note of a chunk on the log; clients fail at another program's, whatever we make of it."""
        if isinstance(data, dict) and isinstance(kind := data.get("type"), str):
            if kind == "start" and isinstance(data.get("messageId"), str):
                self.message_id = data["messageId"]
            self._parts.note(kind, data)

    def close(self, reason: EndReason, text: str | None) -> None:
        """Close parts and step, and send what ends the answer, unless the producer has sent it.

        The producer's own error is sent in the place of ours. The AI SDK has no word for an interruption: such an
        answer ends as after a failure.
        """
        self._close_parts()
        if text is not None:
            own = self._error if reason is EndReason.FAILED else None
            self._end_with_error(own or _error(text))
        elif reason is EndReason.STOPPED:
            self._close_step()
            self._end_with({"type": "abort"})
        elif self._error is not None:
            self._end_with_error(self._error)
        elif self.end is None:
            self._close_step()
            self._send({"type": "finish", **self._finish_fields()})

    def _finish_fields(self) -> dict[str, str]:
        # Clients of before 5.0.217 may know no such field, and refuse it: the usual end goes without.
        finish = self.model_finish
        return {"finishReason": finish.reason} if finish is not None and finish.is_unusual else {}

    def _end_with_error(self, error: FormatChunk) -> None:
        # It is the last chunk that clients read.
        self._end_with(error.data, error.text)

    def _end_with(self, chunk: Mapping[str, Any], text: str | None = None) -> None:
        """Send the last chunk, unless the producer's own is it."""
        if self._parts.end is not EndReason.STOPPED:
            self._send(chunk, text)
        self._is_done = True

    def _send(self, chunk: Mapping[str, Any], text: str | None = None) -> None:
        """Put a chunk on its way, after our own ``start`` if there was none, and before the end of the answer."""
        if self._is_over:
            return
        encoded = text or encode(chunk)
        kind = str(chunk["type"])
        if not self._parts.started and kind not in _NEED_NO_START:
            self._send({"type": "start", "messageId": self.message_id})
        self._parts.note(kind, chunk)
        self.pending.append(encoded)

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is sent; where the log already has an error, clients would take nothing more."""
        return self._is_done or self._parts.end is EndReason.FAILED

    def _close(self, part: _OpenPart) -> None:
        if part in self._parts.open_parts:
            kind, part_id = part
            self._send({"type": f"{kind}-end", "id": part_id})

    def _close_parts(self) -> None:
        for part in list(self._parts.open_parts):
            self._close(part)

    def _close_step(self) -> None:
        if self._parts.step_is_open:
            self._send({"type": "finish-step"})

    def add_source(self, item: Source) -> None:
        """Add a source beside the text, which goes on."""
        self._source_count += 1
        source = {"sourceId": f"source-{self._source_count}", "url": item.url, "title": item.title}
        self._send({"type": "source-url", **source})

    def add_file(self, item: File) -> None:
        """Add a file, after the text before it."""
        self._close_own_part()
        self._send({"type": "file", "mediaType": item.media_type, "url": item.url})

    def add_tool(self, item: ToolItem) -> None:
        """Add a piece of a call or a result, after the text before it."""
        self._close_own_part()
        self._send(_tool_chunk(item))

    def open_part(self, kind: DeltaKind) -> DeltaEncoder | None:
        """Open a part of our own, unless one of this kind is open; nothing is added to an answer that has ended."""
        if self._is_over:
            return None
        if self._parts.end is EndReason.STOPPED:
            self._parts.end = None
        part = self._own_part
        if part is None or part[0] != kind or part not in self._parts.open_parts:
            self._close_own_part()
            self._open_own_part(kind)
        return self._encode_own

    def _open_own_part(self, kind: DeltaKind) -> None:
        self._own_count += 1
        while (kind, f"{kind}-{self._own_count}") in self._parts.open_parts:
            self._own_count += 1
        part_id = f"{kind}-{self._own_count}"
        self._own_part = (kind, part_id)
        self._encode_own = delta_encoder(f'{{"type":"{kind}-delta","id":"{part_id}","delta":', "}")
        self._send({"type": f"{kind}-start", "id": part_id})

    def _close_own_part(self) -> None:
        if self._own_part is not None:
            self._close(self._own_part)
            self._own_part = None

    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add a chunk of the producer's own; an error waits for what follows it."""
        kind = self._kind(chunk)
        if kind == "done":
            return
        if kind == "error":
            self._error = self._error or chunk
            return
        if kind == "start":
            self._encode_start(chunk.data)
            return
        if kind == "finish":
            self.model_finish = named_finish(chunk.data.get("finishReason")) or self.model_finish
        if kind not in _BESIDE_TEXT and not kind.startswith(_BESIDE_TEXT_PREFIXES):
            self._close_own_part()
        required = "data" if kind.startswith("data-") else _REQUIRED_VALUES.get(kind)
        if required is None or required in chunk.data:
            self._send(chunk.data, chunk.text)
        else:
            self._send({**chunk.data, required: None})

    def _kind(self, chunk: FormatChunk) -> str:
        kind = chunk.data.get("type") if isinstance(chunk.data, Mapping) else None
        if not isinstance(kind, str):
            raise unknown_chunk(chunk, "An AI SDK chunk is a mapping with a 'type'", _FIX)
        if kind not in self._chunk_types and kind != "done" and not kind.startswith("data-"):
            raise unknown_type(
                chunk,
                f"AI SDK clients know no chunk of the type {kind!r:.100} and would fail.",
                f"{_FIX} Or choose the format that these chunks belong to.",
            )
        return kind

    def _encode_start(self, chunk: Mapping[str, Any]) -> None:
        """Give the producer's first ``start`` an id if it has none; make metadata of what a later one brings."""
        if self._parts.started:
            metadata = chunk.get("messageMetadata")
            if metadata is not None:
                self._send({"type": "message-metadata", "messageMetadata": metadata})
            return
        message_id = chunk.get("messageId")
        if isinstance(message_id, str) and message_id:
            self.message_id = message_id
        self._send({**chunk, "messageId": self.message_id})


def _error(text: str) -> FormatChunk:
    data = {"type": "error", "errorText": text}
    return FormatChunk(data, encode(data))


def _tool_chunk(item: ToolItem) -> dict[str, Any]:
    call = {"toolCallId": item.call_id}
    match item:
        case ToolInputStart(_, name):
            return {"type": "tool-input-start", **call, "toolName": name}
        case ToolInputDelta(_, delta):
            return {"type": "tool-input-delta", **call, "inputTextDelta": delta}
        case ToolInput(_, name, value):
            return {"type": "tool-input-available", **call, "toolName": name, "input": value}
        case InvalidToolInput(_, name, raw_input):
            error = "The model wrote an input that is not JSON."
            return {"type": "tool-input-error", **call, "toolName": name, "input": raw_input, "errorText": error}
        case ToolError(_, error_text):
            return {"type": "tool-output-error", **call, "errorText": error_text}
        case _:
            return {"type": "tool-output-available", **call, "output": item.output}
