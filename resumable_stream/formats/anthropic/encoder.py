"""Encode one generation as one Anthropic message, and know what is open in it.

The SDK (``MessageStream.ts``) pushes a block for each ``content_block_start`` and finds it by its index, wants one
``message_start``, and fails at a tool's input that is not JSON. Indexes are therefore counted here, whoever made the
blocks; of a loop over several messages, the later ones' blocks go on where the first one's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ...types import EndReason
from ..encoder import DeltaEncoder, DeltaKind, ItemEncoder, delta_encoder
from ..item_types import FormatChunk, InvalidToolInput, ToolInput, ToolInputStart, ToolItem
from ..jsontext import encode
from ..producers import ProducerError
from ..producers.finishes import named_finish
from ..producers.reader import ItemReader
from ..refusals import unknown_type

_BLOCK_TYPES = ("content_block_start", "content_block_delta", "content_block_stop")
RAW_TYPES = frozenset(("message_start", *_BLOCK_TYPES, "message_delta", "message_stop"))
"""What the API sends, beside ``ping`` and ``error``."""

_DELTA_TEXTS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
    "signature_delta": "signature",
}
_BLOCK_KINDS: dict[DeltaKind, str] = {"text": "text", "reasoning": "thinking"}
_STOP_REASONS = {"length": "max_tokens", "content-filter": "refusal"}
_BLOCK_TEXTS = {"text": "text", "thinking": "thinking"}
"""Fields that deltas are added to."""


class EventState:
    """How far a stream of events has come."""

    def __init__(self) -> None:
        self.has_started = False
        self.is_over = False
        self.has_stop_reason = False
        self.output_tokens = 0
        """As last told."""
        self.open_blocks: dict[int, None] = {}
        self.block_count = 0
        self.last_kind = ""

    def note(self, event: Mapping[str, Any]) -> None:
        """Take note of one event that is on its way."""
        match event.get("type"):
            case "message_start":
                self.has_started = True
                self._note_usage(event["message"])
            case "content_block_start":
                self.has_stop_reason = False
                self.open_blocks[event["index"]] = None
                self.block_count = event["index"] + 1
                self.last_kind = event["content_block"]["type"]
            case "content_block_stop":
                self.open_blocks.pop(event["index"], None)
            case "message_delta":
                self.has_stop_reason = event["delta"].get("stop_reason") is not None
                self._note_usage(event)
            case "message_stop" | "error":
                self.is_over = True

    def _note_usage(self, source: Mapping[str, Any]) -> None:
        tokens = source["usage"].get("output_tokens")
        self.output_tokens = tokens if isinstance(tokens, int) else self.output_tokens


class _OwnBlock(NamedTuple):
    kind: DeltaKind
    number: int
    encode: DeltaEncoder


class AnthropicEncoder(ItemEncoder):
    """Encodes one generation.

    Text goes into a block of its own, which is closed before the next one begins. The input of a call that is not
    Anthropic's own is sent when it is complete: of one that turns out not to be JSON, clients would have had a part.
    """

    def __init__(self, *, message_id: str) -> None:
        super().__init__(ItemReader(own_types=RAW_TYPES))
        self._message_id = message_id
        self._state = EventState()
        self._own: _OwnBlock | None = None
        self._calls: dict[str, int] = {}
        """Indexes of the calls that are being made."""
        self._indexes: dict[Any, int] = {}
        """Of the blocks of the producer's current message, by its own indexes."""
        self._begun_inputs: set[int] = set()
        self._spent_tokens = 0
        """What the messages before it took."""

    def encode_object(self, item: object) -> None:
        """Add a raw event of the ``anthropic`` package with all of its fields, or what the reader makes of an item."""
        event = _raw_event(item)
        if event is not None:
            self._encode_raw(event)
        else:
            super().encode_object(item)

    def note_stored(self, data: Any) -> None:
        """Take note of an event on the log; clients fail at another program's, whatever we make of it."""
        with suppress(TypeError, KeyError, AttributeError):
            self._state.note(data)

    def close(self, reason: EndReason, text: str | None) -> None:
        """Close blocks and end the message.

        A message that was stopped has no stop reason, by which clients tell it. After a failure or an interruption an
        error is the last event that clients read.
        """
        if text is not None:
            self._close_blocks()
            self._send({"type": "error", "error": {"type": "api_error", "message": text}})
            return
        self._ensure_started()
        self._close_blocks()
        if not self._state.has_stop_reason:
            usage = {"output_tokens": self._state.output_tokens}
            delta = _delta_with(self._stop_reason() if reason is EndReason.FINISHED else None)
            self._send({"type": "message_delta", "delta": delta, "usage": usage})
        self._send({"type": "message_stop"})

    def _stop_reason(self) -> str:
        usual = "tool_use" if self._state.last_kind == "tool_use" else "end_turn"
        return usual if self.model_finish is None else _STOP_REASONS.get(self.model_finish.reason, usual)

    def _send(self, event: Mapping[str, Any]) -> None:
        if not self._state.is_over:
            self.pending.append(encode(event))
            self._state.note(event)

    def _ensure_started(self) -> None:
        if not self._state.has_started:
            self._send({"type": "message_start", "message": _message({}, self._message_id)})

    def _open_block(self, block: Mapping[str, Any]) -> int:
        self._ensure_started()
        index = self._state.block_count
        self._send({"type": "content_block_start", "index": index, "content_block": block})
        return index

    def _close_block(self, index: int) -> None:
        if index in self._state.open_blocks:
            self._send({"type": "content_block_stop", "index": index})

    def _close_blocks(self) -> None:
        for index in list(self._state.open_blocks):
            self._close_block(index)

    def _close_own(self) -> None:
        if self._own is not None:
            self._close_block(self._own.number)
            self._own = None

    # -- items -----------------------------------------------------------------------------------------------------

    def open_part(self, kind: DeltaKind) -> DeltaEncoder | None:
        """Open a block of our own, unless one of this kind is open; nothing is added to a message that has ended."""
        if self._state.is_over:
            return None
        if self._own is None or self._own.kind != kind:
            self._own = self._open_own(kind)
        return self._own.encode

    def _open_own(self, kind: DeltaKind) -> _OwnBlock:
        self._close_own()
        name = _BLOCK_KINDS[kind]
        block = {"type": name, name: ""}
        index = self._open_block(block if kind == "text" else {**block, "signature": ""})
        before = f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{name}_delta","{name}":'
        return _OwnBlock(kind, index, delta_encoder(before, "}}"))

    def add_chunk(self, chunk: FormatChunk) -> None:
        """Add a raw event that is a mapping."""
        self._encode_raw(_checked_event(chunk))

    def add_tool(self, item: ToolItem) -> None:
        """Add a call; what tools answer is no part of an assistant's message."""
        match item:
            case ToolInputStart(call_id, name):
                self._open_call(call_id, name)
            case ToolInput(call_id, name, value):
                self._encode_call(call_id, name, value if isinstance(value, Mapping) else {"input": value})
            case InvalidToolInput(call_id, name, raw_input):
                # The name is the one that Anthropic's own documentation gives to such an input.
                self._encode_call(call_id, name, {"INVALID_JSON": raw_input})

    def _open_call(self, call_id: str, name: str) -> None:
        self._close_own()
        self._calls[call_id] = self._open_block({"type": "tool_use", "id": call_id, "name": name, "input": {}})

    def _encode_call(self, call_id: str, name: str, value: Mapping[str, Any]) -> None:
        if call_id not in self._calls:
            self._open_call(call_id, name)
        index = self._calls.pop(call_id)
        delta = {"type": "input_json_delta", "partial_json": encode(value)}
        self._send({"type": "content_block_delta", "index": index, "delta": delta})
        self._close_block(index)

    # -- raw events ------------------------------------------------------------------------------------------------

    def _encode_raw(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "message_start":
                self._start_raw(event)
            case "content_block_start":
                self._close_own()
                self._indexes[event.get("index")] = self._open_block(_block(event.get("content_block")))
            case "content_block_delta":
                self._encode_raw_delta(event)
            case "content_block_stop":
                self._close_block(self._indexes.pop(event.get("index"), -1))
            case "message_delta":
                self._encode_message_delta(event)
            # message_stop: nothing follows it, and this may not have been the producer's last message.

    def _start_raw(self, event: Mapping[str, Any]) -> None:
        for index in self._indexes.values():
            self._close_block(index)
        self._indexes.clear()
        if self._state.has_started:
            self._spent_tokens = self._state.output_tokens
            return
        message = event.get("message")
        self._send({**event, "message": _message(message if isinstance(message, Mapping) else {}, self._message_id)})

    def _encode_raw_delta(self, event: Mapping[str, Any]) -> None:
        delta, index = event.get("delta"), self._indexes.get(event.get("index"))
        if index is None:
            raise TypeError(f"No content block {event.get('index')!r} is open: yield its content_block_start first.")
        kind = delta.get("type") if isinstance(delta, Mapping) else None
        field = _DELTA_TEXTS.get(kind) if isinstance(kind, str) else ""
        if not isinstance(delta, Mapping) or (field is not None and not isinstance(delta.get(field), str)):
            raise TypeError(f"Anthropic clients would fail at the delta {delta!r:.200}.")
        if kind == "input_json_delta" and index not in self._begun_inputs:
            if not delta["partial_json"].strip():
                # Clients fail at an input that has nothing but blanks when the block is closed.
                return
            self._begun_inputs.add(index)
        self._send({**event, "index": index})

    def _encode_message_delta(self, event: Mapping[str, Any]) -> None:
        self._ensure_started()
        delta, usage = event.get("delta"), event.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        tokens = usage.get("output_tokens")
        tokens = self._spent_tokens + (tokens if isinstance(tokens, int) else 0)
        delta = {**_delta_with(None), **(delta if isinstance(delta, Mapping) else {})}
        self.model_finish = named_finish(delta["stop_reason"]) or self.model_finish
        self._send({**event, "delta": delta, "usage": {**usage, "output_tokens": tokens}})


def _raw_event(item: object) -> Mapping[str, Any] | None:
    """Read a raw event of the ``anthropic`` package; of the helper stream's, what the API has sent of it."""
    if isinstance(item, (str, Mapping)) or not hasattr(item, "model_dump"):
        return None
    kind = getattr(item, "type", None)
    if kind == "error" and not hasattr(item, "sequence_number"):
        raise ProducerError(f"The message failed: {item!r:.500}")
    if kind not in RAW_TYPES:
        return None
    # As it was sent: with its nulls, which mean something, and without fields that this version of the package added.
    event: dict[str, Any] = item.model_dump(mode="json", exclude_unset=True, warnings=False)
    repeated = {"content_block_stop": "content_block", "message_stop": "message"}.get(kind, "")
    event.pop(repeated, None)
    return event


def _checked_event(chunk: FormatChunk) -> Mapping[str, Any]:
    data = chunk.data
    kind = data.get("type") if isinstance(data, Mapping) else None
    if kind == "error":
        raise ProducerError(f"The message failed: {data!r:.500}")
    if kind in RAW_TYPES:
        return dict(data)
    shown = f"of the type {kind!r:.100}" if kind is not None else f"like {data!r:.100}"
    fix = "Yield str for text or raw message events, or choose the format that these chunks belong to."
    raise unknown_type(chunk, f"Anthropic clients know no event {shown}.", fix)


def _message(given: Mapping[str, Any], message_id: str) -> dict[str, Any]:
    """Complete a message to what clients take for one; its blocks come as events of their own."""
    usage = given.get("usage")
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": "",
        "stop_reason": None,
        "stop_sequence": None,
        **given,
        "content": [],
        "usage": {"input_tokens": 0, "output_tokens": 0, **(usage if isinstance(usage, Mapping) else {})},
    }


def _block(block: Any) -> Mapping[str, Any]:
    if not isinstance(block, Mapping) or not isinstance(block.get("type"), str):
        raise TypeError(f"A content block is a mapping with a 'type', not {block!r:.200}.")
    field = _BLOCK_TEXTS.get(block["type"])
    return block if field is None or isinstance(block.get(field), str) else {**block, field: ""}


def _delta_with(reason: str | None) -> dict[str, Any]:
    return {"stop_reason": reason, "stop_sequence": None}
