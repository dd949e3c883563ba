"""What all encoders have from their base: strings that follow strings take a short way, which must not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.formats.encoder import ItemEncoder
from resumable_stream.formats.item_types import FormatChunk, Item, Reasoning, ToolInput

NAMES = ["agui", "aisdk", "anthropic", "html", "tanstack", "text"]
BROKEN = FormatChunk(object(), "", "")


def encoder(name: str) -> ItemEncoder:
    made = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m", run_id="r", chat_id="c"))
    assert isinstance(made, ItemEncoder)
    return made


class Items:
    """An item of a producer, which the reader makes several items of."""

    def __init__(self, *items: Item) -> None:
        self.items = items


def with_reader(name: str) -> ItemEncoder:
    made = encoder(name)
    made.encode_object = lambda item: made.add_items(item.items)  # type: ignore[method-assign, attr-defined]
    return made


BETWEEN: list[list[Item]] = [
    [],
    [Reasoning("hm")],
    [ToolInput("c", "f", {})],
    ["x", ToolInput("c", "f", {})],
    [ToolInput("c", "f", {}), "x"],
]


@pytest.mark.parametrize("between", BETWEEN, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_strings_become_the_same_chunks_as_text_of_a_producer(name: str, between: list[Item]) -> None:
    items: list[Any] = ["a", "b", "", "c", Items(*between), "d", "e"]
    direct, read = with_reader(name), with_reader(name)
    chunks = [direct.encode(item) for item in items]
    pieces = [Items(item) if isinstance(item, str) and item else item for item in items]
    assert [read.encode(piece) for piece in pieces] == chunks
    assert direct.finish() == read.finish()


@pytest.mark.parametrize("name", NAMES)
def test_chunks_before_an_item_that_cannot_be_encoded_come_first(name: str) -> None:
    made, whole = with_reader(name), with_reader(name)
    chunks = made.encode("a")
    with pytest.raises(TypeError):
        made.encode(Items("b", BROKEN))
    chunks += [*made.encode("c"), *made.finish()]
    assert chunks == [*whole.encode("a"), *whole.encode("b"), *whole.encode("c"), *whole.finish()]


def test_text_after_a_stored_chunk_that_has_closed_its_part_opens_another() -> None:
    made = encoder("aisdk")
    made.encode("a")
    made.observe('{"type":"text-end","id":"text-1"}')
    assert [json.loads(chunk)["type"] for chunk in made.encode("b")] == ["text-start", "text-delta"]
