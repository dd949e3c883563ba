from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.formats.encoded import Encoded
from resumable_stream.formats.item_types import FormatChunk
from resumable_stream.formats.producers import ProducerError
from resumable_stream.formats.producers.reader import ItemReader

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


def chunk(made_of: type | None = None, **data: Any) -> FormatChunk:
    return FormatChunk(data, json.dumps(data, separators=(",", ":")), named(made_of) if made_of else "")


def named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def as_mapping(item: Any) -> Any:
    return FormatChunk(dict(item.data), item.text) if isinstance(item, FormatChunk) else item


@pytest.mark.parametrize("item", [None, "", b"", b": ping\n\n"])
def test_nothing_reads_as_nothing(item: object):
    assert read(item) == []


@given(texts.filter(bool))
def test_a_string_is_a_piece_of_text(text: str):
    assert read(text) == [text]


def test_subclasses_of_str_are_text():
    assert read(mark_safe("<b>")) == ["<b>"]


def test_text_that_is_translated_when_it_is_read_is_text():
    assert read(gettext_lazy("Hello")) == ["Hello"]


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_mappings_are_chunks(kind: type[Mapping[str, Any]]):
    (item,) = read(kind({"type": "data-x", "data": 1}))  # type: ignore[call-arg]
    assert as_mapping(item) == chunk(type="data-x", data=1)


def test_a_dataclass_is_a_chunk_without_its_empty_fields():
    assert read(Event("data-x", {"a": None})) == [chunk(Event, type="data-x", data={"a": None})]


def test_a_model_is_a_chunk_by_its_aliases_and_without_its_empty_fields():
    assert read(Model(type="start", message_id="m")) == [chunk(Model, type="start", messageId="m", text="")]
    assert read(Model(type="start")) == [chunk(Model, type="start", text="")]


def test_a_model_with_a_lone_surrogate_is_a_chunk_all_the_same():
    (item,) = read(Model(type="x", text="\ud800"))
    assert item.text == '{"type":"x","text":"\\ud800"}'


def test_a_chunk_that_encodes_itself_is_asked_for_the_version():
    (item,) = ItemReader(sdk_version=6).read(SelfEncoding(type="x"))
    assert (item.data, item.text) == ({"type": "x", "for": 6}, read_text(6))


def read_text(version: int) -> str:
    return json.dumps({"type": "x", "for": version})


def test_the_end_mark_of_a_chunk_that_encodes_itself_is_dropped():
    assert read(SelfEncoding(type="done")) == []


EVENT_STREAM = [
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
LOOKS_ENCODED = [
    'data: {"type":"x"}\n\n',
    'data: {"type":"tool-input-available","toolCallId":"c","toolName":"t","input":{}}\n\n',
    'event: end\ndata: {"reason":"finished"}\n\n',
    "data: [DONE]\n\n",
    ": ping\n\n",
    "id: 1\n\n",
    'data: {"choices":[{"delta":{"content":"x"}}]}\n\n',
]


class TestEncodedEvents:
    @pytest.mark.parametrize("text", LOOKS_ENCODED)
    def test_a_string_that_looks_encoded_is_text(self, text: str):
        assert read(text) == [text]
        assert read(mark_safe(text)) == [text]

    @pytest.mark.parametrize("make", [Encoded, str.encode, lambda text: bytearray(text.encode())])
    def test_the_type_of_an_item_says_that_it_is_encoded(self, make: Any):
        assert read(make('data: {"type":"x"}\n\n')) == [chunk(type="x")]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_several_events_in_one_item_are_all_read(self, end: str):
        assert read(Encoded(end.join(EVENT_STREAM))) == [chunk(a=1), chunk(b=2)]

    @given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 200)))
    def test_events_may_be_split_over_items_anywhere(self, end: str, cuts: list[int]):
        stream = end.join([*EVENT_STREAM, 'data: {"c":"é\u2028"}', "", ""]).encode()
        borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
        reader = ItemReader()

        items = [item for start, stop in pairwise(borders) for item in reader.read(stream[start:stop])]

        assert [item.data for item in [*items, *reader.flush()]] == [{"a": 1}, {"b": 2}, {"c": "é\u2028"}]

    def test_lines_may_come_one_by_one(self):
        reader = ItemReader()
        assert [item for line in ['data: {"a":1}', ""] for item in reader.read(Encoded(line + "\n"))] == [chunk(a=1)]

    def test_the_last_event_may_lack_its_empty_line(self):
        reader = ItemReader()
        assert reader.read(b'data: {"a":1}') == []
        assert reader.flush() == [chunk(a=1)]
        assert reader.flush() == []

    @pytest.mark.parametrize("rest", [b'data: {"a"', b"dat", b'data: {"a":\n'])
    def test_a_stream_that_breaks_off_inside_an_event_has_failed(self, rest: bytes):
        reader = ItemReader()
        assert reader.read(b'data: {"a":1}\n\n' + rest) == [chunk(a=1)]
        with pytest.raises(ProducerError, match="broke off"):
            reader.flush()

    @pytest.mark.parametrize("item", [b"Hello\n", b"Dear all:\n\n", Encoded('{"a":1}\n'), b"\xff\n"])
    def test_bytes_that_are_no_event_stream_are_an_error_that_tells_what_to_do(self, item: object):
        with pytest.raises(TypeError, match="yield it as str"):
            read(item)

    def test_bytes_that_never_become_an_event_are_an_error_that_tells_what_to_do(self):
        reader = ItemReader()
        assert reader.read(b"Hello") == []
        with pytest.raises(TypeError, match="yield it as str"):
            reader.flush()

    def test_data_that_is_not_json_is_an_error_that_tells_what_to_do(self):
        with pytest.raises(TypeError, match="must be JSON"):
            read(b"data: Hello\n\n")

    def test_the_end_mark_is_dropped(self):
        assert read(b'data: {"a":1}\n\ndata: [DONE]\n\n') == [chunk(a=1)]

    def test_json_over_several_data_lines_becomes_one_line(self):
        assert read(b'data: {"a":\ndata: 1}\n\n') == [chunk(a=1)]

    def test_the_json_stays_as_it_was_written(self):
        (item,) = read(Encoded('data: {"a": 1.0, "b": "\u2028"}\n\n'))
        assert item.text == '{"a": 1.0, "b": "\\u2028"}'

    def test_nan_is_an_error_that_says_so(self):
        with pytest.raises(TypeError, match="JSON has no NaN"):
            read(b'data: {"a": NaN}\n\n')

    @given(json_objects)
    def test_any_json_comes_back(self, data: dict[str, Any]):
        encoded = json.dumps(data, ensure_ascii=False)
        (item,) = read(Encoded(f"data: {encoded}\n\n"))
        assert json.loads(item.text.encode()) == json.loads(json.dumps(data))


class Unknown:
    pass


@pytest.mark.parametrize("item", [Unknown(), 1, 1.5, True, [], {1}, object, ("a", "b", "c", "d"), (1, 2)])
def test_anything_else_is_an_error_that_names_its_type_and_the_fix(item: object):
    with pytest.raises(TypeError, match=f"Cannot stream {named(type(item))}: ") as caught:
        read(item)
    assert "pydantic model" in str(caught.value)
    assert "yield item.text" in str(caught.value)


@dataclasses.dataclass
class Opaque:
    type: str
    client: Any


def test_an_object_that_json_cannot_hold_is_named_by_its_class():
    with pytest.raises(TypeError, match=f"Cannot stream {named(Opaque)}: JSON cannot hold {named(Unknown)}"):
        read(Opaque("x", Unknown()))
