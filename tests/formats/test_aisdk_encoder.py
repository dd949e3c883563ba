from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, GenerationFacts
from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.aisdk.encoder import AISDKEncoder
from resumable_stream.formats.aisdk.fold import AnswerFold
from resumable_stream.formats.item_types import InvalidToolInput, Reasoning, ToolError, ToolInput, ToolOutput
from resumable_stream.formats.jsontext import encode

from .ai_client import AIClient
from .strategies import answers, texts

START = {"type": "start", "messageId": "m1"}
FINISH = {"type": "finish"}
ABORT = {"type": "abort"}
ENDINGS = ("finish", "stop", "fail", "interrupt")


def make_encoder() -> AISDKEncoder:
    return AISDKFormat().encoder(GenerationFacts(generation_id="g1", message_id="m1"))


def end(encoder: AISDKEncoder, ending: str) -> list[str]:
    if ending in ("fail", "interrupt"):
        return getattr(encoder, ending)("Sorry.")
    return getattr(encoder, ending)()


def decoded(chunks: list[str]) -> list[Any]:
    return [json.loads(chunk) for chunk in chunks]


def encode_all(encoder: AISDKEncoder, items: list[Any], ending: str | None = None) -> list[str]:
    chunks = [chunk for item in items for chunk in encoder.encode(item)]
    return chunks + (end(encoder, ending) if ending else [])


def stream(*items: Any, ending: str | None = None) -> list[Any]:
    return decoded(encode_all(make_encoder(), list(items), ending))


def text(number: int, *deltas: str, kind: str = "text", closed: bool = True) -> list[dict[str, Any]]:
    part = {"id": f"{kind}-{number}"}
    chunks = [{"type": f"{kind}-start", **part}]
    chunks += [{"type": f"{kind}-delta", **part, "delta": delta} for delta in deltas]
    return [*chunks, {"type": f"{kind}-end", **part}] if closed else chunks


class TestStart:
    def test_nothing_is_stored_with_the_claim(self):
        assert make_encoder().start() == []

    def test_an_answer_begins_with_a_start_that_has_the_message_id(self):
        assert stream("Hello")[0] == START

    @pytest.mark.parametrize("empty", [None, "", b": ping\n\n"])
    def test_what_holds_nothing_does_not_begin_the_answer(self, empty: Any):
        assert stream(empty) == []

    @pytest.mark.parametrize("message_id", [{}, {"messageId": None}, {"messageId": ""}, {"messageId": 5}])
    def test_a_producers_start_without_an_id_gets_ours(self, message_id: dict[str, Any]):
        start = {"type": "start", "messageMetadata": {"model": "a"}, **message_id}
        assert stream(start) == [{**START, "messageMetadata": {"model": "a"}}]

    def test_a_producers_own_id_wins(self):
        encoder = make_encoder()
        encode_all(encoder, [{"type": "start", "messageId": "theirs"}])
        assert encoder.message_id == "theirs"

    def test_a_later_start_becomes_metadata(self):
        metadata = {"type": "message-metadata", "messageMetadata": {"a": 1}}
        assert stream("a", {"type": "start", "messageId": "x", "messageMetadata": {"a": 1}})[3:] == [metadata]

    def test_a_later_start_without_metadata_is_dropped(self):
        assert stream(START, {"type": "start", "messageId": "other"}) == [START]


class TestText:
    def test_strings_make_one_part(self):
        assert stream("Hel", "lo", ending="finish") == [START, *text(1, "Hel", "lo"), FINISH]

    def test_reasoning_and_text_take_turns(self):
        items = [Reasoning("hm"), Reasoning("m"), "So: ", Reasoning("?"), "yes"]
        encoder = make_encoder()
        encoder.add_items(items)
        assert decoded(encoder.finish()) == [
            START,
            *text(1, "hm", "m", kind="reasoning"),
            *text(2, "So: "),
            *text(3, "?", kind="reasoning"),
            *text(4, "yes"),
            FINISH,
        ]

    @pytest.mark.parametrize(
        "chunk",
        [
            {"type": "data-progress", "data": 1},
            {"type": "source-url", "sourceId": "s", "url": "https://example.com"},
            {"type": "message-metadata", "messageMetadata": {}},
            {"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "{"},
            {"type": "reasoning-end", "id": "r"},
        ],
    )
    def test_the_part_stays_open_beside_what_is_no_part(self, chunk: dict[str, Any]):
        assert stream("a", chunk, "b") == [START, *text(1, "a", closed=False), chunk, *text(1, "b", closed=False)[1:]]

    @pytest.mark.parametrize(
        "chunk",
        [
            {"type": "text-start", "id": "t"},
            {"type": "reasoning-start", "id": "r"},
            {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"},
            {"type": "tool-output-available", "toolCallId": "c", "output": 1},
            {"type": "file", "url": "https://example.com/a.png", "mediaType": "image/png"},
            {"type": "start-step"},
            {"type": "finish-step"},
            {"type": "reset-step"},
            {"type": "custom", "kind": "a.b"},
            FINISH,
            ABORT,
        ],
    )
    def test_the_part_is_closed_before_another_begins(self, chunk: dict[str, Any]):
        assert stream("a", chunk) == [START, *text(1, "a"), chunk]

    def test_a_producers_part_of_the_same_id_is_left_alone(self):
        assert stream({"type": "text-start", "id": "text-1"}, "a")[2] == {"type": "text-start", "id": "text-2"}

    def test_text_after_a_part_that_the_producer_closed_for_us_gets_a_part_of_its_own(self):
        assert stream("a", {"type": "text-end", "id": "text-1"}, "b")[4:] == text(2, "b", closed=False)


class TestChunks:
    def test_chunks_pass_as_they_are(self):
        chunks = [START, {"type": "text-start", "id": "a"}, {"type": "data-x", "data": None, "transient": True}]
        assert stream(*chunks) == chunks

    def test_encoded_events_are_unwrapped(self):
        assert stream(b'data: {"type":"start-step"}\n\ndata: [DONE]\n\n') == [START, {"type": "start-step"}]

    def test_the_end_mark_of_pydantic_ai_is_dropped(self):
        assert stream({"type": "done"}) == []

    @pytest.mark.parametrize(
        ("chunk", "field"),
        [
            ({"type": "tool-output-available", "toolCallId": "c"}, "output"),
            ({"type": "tool-input-available", "toolCallId": "c", "toolName": "t"}, "input"),
            ({"type": "tool-input-error", "toolCallId": "c", "toolName": "t", "errorText": "x"}, "input"),
            ({"type": "message-metadata"}, "messageMetadata"),
            ({"type": "data-x"}, "data"),
        ],
    )
    def test_a_value_that_a_dump_without_none_has_lost_is_null(self, chunk: dict[str, Any], field: str):
        assert stream(chunk)[1] == {**chunk, field: None}

    @pytest.mark.parametrize("item", [{"text": "x"}, {"type": None}, {"type": 1}, b"data: 5\n\n", b'data: "x"\n\n'])
    def test_what_has_no_type_is_an_error_that_tells_what_to_yield(self, item: Any):
        with pytest.raises(TypeError, match=r"a mapping with a 'type'.*Yield str for text"):
            make_encoder().encode(item)

    def test_a_type_that_no_client_knows_is_an_error_that_tells_what_to_yield(self):
        with pytest.raises(TypeError, match=r"no chunk of the type 'progress'.*'data-…'"):
            make_encoder().encode({"type": "progress", "value": 1})

    def test_a_format_may_know_more_types(self):
        class Extended(AISDKFormat):
            chunk_types = AISDKFormat.chunk_types | {"progress"}

        chunks = Extended().encoder(GenerationFacts(generation_id="g", message_id="m1")).encode({"type": "progress"})
        assert decoded(chunks) == [START, {"type": "progress"}]

    def test_tool_calls_of_model_libraries_become_tool_chunks(self):
        encoder = make_encoder()
        encoder.add_items(
            [
                ToolInput("c1", "weather", {"city": "Paris"}),
                ToolOutput("c1", {"degrees": 20}),
                InvalidToolInput("c2", "weather", "{"),
                ToolError("c1", "no"),
            ]
        )
        assert decoded(encoder.stop())[1:-1] == [
            {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Paris"}},
            {"type": "tool-output-available", "toolCallId": "c1", "output": {"degrees": 20}},
            {
                "type": "tool-input-error",
                "toolCallId": "c2",
                "toolName": "weather",
                "input": "{",
                "errorText": "The model wrote an input that is not JSON.",
            },
            {"type": "tool-output-error", "toolCallId": "c1", "errorText": "no"},
        ]

    def test_a_call_that_is_still_open_at_the_end_is_completed(self):
        call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}
        chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        available = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {}}
        assert stream(chunk, ending="finish")[3:] == [available, FINISH]


OWN_ERROR = {"type": "error", "errorText": "own"}
ERROR = {"type": "error", "errorText": "Sorry."}
# As the AI SDK streams what it recorded of a parallel call whose first and last events were cut: the error comes first.
PARALLEL_CALLS = [
    {"type": "start-step"},
    {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Bern"}},
    {"type": "tool-input-start", "toolCallId": "c2", "toolName": "weather"},
    {"type": "tool-input-available", "toolCallId": "c2", "toolName": "weather", "input": {"city": "Basel"}},
    {"type": "finish-step"},
]


class TestEndings:
    def test_an_answer_without_content_is_an_empty_message(self):
        assert stream(ending="finish") == [START, FINISH]

    @pytest.mark.parametrize(
        ("ending", "last"),
        [("stop", ABORT), *((name, {"type": "error", "errorText": "Sorry."}) for name in ("fail", "interrupt"))],
    )
    def test_an_answer_that_ends_before_it_begins_makes_no_message(self, ending: str, last: dict[str, Any]):
        assert stream(ending=ending) == [last]

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_whatever_is_open_is_closed(self, ending: str):
        items = [{"type": "start-step"}, {"type": "text-start", "id": "a"}, {"type": "reasoning-start", "id": "a"}, "b"]
        chunks = stream(*items, ending=ending)
        closing = [
            {"type": "text-end", "id": "a"},
            {"type": "reasoning-end", "id": "a"},
            {"type": "text-end", "id": "text-1"},
        ]
        step = [{"type": "finish-step"}] if ending in ("finish", "stop") else []
        assert chunks[6:-1] == closing + step

    def test_an_error_is_the_last_chunk(self):
        assert stream("a", ending="fail")[-1] == {"type": "error", "errorText": "Sorry."}

    def test_the_producers_own_finish_is_not_repeated(self):
        assert stream("a", FINISH, ending="finish")[-2:] == [{"type": "text-end", "id": "text-1"}, FINISH]

    def test_the_producers_own_error_waits_for_what_follows_it(self):
        items = ["Hel", OWN_ERROR, "lo", *PARALLEL_CALLS, FINISH]
        assert stream(*items, ending="finish") == [START, *text(1, "Hel", "lo"), *PARALLEL_CALLS, FINISH, OWN_ERROR]

    def test_of_several_errors_of_the_producer_the_first_is_told(self):
        assert stream(OWN_ERROR, {"type": "error", "errorText": "second"}, ending="finish") == [OWN_ERROR]

    @pytest.mark.parametrize(
        ("ending", "last"), [("finish", OWN_ERROR), ("fail", OWN_ERROR), ("stop", ABORT), ("interrupt", ERROR)]
    )
    def test_the_producers_own_error_is_in_its_own_words(self, ending: str, last: dict[str, Any]):
        assert stream("a", OWN_ERROR, ending=ending) == [START, *text(1, "a"), last]

    def test_an_error_before_the_first_part_makes_no_message(self):
        assert stream(OWN_ERROR, ending="finish") == [OWN_ERROR]

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_the_producers_own_abort_is_not_repeated(self, ending: str):
        begun = {"type": "text-start", "id": "a"}
        assert stream(START, begun, ABORT, ending=ending) == [START, begun, ABORT, {"type": "text-end", "id": "a"}]

    def test_what_follows_the_producers_own_abort_is_kept(self):
        assert stream("a", ABORT, "b", ending="finish") == [START, *text(1, "a"), ABORT, *text(2, "b"), FINISH]

    def test_a_failure_after_the_producers_own_finish_is_the_end(self):
        encoder = make_encoder()
        chunks = encode_all(encoder, ["a", FINISH], "fail")
        assert decoded(chunks)[-2:] == [FINISH, ERROR]
        assert encoder.end is EndReason.FAILED

    @pytest.mark.parametrize("late", [FINISH, {"type": "finish-step"}])
    def test_an_abort_that_nothing_but_an_end_follows_is_the_end(self, late: dict[str, Any]):
        encoder = make_encoder()
        encode_all(encoder, ["a", ABORT, late])
        assert encoder.end is EndReason.STOPPED

    @pytest.mark.parametrize(
        ("own", "reason"),
        [
            (None, None),
            (FINISH, EndReason.FINISHED),
            (ABORT, EndReason.STOPPED),
            ({"type": "error", "errorText": "x"}, EndReason.FAILED),
        ],
    )
    def test_the_encoder_tells_how_the_producer_ended(self, own: Any, reason: EndReason | None):
        encoder = make_encoder()
        encode_all(encoder, ["a", own])
        assert encoder.end is reason

    def test_parts_that_clients_forgot_with_their_step_are_not_closed(self):
        items = [{"type": "start-step"}, {"type": "text-start", "id": "a"}, {"type": "finish-step"}]
        assert stream(*items, ending="stop") == [START, *items, ABORT]

    @pytest.mark.parametrize("bad", [{"type": "data-x", "data": float("nan")}, object(), {"type": "progress"}])
    def test_an_item_that_cannot_be_encoded_leaves_the_answer_whole(self, bad: Any):
        encoder = make_encoder()
        chunks = encode_all(encoder, ["a"])
        with pytest.raises(TypeError):
            encoder.encode(bad)
        assert decoded(chunks + encoder.fail("Sorry.")) == [
            START,
            *text(1, "a"),
            {"type": "error", "errorText": "Sorry."},
        ]

    def test_what_was_encoded_before_the_bad_part_of_an_item_is_not_lost(self):
        encoder = make_encoder()
        with pytest.raises(TypeError):
            encoder.encode(b'data: {"type":"text-start","id":"a"}\n\ndata: {"type":"progress"}\n\n')
        assert [chunk["type"] for chunk in decoded(encoder.fail("x"))] == ["start", "text-start", "text-end", "error"]

    def test_records_of_other_programs_do_not_disturb_a_stranger(self):
        encoder = make_encoder()
        for record in ("not JSON", "[]", "NaN", '{"type":1}', '{"type":"start","messageId":"theirs"}'):
            encoder.observe(record)
        assert encoder.message_id == "theirs"
        assert decoded(encoder.stop()) == [ABORT]


@st.composite
def items(draw: st.DrawFn, version: int) -> list[Any]:
    """A producer's items: chunks that its clients take, and strings among them."""
    chunks = draw(answers(version).filter(lambda chunks: is_whole(chunks, version)))
    for place in draw(st.lists(st.integers(0, len(chunks)), max_size=5)):
        chunks.insert(place, draw(st.one_of(texts, st.none())))
    return chunks


def is_whole(chunks: list[Any], version: int) -> bool:
    fold = AnswerFold(version=version, message_id="m1")
    return all(fold.take(encode(chunk)) for chunk in chunks)


@given(data=st.data())
@settings(max_examples=80)
def test_clients_take_what_is_encoded_however_it_ends(ai: AIClient, data: st.DataObject):
    encoder = make_encoder()
    ending = data.draw(st.sampled_from(ENDINGS))
    chunks = encode_all(encoder, data.draw(items(ai.version)), ending)

    shown = ai.chat([{"kind": "resume", "chunks": chunks}])

    failed = ending in ("fail", "interrupt") and encoder.end is EndReason.FAILED
    assert (shown["statuses"], shown.get("error")) == ((["error"], "Sorry.") if failed else (["ready"], None))
    makes_message = any(chunk["type"] not in ("abort", "error") for chunk in decoded(chunks))
    assert [message["id"] for message in shown["messages"]] == [encoder.message_id] * makes_message
