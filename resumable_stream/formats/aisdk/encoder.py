"""Encode one generation as an AI SDK UI message stream, and know what is open in it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from ...types import EndReason, FinishReason
from ..base import ChunkEncoder
from ..item_types import (
    Chunk,
    File,
    Finish,
    InvalidToolInput,
    Item,
    Reasoning,
    Source,
    ToolError,
    ToolInput,
    ToolInputDelta,
    ToolInputStart,
    ToolItem,
)
from ..jsontext import decode, encode, encode_text
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


class AISDKEncoder(ChunkEncoder):
    """Encodes one generation.

    Strings go into a part of their own, which is opened for the first and closed before the next part begins.
    """

    def __init__(self, *, message_id: str, chunk_types: Container[str], sdk_version: int) -> None:
        self.message_id = message_id
        """The id of the answer; the producer's own, once it has sent a ``start`` that has one."""
        self._chunk_types = chunk_types
        self._reader = ItemReader(sdk_version=sdk_version)
        self._parts = PartTracker()
        # Chunks on their way out. Where an item cannot be encoded, those before it stay here for what ends the answer.
        self._pending: list[str] = []
        self._error: Chunk | None = None
        """The producer's own error, which is put off to the end: clients take nothing after it."""
        self._is_done = False
        self._own_part: _OpenPart | None = None
        self._own_delta = ""
        self._own_count = 0
        self._finish: Finish | None = None
        self._source_count = 0

    @property
    def end(self) -> EndReason | None:
        """How the producer's own last chunk said that it ended; an error of its own has the last word."""
        return EndReason.FAILED if self._error is not None else self._parts.end

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as it says itself or the producer's own ``finish``."""
        return self._finish.reason if self._finish is not None else None

    def start(self) -> list[str]:
        """Return nothing: the producer may have a ``start`` of its own, with an id and metadata."""
        return []

    def encode(self, item: object) -> list[str]:
        """Encode one item; an error of the producer's own waits for what follows it."""
        if type(item) is str:
            self._encode_delta("text", item)
        else:
            self._encode_items(self._reader.read(item))
        return self._take_pending()

    def observe(self, chunk: str) -> None:
        """Take note of a chunk that is already stored."""
        try:
            decoded = decode(chunk)
        except (ValueError, TypeError):
            # Another program's record; clients fail at it, whatever we make of it.
            return
        if isinstance(decoded, dict) and isinstance(kind := decoded.get("type"), str):
            if kind == "start" and isinstance(decoded.get("messageId"), str):
                self.message_id = decoded["messageId"]
            self._parts.note(kind, decoded)

    def finish(self) -> list[str]:
        """Complete calls, close parts and step, and send ``finish`` if the producer has not."""
        self._encode_items(self._reader.flush())
        self._close_parts()
        if self._error is not None:
            return self._end_with_error(self._error)
        if self.end is None:
            self._close_step()
            self._send({"type": "finish", **self._finish_fields()})
        return self._take_pending()

    def _finish_fields(self) -> dict[str, str]:
        # Clients of before 5.0.217 may know no such field, and refuse it: the usual end goes without.
        return {"finishReason": self._finish.reason} if self._finish is not None and self._finish.is_unusual else {}

    def stop(self) -> list[str]:
        """Close parts and step, and send ``abort``."""
        self._close_parts()
        self._close_step()
        return self._end_with({"type": "abort"})

    def fail(self, text: str) -> list[str]:
        """Close parts, and send the error, the producer's own if it has one: it is the last chunk that clients read."""
        return self._end_with_error(self._error or _error(text))

    def interrupt(self, text: str) -> list[str]:
        """End as after a failure: the AI SDK knows no other word for it."""
        return self._end_with_error(_error(text))

    def _end_with_error(self, error: Chunk) -> list[str]:
        self._close_parts()
        return self._end_with(error.data, error.text)

    def _end_with(self, chunk: Mapping[str, Any], text: str | None = None) -> list[str]:
        """Send the last chunk, unless the producer's own is it."""
        if self._parts.end is not EndReason.STOPPED:
            self._send(chunk, text)
        self._is_done = True
        return self._take_pending()

    def _take_pending(self) -> list[str]:
        pending, self._pending = self._pending, []
        return pending

    def _send(self, chunk: Mapping[str, Any], text: str | None = None) -> None:
        """Put a chunk on its way, after our own ``start`` if there was none, and before the end of the answer."""
        if self._is_over:
            return
        encoded = text or encode(chunk)
        kind = str(chunk["type"])
        if not self._parts.started and kind not in _NEED_NO_START:
            self._send({"type": "start", "messageId": self.message_id})
        self._parts.note(kind, chunk)
        self._pending.append(encoded)

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

    def _encode_items(self, items: list[Item]) -> None:
        for item in items:
            if isinstance(item, str):
                self._encode_delta("text", item)
            elif isinstance(item, Reasoning):
                self._encode_delta("reasoning", item.delta)
            elif isinstance(item, Chunk):
                self._encode_chunk(item)
            elif isinstance(item, Finish):
                self._finish = item
            elif isinstance(item, Source):
                # It stands beside the text, which goes on.
                self._source_count += 1
                source = {"sourceId": f"source-{self._source_count}", "url": item.url, "title": item.title}
                self._send({"type": "source-url", **source})
            else:
                self._close_own_part()
                self._send(_file_chunk(item) if isinstance(item, File) else _tool_chunk(item))

    def _encode_delta(self, kind: str, delta: str) -> None:
        if not delta or self._is_over:
            return
        if self._parts.end is EndReason.STOPPED:
            self._parts.end = None
        part = self._own_part
        if part is None or part[0] != kind or part not in self._parts.open_parts:
            self._close_own_part()
            self._open_own_part(kind)
        self._pending.append(f"{self._own_delta}{encode_text(delta)}}}")

    def _open_own_part(self, kind: str) -> None:
        self._own_count += 1
        while (kind, f"{kind}-{self._own_count}") in self._parts.open_parts:
            self._own_count += 1
        part_id = f"{kind}-{self._own_count}"
        self._own_part = (kind, part_id)
        # Most chunks of most answers are deltas: what they have in common is encoded once.
        self._own_delta = f'{{"type":"{kind}-delta","id":"{part_id}","delta":'
        self._send({"type": f"{kind}-start", "id": part_id})

    def _close_own_part(self) -> None:
        if self._own_part is not None:
            self._close(self._own_part)
            self._own_part = None

    def _encode_chunk(self, chunk: Chunk) -> None:
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
            self._finish = named_finish(chunk.data.get("finishReason")) or self._finish
        if kind not in _BESIDE_TEXT and not kind.startswith(_BESIDE_TEXT_PREFIXES):
            self._close_own_part()
        required = "data" if kind.startswith("data-") else _REQUIRED_VALUES.get(kind)
        if required is None or required in chunk.data:
            self._send(chunk.data, chunk.text)
        else:
            self._send({**chunk.data, required: None})

    def _kind(self, chunk: Chunk) -> str:
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


def _error(text: str) -> Chunk:
    data = {"type": "error", "errorText": text}
    return Chunk(data, encode(data))


def _file_chunk(item: File) -> dict[str, Any]:
    return {"type": "file", "mediaType": item.media_type, "url": item.url}


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
