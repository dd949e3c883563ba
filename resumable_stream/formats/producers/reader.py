"""Read whatever ``generate`` yields.

A string is a piece of text, whatever it looks like: a user, a document or a model may have written it. Everything else
is brought to the few kinds of ``item_types``, for all formats alike: bytes and :class:`~.encoded.Encoded` are event
streams and are unwrapped, mappings, dataclasses and pydantic models are chunks in the format's own words, and
:mod:`.producers` reads what model libraries stream. The class of an item decides how it is read, and is looked at once.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Container, Mapping
from functools import lru_cache
from typing import Any

from django.utils.functional import Promise

from ...utils.log_once import warn_once
from ..encoded import Encoded, EncodedEvents, broken_off
from ..item_types import FormatChunk, Item
from ..jsontext import decode, encode, escape_unsafe
from ..refusals import class_name, unknown_class
from . import ProducerError, Producers
from .bedrock import model_output
from .langgraph import CUSTOM, is_event
from .langgraph_modes import NOTHING, unwrap, unwrap_mode

logger = logging.getLogger(__name__)

_LIBRARIES = ("openai.types.", "anthropic.types.", "anthropic.lib.", "openai.lib.", "litellm.types.")
"""Whose objects never are chunks of a format: one that is not known adds nothing to the answer."""

# The least that pydantic-ai's chunks can be asked for; what it leaves out is what strict clients of version 5 refuse.
OLDEST_SDK_VERSION = 5


class ItemReader:
    """Reads the items of one generation."""

    def __init__(self, *, sdk_version: int = OLDEST_SDK_VERSION, own_types: Container[str] = ()) -> None:
        """Begin a generation.

        ``sdk_version`` is what pydantic-ai's chunks are asked to be encoded for; ``own_types`` are the types of chunks
        that the format has in common with a known producer, and wants as they are.
        """
        self._producers = Producers(own_types)
        self._sdk_version = sdk_version
        self._events: EncodedEvents | None = None

    def read(self, item: object) -> list[Item]:
        """Read one item; what it adds to the answer is empty for ``None`` and for events without content.

        Raises:
            TypeError: Nothing is known about items of this type, or JSON cannot hold it.
            ProducerError: The item says that the producer failed.
        """
        kind: Any = type(item)
        return _way_to_read(kind)(self, item)

    def flush(self) -> list[Item]:
        """Complete what the producer left open when it came to its end.

        Raises:
            ProducerError: Its event stream broke off.
        """
        items: list[Item] = []
        for data in self._events.end() if self._events is not None else ():
            try:
                items += self._read_event(data)
            except ValueError as error:
                raise broken_off() from error
        return [*items, *self._producers.flush()]

    def _read_nothing(self, item: None) -> list[Item]:
        return []

    def _read_text(self, item: str | Promise) -> list[Item]:
        text = str(item)
        return [text] if text else []

    def _read_encoded(self, item: Encoded) -> list[Item]:
        # JSON's own escape for a lone surrogate, which UTF-8 cannot hold.
        return self._read_bytes(str(item).encode(errors="backslashreplace"))

    def _read_bytes(self, item: bytes | bytearray | memoryview) -> list[Item]:
        if self._events is None:
            self._events = EncodedEvents()
        items: list[Item] = []
        for data in self._events.feed(bytes(item)):
            try:
                items += self._read_event(data)
            except ValueError as error:
                raise TypeError(
                    "The data of an encoded event must be JSON, for instance 'data: {...}'. Yield text as str."
                ) from error
        return items

    def _read_event(self, text: str) -> list[Item]:
        data = decode(text)
        read = self._producers.read(data) if isinstance(data, dict) else None
        if read is not None:
            return read
        return [FormatChunk(data, encode(data) if "\n" in text else escape_unsafe(text))]

    def _read_mapping(self, item: Mapping[str, Any]) -> list[Item]:
        if isinstance(item.get("ns"), tuple) and isinstance(item.get("type"), str):
            # LangGraph's events of ``astream(..., version="v2")``.
            return self._read_payload(unwrap_mode(item["type"], item.get("data")))
        if is_event(item) and item["method"] == CUSTOM:
            return self._read_payload(item["params"].get("data", NOTHING))
        if (output := model_output(item)) is not None:
            return self._read_event(output.decode())
        read = self._producers.read(item, is_apps_own=True)
        return read if read is not None else [FormatChunk(item, encode(item))]

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
        return [_chunk_of(item, data)]

    def _read_sdk_chunk(self, item: Any) -> list[Item]:
        if getattr(item, "type", None) == "error":
            raise ProducerError(f"The agent failed: {getattr(item, 'error_text', None)}")
        return self._read_dump(item, lambda: item.encode(self._sdk_version))

    def _read_model(self, item: Any) -> list[Item]:
        read = self._producers.read(item)
        if read is not None:
            return read
        if type(item).__module__.startswith(_LIBRARIES):
            # An event that the library knows and this app does not, or that a server has made up.
            warn_once(logger, "passed over what %s streams type=%r", type(item).__module__, getattr(item, "type", None))
            return []
        return self._read_dump(item, lambda: item.model_dump_json(by_alias=True, exclude_none=True))

    def _read_dump(self, item: Any, dump: Callable[[], str]) -> list[Item]:
        try:
            text = dump()
        except ValueError:
            # pydantic's own JSON cannot hold lone surrogates; ours can.
            data = item.model_dump(by_alias=True, exclude_none=True)
            return [_chunk_of(item, data)]
        return [] if text == "[DONE]" else [FormatChunk(decode(text), escape_unsafe(text), class_name(type(item)))]

    def _read_object(self, item: Any) -> list[Item]:
        read = self._producers.read(item)
        if read is None:
            raise _unknown(type(item))
        return read


def _chunk_of(item: object, data: Mapping[str, Any]) -> FormatChunk:
    name = class_name(type(item))
    try:
        return FormatChunk(data, encode(data), name)
    except TypeError as error:
        raise unknown_class(name, str(error)) from error


def _unknown(kind: type) -> TypeError:
    why = "Yield str for text; for anything else a dict, dataclass or pydantic model that is a chunk of the format."
    return unknown_class(class_name(kind), why)


_Way = Callable[[ItemReader, Any], list[Item]]


@lru_cache(maxsize=256)
def _way_to_read(kind: type) -> _Way:
    ways: dict[type | tuple[type, ...], _Way] = {
        type(None): ItemReader._read_nothing,
        Encoded: ItemReader._read_encoded,
        # Text that is translated when it is read.
        (str, Promise): ItemReader._read_text,
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
