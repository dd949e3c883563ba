"""Encode one generation as an AI SDK UI message stream, and know what is open in it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from .base import ChunkEncoder, EndReason
from .deltas import (
    Chunk,
    InvalidToolInput,
    Item,
    Reasoning,
    ToolError,
    ToolInput,
    ToolInputDelta,
    ToolInputStart,
    ToolItem,
)
from .items import ItemReader, may_be_encoded
from .jsontext import decode, encode, encode_text

# Chunks of producers' own that say something within or beside the text, rather than begin another part.
_BESIDE_TEXT_PREFIXES = ("data-", "source-")
_BESIDE_TEXT = frozenset(
    ("message-metadata", "text-delta", "text-end", "reasoning-delta", "reasoning-end", "tool-input-delta")
)
_ENDS = {"finish": EndReason.FINISHED, "abort": EndReason.STOPPED, "error": EndReason.FAILED}

_OpenPart = tuple[str, str]
"""Kind ("text" or "reasoning") and id."""


class PartTracker:
    """What is open in a stream of chunks, and how it ended."""

    def __init__(self) -> None:
        self.started = False
        self.end: EndReason | None = None
        self._open: dict[_OpenPart, None] = {}
        self._step_is_open = False

    @property
    def is_over(self) -> bool:
        """Whether clients take nothing more: after an error they stop, and after an abort there is nothing."""
        return self.end in (EndReason.FAILED, EndReason.STOPPED)

    def is_open(self, part: _OpenPart) -> bool:
        """Tell whether the part is open."""
        return part in self._open

    def note(self, kind: str, chunk: Mapping[str, Any]) -> None:
        """Take note of one chunk."""
        self.started = True
        if kind in ("text-start", "reasoning-start", "text-delta", "reasoning-delta"):
            # A delta counts too: in version 7, a part may go on after the step it began in.
            self._open[kind.partition("-")[0], str(chunk.get("id"))] = None
        elif kind in ("text-end", "reasoning-end"):
            self._open.pop((kind.partition("-")[0], str(chunk.get("id"))), None)
        elif kind in _ENDS:
            self.end = _ENDS[kind]
        elif kind == "start-step":
            self._step_is_open = True
        elif kind in ("finish-step", "reset-step"):
            self._step_is_open = self._step_is_open and kind == "reset-step"
            # Here clients forget their open parts, at finish-step those of versions 5 and 6. To close one that is
            # forgotten would be an error; one that stays open is merely never marked as done.
            self._open.clear()

    def open(self, part: _OpenPart) -> None:
        """Take note that the part was opened."""
        self._open[part] = None

    def close(self, part: _OpenPart) -> list[str]:
        """Close the part, if it is open."""
        if part not in self._open:
            return []
        del self._open[part]
        kind, part_id = part
        return [encode({"type": f"{kind}-end", "id": part_id})]

    def close_parts(self) -> list[str]:
        """Close every open part."""
        return [chunk for part in list(self._open) for chunk in self.close(part)]

    def close_step(self) -> list[str]:
        """Close the step, if one is open."""
        if not self._step_is_open:
            return []
        self._step_is_open = False
        return [encode({"type": "finish-step"})]


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
        self._own_part: _OpenPart | None = None
        self._own_delta = ""
        self._own_count = 0

    @property
    def end(self) -> EndReason | None:
        """How the producer's own last chunk said that it ended."""
        return self._parts.end

    def start(self) -> list[str]:
        """Return nothing: the producer may have a ``start`` of its own, with an id and metadata."""
        return []

    def encode(self, item: object) -> list[str]:
        """Encode one item; nothing after the producer's own error or abort."""
        if self._parts.is_over:
            return []
        if type(item) is str and not may_be_encoded(item):
            return self._encode_delta("text", item)
        return self._encode_items(self._reader.read(item))

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
        if self._parts.is_over:
            return []
        chunks = self._encode_items(self._reader.flush()) + self._begin() + self._parts.close_parts()
        if self.end is None:
            chunks += self._parts.close_step() + self._finally("finish")
        return chunks

    def stop(self) -> list[str]:
        """Close parts and step, and send ``abort``."""
        if self._parts.is_over:
            return []
        return self._begin() + self._parts.close_parts() + self._parts.close_step() + self._finally("abort")

    def fail(self, text: str) -> list[str]:
        """Close parts, and send the error: it is the last chunk that clients read."""
        if self._parts.is_over:
            return []
        return self._begin() + self._parts.close_parts() + self._finally("error", errorText=text)

    def interrupt(self, text: str) -> list[str]:
        """End as after a failure: the AI SDK knows no other word for it."""
        return self.fail(text)

    def _begin(self) -> list[str]:
        if self._parts.started:
            return []
        return self._add({"type": "start", "messageId": self.message_id})

    def _finally(self, kind: str, **fields: str) -> list[str]:
        return self._add({"type": kind, **fields})

    def _add(self, chunk: Mapping[str, Any]) -> list[str]:
        self._parts.note(chunk["type"], chunk)
        return [encode(chunk)]

    def _encode_items(self, items: list[Item]) -> list[str]:
        chunks: list[str] = []
        for item in items:
            if isinstance(item, str):
                chunks += self._encode_delta("text", item)
            elif isinstance(item, Reasoning):
                chunks += self._encode_delta("reasoning", item.delta)
            elif isinstance(item, Chunk):
                chunks += self._encode_chunk(item)
            else:
                chunks += self._encode_tool(item)
        return chunks

    def _encode_delta(self, kind: str, delta: str) -> list[str]:
        if not delta:
            return []
        chunks: list[str] = []
        if self._own_part is None or self._own_part[0] != kind or not self._parts.is_open(self._own_part):
            chunks = self._begin() + self._close_own_part() + self._open_own_part(kind)
        chunks.append(f"{self._own_delta}{encode_text(delta)}}}")
        return chunks

    def _open_own_part(self, kind: str) -> list[str]:
        self._own_count += 1
        while self._parts.is_open((kind, f"{kind}-{self._own_count}")):
            self._own_count += 1
        part_id = f"{kind}-{self._own_count}"
        self._own_part = (kind, part_id)
        # Most chunks of most answers are deltas: what they have in common is encoded once.
        self._own_delta = f'{{"type":"{kind}-delta","id":"{part_id}","delta":'
        self._parts.open(self._own_part)
        return [encode({"type": f"{kind}-start", "id": part_id})]

    def _close_own_part(self) -> list[str]:
        part, self._own_part = self._own_part, None
        return self._parts.close(part) if part is not None else []

    def _encode_chunk(self, chunk: Chunk) -> list[str]:
        kind = self._kind(chunk.data)
        if kind == "done" or self._parts.is_over:
            return []
        if kind == "start":
            return self._encode_start(chunk)
        chunks = self._begin()
        if kind not in _BESIDE_TEXT and not kind.startswith(_BESIDE_TEXT_PREFIXES):
            chunks += self._close_own_part()
        self._parts.note(kind, chunk.data)
        return [*chunks, chunk.text]

    def _kind(self, data: Any) -> str:
        kind = data.get("type") if isinstance(data, Mapping) else None
        if not isinstance(kind, str):
            shown = f"a mapping with the keys {sorted(map(str, data))}" if isinstance(data, Mapping) else repr(data)
            raise TypeError(
                f"An AI SDK chunk is a mapping with a 'type', not {shown:.200}. Yield str for text, and "
                "{'type': 'data-…', 'data': …} for data of your own."
            )
        if kind not in self._chunk_types and kind != "done" and not kind.startswith("data-"):
            raise TypeError(
                f"AI SDK clients know no chunk of the type {kind!r:.100} and would fail. Yield "
                "{'type': 'data-…', 'data': …} for data of your own, or choose the format that these chunks belong to."
            )
        return kind

    def _encode_start(self, chunk: Chunk) -> list[str]:
        """Give the producer's first ``start`` an id if it has none; make metadata of what a later one brings."""
        if self._parts.started:
            metadata = chunk.data.get("messageMetadata")
            return [] if metadata is None else self._add({"type": "message-metadata", "messageMetadata": metadata})
        message_id = chunk.data.get("messageId")
        if isinstance(message_id, str) and message_id:
            self.message_id = message_id
        return self._add({**chunk.data, "messageId": self.message_id})

    def _encode_tool(self, item: ToolItem) -> list[str]:
        return self._begin() + self._close_own_part() + self._add(_tool_chunk(item))


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
