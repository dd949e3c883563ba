from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration
from resumable_stream.formats.item_types import Reasoning, ToolOutput
from resumable_stream.formats.text import TextFormat

from .strategies import json_objects, texts

FORMAT = TextFormat()
USER = {"id": "u1", "role": "user", "content": "Hello"}


def encoder() -> Any:
    return FORMAT.encoder(GenerationFacts(generation_id="g1", message_id="m1"))


def stored(*chunks: str, **fields: Any) -> StoredGeneration:
    return StoredGeneration(**{"generation_id": "g1", "message_id": "a1", "chunks": chunks, **fields})


class TestEncoding:
    @given(texts)
    def test_text_is_a_json_string_on_one_line(self, text: str):
        chunks = encoder().encode(text)
        assert [chunk for chunk in chunks if chunk.splitlines() != [chunk]] == []
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        assert "".join(json.loads(chunk.encode()) for chunk in chunks) == joined

    @given(json_objects)
    def test_a_mapping_is_a_json_object(self, data: dict[str, Any]):
        (chunk,) = encoder().encode({"type": "progress", **data})
        assert json.loads(chunk) == json.loads(json.dumps({"type": "progress", **data}))

    @pytest.mark.parametrize("item", [None, ""])
    def test_nothing_is_no_chunk(self, item: Any):
        assert encoder().encode(item) == []

    def test_encoded_events_are_unwrapped(self):
        assert encoder().encode(b'data: "Hel"\n\ndata: {"a":1}\n\n') == ['"Hel"', '{"a":1}']

    def test_what_model_libraries_call_text_is_text(self):
        chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}
        assert encoder().encode(chunk) == ['"Hello"']

    @pytest.mark.parametrize("item", [Reasoning("hm"), ToolOutput("c", 1)])
    def test_what_is_no_text_of_the_answer_is_left_out(self, item: Any):
        started = encoder()
        started.add_items([item])
        assert started.take() == []

    @pytest.mark.parametrize("item", [b"data: 5\n\n", b"data: [1]\n\n", b"data: null\n\n"])
    def test_encoded_events_of_other_values_are_an_error(self, item: bytes):
        with pytest.raises(TypeError, match="takes text as str and"):
            encoder().encode(item)

    def test_there_is_nothing_to_open_and_nothing_to_close(self):
        started = encoder()
        started.encode("a")
        started.observe('"a"')
        assert (started.start(), started.end) == ([], None)
        assert [started.finish(), started.stop(), started.fail("x"), started.interrupt("x")] == [[], [], [], []]


class TestEvents:
    def test_text_is_a_message_without_a_name(self):
        assert FORMAT.event('"Hello {"') is None

    def test_an_object_is_an_event_of_its_own(self):
        assert FORMAT.event('{"a":1}') == "data"

    def test_the_end_event_says_how_it_ended(self):
        assert FORMAT.end_event(EndReason.FINISHED, None) == ("end", '{"reason":"finished"}')

    def test_the_end_event_says_why_it_failed(self):
        assert FORMAT.end_event(EndReason.FAILED, "Sorry.") == ("end", '{"reason":"failed","error":"Sorry."}')


class TestRequest:
    @pytest.mark.parametrize(
        "message",
        ["Hello", {"content": "Hello"}, {"parts": [{"type": "text", "text": "Hel"}, {"text": "lo"}, {"type": "file"}]}],
    )
    def test_a_message_is_a_text_or_has_one(self, message: Any):
        request = FORMAT.parse_request({"id": "c", "message": message})
        (parsed,) = request.messages
        assert request.chat_id == "c"
        assert request.message_id is None
        assert (parsed["role"], parsed["content"]) == ("user", "Hello")
        assert parsed["id"].startswith("msg-")

    def test_a_history_may_be_sent_whole(self):
        messages = [
            {"id": f"m{number}", "role": role, "content": "x"} for number, role in enumerate(["user", "assistant"])
        ]
        assert FORMAT.parse_request({"messages": messages}).messages == messages

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({}, "must have 'messages', a list, or 'message'"),
            ({"messages": []}, "list of at least one"),
            ({"messages": "Hello"}, "list of at least one"),
            ({"messages": ["a", 1]}, r"messages\[1\] must be an object with 'content', or a text"),
            ({"message": None}, "message must be an object with 'content', or a text"),
            ({"message": {}}, "message must have 'content', a text, or 'parts'"),
            ({"message": {"content": 1}}, "message must have 'content'"),
            ({"message": {"content": "x", "role": "boss"}}, "message.role must be"),
            ({"message": {"content": "x", "id": 1}}, "message.id must be a string"),
        ],
    )
    def test_what_cannot_be_read_is_answered_with_what_to_send(self, body: dict[str, Any], text: str):
        with pytest.raises(InvalidRequestError, match=text):
            FORMAT.parse_request(body)


class TestFold:
    @given(st.lists(texts))
    def test_the_pieces_of_an_answer_are_one_text(self, pieces: list[str]):
        writer = encoder()
        chunks = [chunk for piece in pieces for chunk in writer.encode(piece)]
        answer = FORMAT.fold_answer(stored(*chunks))
        joined = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        expected = {"id": "a1", "role": "assistant", "content": joined} if chunks else None
        assert answer == expected

    def test_events_and_foreign_records_are_no_text(self):
        answer = FORMAT.fold_answer(stored('"a"', '{"type":"progress"}', "5", '"broken', '"b"'))
        assert answer is not None
        assert answer["content"] == "ab"

    def test_a_chat_is_its_messages_in_order(self):
        messages = FORMAT.fold([stored('"Hi"', user_messages=[USER])])
        assert messages == [USER, {"id": "a1", "role": "assistant", "content": "Hi"}]

    def test_a_generation_without_text_has_no_message(self):
        assert FORMAT.fold([stored('{"a":1}', user_messages=[USER])]) == [USER]

    def test_a_message_sent_again_takes_the_place_of_what_followed_it(self):
        again = stored('"Better"', user_messages=[USER], message_id="a2")
        messages = FORMAT.fold([stored('"Hi"', user_messages=[USER]), again])
        assert [message["id"] for message in messages] == ["u1", "a2"]

    def test_generations_of_other_programs_get_ids_by_their_place(self):
        foreign = stored('"x"', generation_id=None, message_id=None)
        assert [message["id"] for message in FORMAT.fold([foreign, foreign])] == ["message-0", "message-1"]
        assert FORMAT.fold_answer(foreign) == {"id": "message-0", "role": "assistant", "content": "x"}
