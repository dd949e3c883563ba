"""Encode one generation as one Anthropic message, and know what is open in it.

The SDK (``MessageStream.ts``) pushes a block for each ``content_block_start`` and finds it by its index, wants one
``message_start``, and fails at a tool's input that is not JSON. Indexes are therefore counted here, whoever made the
blocks; of a loop over several messages, the later ones' blocks go on where the first one's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...types import EndReason, FinishReason
from ..base import ChunkEncoder
from ..item_types import Chunk, Finish, InvalidToolInput, Item, Reasoning, ToolInput, ToolInputStart
from ..jsontext import decode, encode, encode_text
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
_STOP_REASONS = {"length": "max_tokens", "content-filter": "refusal"}
_BLOCK_TEXTS = {"text": "text", "thinking": "thinking"}
"""Fields that deltas are added to."""


class MessageState:
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
    kind: str
    number: int
    delta: str
    """What the events of all its deltas begin with."""


class AnthropicEncoder(ChunkEncoder):
    """Encodes one generation.

    Text goes into a block of its own, which is closed before the next one begins. The input of a call that is not
    Anthropic's own is sent when it is complete: of one that turns out not to be JSON, clients would have had a part.
    """

    def __init__(self, *, message_id: str) -> None:
        self._message_id = message_id
        self._reader = ItemReader(own_types=RAW_TYPES)
        self._state = MessageState()
        # Chunks on their way out. Where an item cannot be encoded, those before it stay here for what ends the answer.
        self._pending: list[str] = []
        self._own: _OwnBlock | None = None
        self._calls: dict[str, int] = {}
        """Indexes of the calls that are being made."""
        self._indexes: dict[Any, int] = {}
        """Of the blocks of the producer's current message, by its own indexes."""
        self._begun_inputs: set[int] = set()
        self._spent_tokens = 0
        """What the messages before it took."""
        self._finish: Finish | None = None

    @property
    def end(self) -> EndReason | None:
        """Always none: a producer of messages just comes to its end."""
        return None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the model has stopped, as it says itself."""
        return self._finish.reason if self._finish is not None else None

    def start(self) -> list[str]:
        """Return nothing: the producer may have a ``message_start`` of its own."""
        return []

    def encode(self, item: object) -> list[str]:
        """Encode one item."""
        if type(item) is str:
            self._encode_delta("text", item)
        elif (event := _raw_event(item)) is not None:
            self._encode_raw(event)
        else:
            self._encode_items(self._reader.read(item))
        return self._take_pending()

    def observe(self, chunk: str) -> None:
        """Take note of a chunk that is already stored."""
        try:
            self._state.note(decode(chunk))
        except (ValueError, TypeError, KeyError, AttributeError):
            # Another program's record; clients fail at it, whatever we make of it.
            return

    def finish(self) -> list[str]:
        """Complete calls, close blocks, and say why the model stopped if the producer has not."""
        self._encode_items(self._reader.flush())
        usual = "tool_use" if self._state.last_kind == "tool_use" else "end_turn"
        return self._stop(_STOP_REASONS.get(self._finish.reason, usual) if self._finish is not None else usual)

    def stop(self) -> list[str]:
        """Close blocks and end the message; that it has no stop reason is how clients tell."""
        return self._stop(None)

    def fail(self, text: str) -> list[str]:
        """Close blocks, and send the error: it is the last event that clients read."""
        self._close_blocks()
        self._send({"type": "error", "error": {"type": "api_error", "message": text}})
        return self._take_pending()

    def interrupt(self, text: str) -> list[str]:
        """End as after a failure: there is no other word for it."""
        return self.fail(text)

    def _stop(self, reason: str | None) -> list[str]:
        self._ensure_started()
        self._close_blocks()
        if not self._state.has_stop_reason:
            usage = {"output_tokens": self._state.output_tokens}
            self._send({"type": "message_delta", "delta": _delta_with(reason), "usage": usage})
        self._send({"type": "message_stop"})
        return self._take_pending()

    def _take_pending(self) -> list[str]:
        pending, self._pending = self._pending, []
        return pending

    def _send(self, event: Mapping[str, Any]) -> None:
        if not self._state.is_over:
            self._pending.append(encode(event))
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

    def _encode_items(self, items: list[Item]) -> None:
        for item in items:
            match item:
                case str():
                    self._encode_delta("text", item)
                case Reasoning(delta):
                    self._encode_delta("thinking", delta)
                case ToolInputStart(call_id, name):
                    self._open_call(call_id, name)
                case ToolInput(call_id, name, value):
                    self._encode_call(call_id, name, value if isinstance(value, Mapping) else {"input": value})
                case InvalidToolInput(call_id, name, raw_input):
                    # The name is the one that Anthropic's own documentation gives to such an input.
                    self._encode_call(call_id, name, {"INVALID_JSON": raw_input})
                case Finish():
                    self._finish = item
                case Chunk():
                    self._encode_raw(_checked_event(item))

    def _encode_delta(self, kind: str, delta: str) -> None:
        if not delta or self._state.is_over:
            return
        if self._own is None or self._own.kind != kind:
            self._own = self._open_own(kind)
        self._pending.append(f"{self._own.delta}{encode_text(delta)}}}}}")

    def _open_own(self, kind: str) -> _OwnBlock:
        self._close_own()
        block = {"type": kind, kind: ""}
        index = self._open_block(block if kind == "text" else {**block, "signature": ""})
        # Most chunks of most answers are deltas: what they have in common is encoded once.
        delta = f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}_delta","{kind}":'
        return _OwnBlock(kind, index, delta)

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
        self._finish = named_finish(delta["stop_reason"]) or self._finish
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


def _checked_event(chunk: Chunk) -> Mapping[str, Any]:
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
