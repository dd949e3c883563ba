from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration, get_format

FORMAT = get_format("strings")


def make_encoder() -> Any:
    return FORMAT.encoder(GenerationFacts(generation_id="g", message_id="m"))


@given(st.lists(st.text(st.characters()) | st.sampled_from(["\ud83d", "\ude00", "", "\ud83d\ud83d\ude00"])))
@example(["\ud83d", "\ude00"])
def test_halves_of_characters_are_joined_and_what_stays_half_is_replaced(strings: list[str]) -> None:
    encoder = make_encoder()
    encoded = [*encoder.start(), *(chunk for string in strings for chunk in encoder.encode(string)), *encoder.finish()]

    assert "" not in encoded
    whole = "".join(strings).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert "".join(encoded).encode() == whole.encode()


@pytest.mark.parametrize("item", [None, ""])
def test_nothing_is_no_string(item: Any) -> None:
    assert make_encoder().encode(item) == []


@pytest.mark.parametrize("item", [b"bytes", {"type": "text"}, 5], ids=["bytes", "dict", "int"])
def test_what_is_no_string_is_an_error_that_names_its_type(item: Any) -> None:
    with pytest.raises(TypeError, match=f"takes strings, not builtins.{type(item).__name__}: yield str"):
        make_encoder().encode(item)


def test_nothing_is_said_beside_the_strings() -> None:
    encoder = make_encoder()
    encoder.observe("half")
    assert [encoder.start(), encoder.finish(), encoder.stop(), encoder.fail("x"), encoder.interrupt("x")] == [[]] * 5
    assert encoder.end is None
    assert FORMAT.event("{}") is None
    assert FORMAT.end_event(EndReason.FAILED, "x") is None


def test_a_chat_view_cannot_have_the_format() -> None:
    with pytest.raises(ImproperlyConfigured, match="format = 'text'"):
        FORMAT.parse_request({})


def test_the_format_folds_a_stream_into_one_text() -> None:
    told = StoredGeneration(generation_id="g", chunks=["Once ", "upon"])
    assert FORMAT.fold([told, StoredGeneration(generation_id="h")]) == [
        {"id": "g", "role": "assistant", "content": "Once upon"}
    ]
