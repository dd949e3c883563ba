from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import uuid
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from django.utils.translation import gettext_lazy
from hypothesis import given

from resumable_stream.formats.jsontext import decode, encode, encode_text, escape_unsafe, mend_surrogates

from .strategies import json_values, texts


@dataclasses.dataclass
class Point:
    x: int
    label: str | None = None


class City(pydantic.BaseModel):
    population_count: int = pydantic.Field(serialization_alias="populationCount")
    mayor: str | None = None


def joined(text: str) -> str:
    """As JavaScript sees it, for whom two halves of a surrogate pair are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(texts)
def test_every_text_is_one_line_of_utf8_and_comes_back(text: str):
    encoded = encode_text(text)
    assert encoded.splitlines() == [encoded]
    assert json.loads(encoded.encode()) == joined(text)
    assert encode(text) == encoded


@given(json_values)
def test_every_value_is_one_line_of_utf8_and_comes_back(value: Any):
    encoded = encode(value)
    assert encoded.splitlines() == [encoded]
    assert json.loads(encoded.encode()) == json.loads(json.dumps(value))


@given(json_values)
def test_foreign_json_is_made_safe_without_changing_its_value(value: Any):
    safe = escape_unsafe(json.dumps(value, ensure_ascii=False))
    assert safe.splitlines() == [safe]
    assert json.loads(safe.encode()) == json.loads(json.dumps(value))


def test_json_is_compact_and_not_escaped_without_need():
    assert encode({"a": [1, "é中😀"]}) == '{"a":[1,"é中😀"]}'


def test_lone_surrogates_and_unicode_line_ends_are_escaped():
    assert encode_text("\ud800\u2028\u2029\x85\x00\n") == r'"\ud800\u2028\u2029\u0085\u0000\n"'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), '"2026-01-02T03:04:05Z"'),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.50"), '"1.50"'),
        (gettext_lazy("Yes"), '"Yes"'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (Point(1), '{"x":1,"label":null}'),
        (City(population_count=3), '{"populationCount":3}'),
        ((1, 2), "[1,2]"),
    ],
)
def test_what_django_developers_have_in_their_data_is_encoded(value: Any, expected: str):
    assert encode({"data": value}) == f'{{"data":{expected}}}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"data": {"list": [1, float("nan")]}}, r"JSON has no nan, found at data\.list\[1\]"),
        ({"a": float("inf")}, r"JSON has no inf, found at a:"),
        ({"a": [{"b": object()}]}, r"JSON cannot hold builtins\.object, found at a\[0\]\.b:"),
        ({"a": {1, 2}}, r"JSON cannot hold builtins\.set, found at a:"),
        ({"a": b"x"}, r"JSON cannot hold builtins\.bytes, found at a:"),
        ({float("nan"): 1}, r"The value cannot be written as JSON"),
        ({"a": {(1, 2): 3}}, r"JSON keys are strings, not tuple, found at a\.\(1, 2\)"),
        (object(), r"JSON cannot hold builtins\.object, found at the top:"),
        (Point, r"JSON cannot hold builtins\.type"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(value: Any, message: str):
    with pytest.raises(TypeError, match=message):
        encode(value)


def test_a_value_that_contains_itself_is_refused():
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(TypeError, match="contains itself or is nested too deeply"):
        encode(value)


def test_a_value_nested_beyond_measure_is_refused():
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(TypeError, match="nested too deeply"):
        encode(value)


@pytest.mark.parametrize("text", ["", "{", "[1,]", "undefined", "'a'", '"\n"'])
def test_what_is_not_json_is_a_value_error(text: str):
    with pytest.raises(ValueError, match=r"Expecting|Illegal|control character|Invalid"):
        decode(text)


@pytest.mark.parametrize("text", ["NaN", '{"a":[Infinity]}', "-Infinity"])
def test_json_but_for_nan_is_a_type_error_that_says_so(text: str):
    with pytest.raises(TypeError, match=r"JSON has no -?(NaN|Infinity)"):
        decode(text)


def test_json_nested_beyond_measure_is_a_type_error():
    with pytest.raises(TypeError, match="nested more than 512 levels deep"):
        decode("[" * 100_000)


@given(texts)
def test_halves_of_a_character_from_different_pieces_are_joined(text: str):
    mended = mend_surrogates("".join(half for char in text for half in halves(char)))
    assert mended == joined(text)


def halves(char: str) -> list[str]:
    units = char.encode("utf-16-le", "surrogatepass")
    return [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
