"""Read whatever ``generate`` yields.

A plain string is a piece of text. Everything else is brought to the few kinds of :mod:`.deltas`, for all formats
alike: encoded SSE text is unwrapped, mappings, dataclasses and pydantic models are chunks in the format's own words,
and what model libraries stream is read by :mod:`.producers`. How an item is read depends on its class, and is found
out once for each class.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Container, Mapping
from functools import lru_cache
from typing import Any

from .deltas import Chunk, Item
from .jsontext import decode, encode, escape_unsafe
from .producers import Producers
from .producers.langchain import NOTHING, unwrap, unwrap_mode

# The least that pydantic-ai's chunks can be asked for; what it leaves out is what strict clients of version 5 refuse.
OLDEST_SDK_VERSION = 5

_FIELD_NAMES = ("data", "event", "id", "retry")
_FIELD_BEGINNINGS = ("data", "event", "id", "retry", ":")
_LINE_END = re.compile("\r\n|\n|\r")
_DONE = "[DONE]"


def may_be_encoded(text: str) -> bool:
    """Tell, at almost no cost, whether a string could be encoded SSE text rather than a piece of an answer."""
    return text[-1:] in ("\n", "\r") and text.startswith(_FIELD_BEGINNINGS)


def unwrap_events(text: str) -> list[str] | None:
    """Return the data of the SSE events that ``text`` consists of; ``None`` if it is anything else.

    Comments and fields other than ``data`` are dropped.
    """
    lines = _LINE_END.split(text)
    if lines[-2:] != ["", ""]:
        return None
    events: list[str] = []
    data: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif line == "" and data:
            events.append("\n".join(data))
            data = []
        elif name and name not in _FIELD_NAMES:
            return None
    return events


class ItemReader:
    """Reads the items of one generation."""

    def __init__(self, *, sdk_version: int = OLDEST_SDK_VERSION, own_types: Container[str] = ()) -> None:
        """Begin a generation.

        ``sdk_version`` is what pydantic-ai's chunks are asked to be encoded for; ``own_types`` are the types of chunks
        that the format has in common with a known producer, and wants as they are.
        """
        self._producers = Producers(own_types)
        self._sdk_version = sdk_version
        self._speaks_sse = False

    def read(self, item: object) -> list[Item]:
        """Read one item; what it adds to the answer is empty for ``None`` and for events without content.

        Raises:
            TypeError: Nothing is known about items of this type, or JSON cannot hold it.
            ProducerError: The item says that the producer failed.
        """
        kind: Any = type(item)
        return _way_to_read(kind)(self, item)

    def flush(self) -> list[Item]:
        """Complete what the producer left open when it came to its end."""
        return self._producers.flush()

    def _read_nothing(self, item: None) -> list[Item]:
        return []

    def _read_text(self, item: str) -> list[Item]:
        text = str(item)
        events = self._unwrap(text) if may_be_encoded(text) else None
        return events if events is not None else [text] if text else []

    def _unwrap(self, text: str) -> list[Item] | None:
        """Read encoded SSE text; ``None`` if it is a piece of an answer after all.

        Models like to write a colon and a blank line, which is a comment in SSE. A comment by itself is therefore
        taken for one only if the producer has spoken SSE before.
        """
        events = unwrap_events(text)
        if events is None or not (events or self._speaks_sse):
            return None
        try:
            decoded = [(decode(event), event) for event in events if event != _DONE]
        except ValueError:
            return None
        self._speaks_sse = True
        return [item for data, event in decoded for item in self._read_event(data, event)]

    def _read_event(self, data: Any, event: str) -> list[Item]:
        read = self._producers.read(data) if isinstance(data, dict) else None
        if read is not None:
            return read
        return [Chunk(data, encode(data) if "\n" in event else escape_unsafe(event))]

    def _read_bytes(self, item: bytes | bytearray | memoryview) -> list[Item]:
        try:
            text = bytes(item).decode()
        except UnicodeDecodeError as error:
            raise TypeError(
                "Bytes must be whole UTF-8 characters: decode the stream with an incremental decoder, and yield str."
            ) from error
        if text.startswith(":") and unwrap_events(text) == []:
            # A comment: models do not write bytes.
            return []
        return self._read_text(text)

    def _read_mapping(self, item: Mapping[str, Any]) -> list[Item]:
        if isinstance(item.get("ns"), tuple) and isinstance(item.get("type"), str):
            # LangGraph's events of ``astream(..., version="v2")``.
            return self._read_payload(unwrap_mode(item["type"], item.get("data")))
        read = self._producers.read(item, is_apps_own=True)
        return read if read is not None else [Chunk(item, encode(item))]

    def _read_tuple(self, item: tuple[Any, ...]) -> list[Item]:
        payload = unwrap(item)
        if payload is None:
            raise _unknown(type(item))
        return self._read_payload(payload)

    def _read_payload(self, payload: Any) -> list[Item]:
        return [] if payload is NOTHING else self.read(payload)

    def _read_dataclass(self, item: Any) -> list[Item]:
        read = self._producers.read(item)
        if read is not None:
            return read
        values = ((field.name, getattr(item, field.name)) for field in dataclasses.fields(item))
        data = {name: value for name, value in values if value is not None}
        return [Chunk(data, encode(data))]

    def _read_sdk_chunk(self, item: Any) -> list[Item]:
        return self._read_dump(item, lambda: item.encode(self._sdk_version))

    def _read_model(self, item: Any) -> list[Item]:
        read = self._producers.read(item)
        if read is not None:
            return read
        return self._read_dump(item, lambda: item.model_dump_json(by_alias=True, exclude_none=True))

    def _read_dump(self, item: Any, dump: Callable[[], str]) -> list[Item]:
        try:
            text = dump()
        except ValueError:
            # pydantic's own JSON cannot hold lone surrogates; ours can.
            data = item.model_dump(by_alias=True, exclude_none=True)
            return [Chunk(data, encode(data))]
        return [] if text == _DONE else [Chunk(decode(text), escape_unsafe(text))]

    def _read_object(self, item: Any) -> list[Item]:
        read = self._producers.read(item)
        if read is None:
            raise _unknown(type(item))
        return read


def _unknown(kind: type) -> TypeError:
    return TypeError(
        f"Cannot stream {kind.__module__}.{kind.__qualname__}. Yield str for text; for anything else a dict, a "
        "dataclass or a pydantic model that is a chunk of the view's format."
    )


_Way = Callable[[ItemReader, Any], list[Item]]


@lru_cache(maxsize=256)
def _way_to_read(kind: type) -> _Way:
    ways: dict[type | tuple[type, ...], _Way] = {
        type(None): ItemReader._read_nothing,
        str: ItemReader._read_text,
        (bytes, bytearray, memoryview): ItemReader._read_bytes,
        Mapping: ItemReader._read_mapping,
        tuple: ItemReader._read_tuple,
    }
    for kinds, way in ways.items():
        if issubclass(kind, kinds):
            return way
    return _way_to_read_object(kind)


def _way_to_read_object(kind: type) -> _Way:
    if hasattr(kind, "model_dump_json"):
        return ItemReader._read_sdk_chunk if _encodes_itself(kind) else ItemReader._read_model
    return ItemReader._read_dataclass if dataclasses.is_dataclass(kind) else ItemReader._read_object


def _encodes_itself(kind: type) -> bool:
    encode_method = getattr(kind, "encode", None)
    return callable(encode_method) and "sdk_version" in inspect.signature(encode_method).parameters
