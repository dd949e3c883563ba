"""Strict in, strict out: what a client may send, everybody gets back as JSON that every parser takes."""

from __future__ import annotations

import json
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats import get_format
from resumable_stream.formats.base import StoredGeneration
from resumable_stream.formats.outgoing import encode_list
from resumable_stream.protocol.layout import Chunk, Decoder, UserMessage, user_records
from resumable_stream.readers.history import fold_safely
from resumable_stream.records import Record, SequencedRecord
from resumable_stream.types import EndReason, Message
from resumable_stream.utils import log_once as oddities
from resumable_stream.validation import parse_object

from ..fuzz.values import FORMATS, Maker, to_json


@pytest.fixture(autouse=True)
def fresh_oddities() -> None:
    oddities.forget()


def refuse(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


def strictly(text: str) -> Any:
    """Decode as a browser does: no constants of Python's own, nothing that has no UTF-8."""
    text.encode()
    return json.loads(text, parse_constant=refuse)


def stored_as_record(message: Message) -> Message:
    records = [SequencedRecord(at, 0, *record) for at, record in enumerate(user_records(message))]
    [entry] = Decoder(0).feed(records)
    assert isinstance(entry, UserMessage)
    return entry.message


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_body_with_number_that_is_not_finite_is_refused(number: str):
    with pytest.raises(InvalidRequestError, match="The body is not valid JSON"):
        parse_object(f'{{"messages":[{{"parts":[{{"x":{number}}}]}}]}}', "The body")


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_what_a_request_brings_is_written_strictly(name: str, seed: int):
    format_ = get_format(name)
    make = Maker(Random(seed), oddity=0.03)
    try:
        asked = format_.parse_request(parse_object(to_json(make.body()), "The body"))
    except InvalidRequestError:
        return
    brought = [stored_as_record(message) for message in asked.messages]
    generation = StoredGeneration(
        generation_id="g", message_id=asked.message_id, user_messages=brought, chunks=[], end=EndReason.FINISHED
    )
    messages = format_.fold([generation])
    assert len(strictly(encode_list(messages))) == len(messages)
    for message in asked.messages:
        for chunk in format_.rebuild(message):
            strictly(chunk)
    snapshot = format_.snapshot(messages)
    if snapshot is not None:
        assert len(strictly(snapshot)["messages"]) == len(messages)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_other_programs_records_never_break_a_fold(name: str, seed: int):
    format_ = get_format(name)
    make = Maker(Random(seed))
    generations = []
    for number in range(2):
        records = [Record("", (("rs", "user"), ("rs-json", to_json(make.message())))) for _ in range(2)]
        records += [Record(make.chunk()) for _ in range(8)]
        entries = Decoder(0).feed(SequencedRecord(at, 0, *record) for at, record in enumerate(records))
        generation = StoredGeneration(
            generation_id=f"g{number}",
            message_id=make.one_of((None, "m1", "m2")),
            user_messages=[entry.message for entry in entries if isinstance(entry, UserMessage)],
            chunks=[entry.body for entry in entries if isinstance(entry, Chunk)],
            end=EndReason.FINISHED,
        )
        generations.append(generation)
    before = to_json([one.user_messages for one in generations])
    messages = format_.fold(generations)
    assert to_json([one.user_messages for one in generations]) == before, "what was read is left as it was"
    strictly(encode_list(messages))
    if (snapshot := format_.snapshot(messages)) is not None:
        strictly(snapshot)
    for generation in generations:
        answer = format_.fold_answer(generation)
        assert answer is None or isinstance(answer["id"], str)
        for message in (*generation.user_messages, *([answer] if answer else ())):
            for chunk in format_.rebuild(message):
                strictly(chunk)


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"u","role":"user","parts":[{"x":Infinity}]}',
        '{"role":"user"}',
        '{"id":5,"role":"user"}',
        '{"id":"u"}',
        "5",
    ],
)
def test_stored_message_that_nobody_can_take_is_passed_over_and_logged_once(
    text: str, caplog: pytest.LogCaptureFixture
):
    records = [SequencedRecord(7, 0, "", (("rs", "user"), ("rs-json", text)))]
    assert Decoder(7).feed(records) == []
    assert Decoder(7).feed(records) == []
    [line] = caplog.messages
    assert line.startswith("stored message passed over")
    assert "seq_num=7" in line


def test_message_that_json_cannot_hold_is_left_out_and_the_others_arrive(caplog: pytest.LogCaptureFixture):
    poisoned = {"id": "bad", "role": "user", "parts": [{"x": float("inf")}]}
    good = {"id": "good", "role": "user", "parts": []}
    for _ in range(2):
        assert strictly(encode_list([poisoned, good])) == [good]
    snapshot = get_format("tanstack").snapshot([poisoned, good])
    assert strictly(snapshot or "")["messages"] == [good]
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("message", [{"role": "user"}, {"id": "u", "role": "user", "x": float("inf")}])
def test_message_that_nobody_could_read_back_is_not_stored(message: Message):
    with pytest.raises(TypeError, match=r"to store has an 'id'|not finite"):
        user_records(message)


def test_chat_is_read_although_a_format_raises_at_one_answer(caplog: pytest.LogCaptureFixture):
    class Picky(type(get_format("text"))):  # type: ignore[misc]
        def fold(self, generations: Any) -> Any:
            for one in generations:
                self.fold_answer(one)
            return super().fold(generations)

        def fold_answer(self, generation: StoredGeneration) -> Any:
            if '"bad"' in generation.chunks:
                raise RuntimeError("no such thing")
            return super().fold_answer(generation)

    generations = [
        StoredGeneration(generation_id=text, chunks=[f'"{text}"'], end=EndReason.FINISHED) for text in ("bad", "good")
    ]
    for _ in range(2):
        assert [one["content"] for one in fold_safely(Picky(), generations)] == ["good"]
    assert len([line for line in caplog.messages if "no such thing" in line]) == 2, "the chat once, the answer once"
