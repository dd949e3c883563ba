from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from django.utils.safestring import mark_safe
from hypothesis import given

from resumable_stream.formats.deltas import Chunk
from resumable_stream.formats.items import ItemReader, may_be_encoded, unwrap_events

from .strategies import json_objects, texts


@dataclasses.dataclass
class Event:
    type: str
    data: Any = None
    id: str | None = None


class Model(pydantic.BaseModel):
    type: str
    message_id: str | None = pydantic.Field(None, serialization_alias="messageId")
    text: str = ""


class SelfEncoding(Model):
    """What pydantic-ai's chunks look like."""

    def encode(self, sdk_version: int) -> str:
        return "[DONE]" if self.type == "done" else json.dumps({"type": self.type, "for": sdk_version})


def read(item: object) -> list[Any]:
    return ItemReader().read(item)


def chunk(**data: Any) -> Chunk:
    return Chunk(data, json.dumps(data, separators=(",", ":")))


def as_mapping(item: Any) -> Any:
    return Chunk(dict(item.data), item.text) if isinstance(item, Chunk) else item


@pytest.mark.parametrize("item", [None, "", b"", b": ping\n\n"])
def test_nothing_reads_as_nothing(item: object):
    assert read(item) == []


@given(texts.filter(bool))
def test_a_string_is_a_piece_of_text(text: str):
    assert read(text) == [text]


def test_subclasses_of_str_are_text():
    assert read(mark_safe("<b>")) == ["<b>"]


@pytest.mark.parametrize("item", [b"h\xc3\xa9", bytearray(b"h\xc3\xa9"), memoryview(b"h\xc3\xa9")])
def test_bytes_are_utf8_text(item: object):
    assert read(item) == ["hé"]


def test_a_character_cut_in_two_is_an_error_that_tells_what_to_do():
    with pytest.raises(TypeError, match="incremental decoder"):
        read("é".encode()[:1])


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_mappings_are_chunks(kind: type[Mapping[str, Any]]):
    (item,) = read(kind({"type": "data-x", "data": 1}))  # type: ignore[call-arg]
    assert as_mapping(item) == chunk(type="data-x", data=1)


def test_a_dataclass_is_a_chunk_without_its_empty_fields():
    assert read(Event("data-x", {"a": None})) == [chunk(type="data-x", data={"a": None})]


def test_a_model_is_a_chunk_by_its_aliases_and_without_its_empty_fields():
    assert read(Model(type="start", message_id="m")) == [chunk(type="start", messageId="m", text="")]
    assert read(Model(type="start")) == [chunk(type="start", text="")]


def test_a_model_with_a_lone_surrogate_is_a_chunk_all_the_same():
    (item,) = read(Model(type="x", text="\ud800"))
    assert item.text == '{"type":"x","text":"\\ud800"}'


def test_a_chunk_that_encodes_itself_is_asked_for_the_version():
    assert ItemReader(sdk_version=6).read(SelfEncoding(type="x")) == [Chunk({"type": "x", "for": 6}, read_text(6))]


def read_text(version: int) -> str:
    return json.dumps({"type": "x", "for": version})


def test_the_end_mark_of_a_chunk_that_encodes_itself_is_dropped():
    assert read(SelfEncoding(type="done")) == []


class TestEncodedEvents:
    def test_an_event_is_unwrapped(self):
        assert read('data: {"type":"x"}\n\n') == [chunk(type="x")]

    def test_bytes_are_unwrapped_too(self):
        assert read(b'data: {"type":"x"}\n\n') == [chunk(type="x")]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_several_events_in_one_item_are_all_read(self, end: str):
        lines = [
            ": hello",
            "id: 1",
            "event: message",
            'data: {"a":1}',
            "",
            "retry: 5",
            'data:{"b":2}',
            "",
            ": x",
            "",
            "",
        ]
        assert read(end.join(lines)) == [chunk(a=1), chunk(b=2)]

    def test_the_end_mark_is_dropped(self):
        assert read('data: {"a":1}\n\ndata: [DONE]\n\n') == [chunk(a=1)]

    def test_json_over_several_data_lines_becomes_one_line(self):
        assert read('data: {"a":\ndata: 1}\n\n') == [chunk(a=1)]

    def test_the_json_stays_as_it_was_written(self):
        (item,) = read('data: {"a": 1.0, "b": "\u2028"}\n\n')
        assert item.text == '{"a": 1.0, "b": "\\u2028"}'

    def test_nan_is_an_error_that_says_so(self):
        with pytest.raises(TypeError, match="JSON has no NaN"):
            read('data: {"a": NaN}\n\n')

    @pytest.mark.parametrize(
        "text",
        [
            "data: x",
            "data: x\n",
            "data: x\n\n",
            'data: {"a":1}\n',
            'data: {"a":1}\n\nand so on\n\n',
            'data: {"a":1}\nfield: unknown\n\n',
            'Send data: {"a":1}\n\n',
            "database:\n\n",
            "id: 1\n\n",
            ":\n\n",
            ": a list\n\n",
            "\n\n",
            "event: stop\n\n",
            "data\n\n",
        ],
    )
    def test_a_models_words_about_events_stay_text(self, text: str):
        assert read(text) == [text]

    def test_a_comment_alone_is_dropped_once_the_producer_has_spoken_in_events(self):
        reader = ItemReader()
        assert reader.read(": ping\n\n") == [": ping\n\n"]
        reader.read('data: {"a":1}\n\n')
        assert reader.read(": ping\n\n") == []

    @given(json_objects)
    def test_any_json_comes_back(self, data: dict[str, Any]):
        encoded = json.dumps(data, ensure_ascii=False)
        (item,) = read(f"data: {encoded}\n\n")
        assert json.loads(item.text.encode()) == json.loads(json.dumps(data))

    @given(texts)
    def test_what_cannot_be_an_event_is_recognised_without_reading_it(self, text: str):
        assert may_be_encoded(text) or not unwrap_events(text)


class Unknown:
    pass


@pytest.mark.parametrize("item", [Unknown(), 1, 1.5, True, [], {1}, object, ("a", "b", "c", "d"), (1, 2)])
def test_anything_else_is_an_error_that_names_its_type_and_the_fix(item: object):
    name = f"{type(item).__module__}.{type(item).__qualname__}"
    with pytest.raises(TypeError, match=f"Cannot stream {name}. Yield str for text") as caught:
        read(item)
    assert "pydantic model" in str(caught.value)
