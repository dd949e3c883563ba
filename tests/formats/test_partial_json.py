from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats.aisdk.partial_json import UnparsableError, parse_partial, parse_safely

from .ai_client import AIClient
from .strategies import json_values

PIECES = ['"', "\\", "\\u00e", "\\ud83d", "{", "}", "[", "]", ":", ",", "-", "1", ".5", "e+", "t", "true", "fa", "null"]
broken_texts = st.lists(st.sampled_from([*PIECES, " ", "x", "a", '"a":', "\n"]), max_size=12).map("".join)


@st.composite
def cut_texts(draw: st.DrawFn) -> str:
    """JSON that breaks off."""
    text = json.dumps(draw(json_values), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    return text[: draw(st.integers(0, len(text)))]


def parsed(text: str, version: int) -> dict[str, Any]:
    try:
        return {"value": json.loads(json.dumps(parse_partial(text, version)), parse_int=float)}
    except UnparsableError:
        return {}


@given(texts=st.lists(st.one_of(cut_texts(), broken_texts), min_size=1, max_size=20))
@settings(max_examples=100)
def test_what_breaks_off_parses_as_in_the_client(ai: AIClient, texts: list[str]):
    assert [parsed(text, ai.version) for text in texts] == ai.parse_partial(texts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"city":"Par', {"city": "Par"}),
        ('{"city":"Paris","n', {"city": "Paris"}),
        ('{"a":[1,2', {"a": [1, 2]}),
        ('{"a":tr', {"a": True}),
        ('{"a":-', {}),
        ('"caf\\u00e', "caf"),
        ('"caf\\u00z', "caf"),
        ("[1.", [1]),
    ],
)
def test_the_beginning_of_a_value_is_repaired(text: str, value: Any):
    assert parse_partial(text, 7) == value


@pytest.mark.parametrize("text", ["", "x", "NaN", "[Infinity", '{"a":"\\x"'])
def test_what_cannot_be_repaired_is_undefined(text: str):
    with pytest.raises(UnparsableError):
        parse_partial(text, 7)


@pytest.mark.parametrize(
    "text",
    ['{"__proto__":1}', '[{"a":{"__proto__":1}}]', '{"\\u005f_proto__":1}', '{"constructor":{"prototype":1}}'],
)
def test_keys_that_reach_for_a_prototype_are_refused(ai: AIClient, text: str):
    assert ai.parse_partial([text]) == [{}]
    with pytest.raises(UnparsableError):
        parse_safely(text)


@pytest.mark.parametrize("text", ['{"constructor":1}', '"__proto__"', '{"a":"\\u005f"}'])
def test_words_that_merely_look_like_it_are_not(ai: AIClient, text: str):
    assert ai.parse_partial([text]) == [{"value": parse_safely(text)}]


def test_numbers_beyond_a_double_are_null_as_javascript_writes_them():
    assert parse_safely("[1e999, -1e999, 1.5]") == [None, None, 1.5]


def test_nesting_beyond_measure_is_refused():
    with pytest.raises(UnparsableError):
        parse_safely("[" * 100_000)
