from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, StoredGeneration
from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.aisdk import tools as tools_module
from resumable_stream.formats.aisdk.fold import AnswerFold, fold_chunks
from resumable_stream.formats.jsontext import encode

from .ai_client import AIClient
from .strategies import answers

USER = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}


def encoded(chunks: list[Any]) -> list[str]:
    return [encode(chunk) for chunk in chunks]


def as_sent(messages: list[dict[str, Any]]) -> Any:
    """As they arrive in JavaScript, which knows one kind of number."""
    return json.loads(encode(messages), parse_int=float)


def fold(chunks: list[Any], version: int = 7) -> list[dict[str, Any]]:
    return as_sent(fold_chunks(encoded(chunks), message_id="fallback", version=version))


def parts_of(*chunks: dict[str, Any], version: int = 7) -> list[dict[str, Any]]:
    (message,) = fold([{"type": "start", "messageId": "a1"}, *chunks], version)
    return message["parts"]


T, C = {"id": "t"}, {"toolCallId": "c"}
CALL = {**C, "toolName": "weather", "input": {"city": "Paris"}}
METADATA, OTHER_METADATA = {"openai": {"a": 1}}, {"openai": {"b": 2}}
SPECIMENS: dict[str, list[dict[str, Any]]] = {
    "data that is updated in place": [
        {"type": "data-x", "id": "d", "data": 1},
        {"type": "data-y", "id": "d", "data": 2},
        {"type": "data-x", "id": "d", "data": 3, "other": 4},
    ],
    "data that is transient": [{"type": "data-x", "id": "d", "data": 1, "transient": True}],
    "data without an id": [{"type": "data-x", "data": 1}, {"type": "data-x", "data": 1}],
    "data of a step that is taken back": [
        {"type": "data-x", "id": "d", "data": 1},
        {"type": "start-step"},
        {"type": "data-x", "id": "e", "data": 2},
        {"type": "reset-step"},
        {"type": "data-x", "id": "e", "data": 3},
        {"type": "data-x", "id": "d", "data": 4},
    ],
    "calls of a step that is taken back": [
        {"type": "tool-input-start", **CALL},
        {"type": "start-step"},
        {"type": "tool-input-start", **CALL, "toolCallId": "c2"},
        {"type": "reset-step"},
        {"type": "tool-output-available", **C, "output": 1},
        {"type": "tool-input-delta", **C, "inputTextDelta": "1"},
    ],
    "an empty step that is taken back": [{"type": "start-step"}, {"type": "reset-step"}, {"type": "text-start", **T}],
    "metadata of text in each of its chunks": [
        {"type": "text-start", **T, "providerMetadata": METADATA},
        {"type": "text-delta", **T, "delta": "x", "providerMetadata": OTHER_METADATA},
        {"type": "text-end", **T, "providerMetadata": METADATA},
    ],
    "text that cites": [
        {"type": "text-start", **T},
        {
            "type": "text-end",
            **T,
            "citations": [{"source": {"type": "source", "sourceType": "url", "id": "s", "url": "u"}}],
        },
    ],
    "metadata of a call in each of its chunks": [
        {"type": "tool-input-start", **CALL, "providerMetadata": METADATA},
        {"type": "tool-input-available", **CALL, "providerMetadata": OTHER_METADATA},
        {"type": "tool-output-available", **C, "output": 1, "providerMetadata": METADATA},
    ],
    "metadata of a wrong input": [{"type": "tool-input-error", **CALL, "errorText": "x", "providerMetadata": METADATA}],
    "metadata of a wrong input that was streamed": [
        {"type": "tool-input-start", **CALL, "providerMetadata": METADATA, "title": "T"},
        {"type": "tool-input-error", **CALL, "errorText": "x", "providerMetadata": OTHER_METADATA},
    ],
    "a call that another kind of chunk completes": [
        {"type": "tool-input-start", **CALL, "dynamic": True},
        {"type": "tool-input-error", **CALL, "errorText": "x"},
        {"type": "tool-input-available", **CALL},
    ],
    "an output that looks for its call by id": [
        {"type": "tool-input-available", **CALL, "dynamic": True},
        {"type": "tool-output-available", **C, "output": 1, "providerExecuted": True, "preliminary": True},
    ],
    "an error that looks for its call by kind": [
        {"type": "tool-input-available", **CALL, "dynamic": True},
        {"type": "tool-output-error", **C, "errorText": "x", "dynamic": True, "providerExecuted": True},
    ],
    "a call that is renamed": [
        {"type": "tool-input-start", **CALL},
        {"type": "tool-input-available", **CALL, "toolName": "forecast"},
    ],
    "input that goes on in another step": [
        {"type": "tool-input-start", **CALL},
        {"type": "tool-input-delta", **C, "inputTextDelta": '{"a":'},
        {"type": "start-step"},
        {"type": "tool-input-delta", **C, "inputTextDelta": "1"},
    ],
    "input of a dynamic tool that goes on in another step": [
        {"type": "tool-input-start", **CALL, "dynamic": True},
        {"type": "start-step"},
        {"type": "tool-input-delta", **C, "inputTextDelta": '{"a":1'},
    ],
    "input that is no JSON": [
        {"type": "tool-input-start", **CALL, "inputEncoding": "text"},
        {"type": "tool-input-delta", **C, "inputTextDelta": "{"},
        {"type": "tool-output-error", **C, "errorText": "x"},
    ],
    "input that cannot be repaired": [
        {"type": "tool-input-start", **CALL},
        {"type": "tool-input-delta", **C, "inputTextDelta": "x"},
    ],
    "an approval with all its details": [
        {"type": "tool-input-available", **CALL},
        {
            "type": "tool-approval-request",
            **C,
            "approvalId": "p",
            "reason": "r",
            "isAutomatic": True,
            "approvalDescriptor": {"a": 1},
            "inputSchemaInput": None,
            "signature": "s",
        },
        {
            "type": "tool-approval-response",
            "approvalId": "p",
            "approved": False,
            "reason": "no",
            "providerExecuted": True,
            "providerMetadata": METADATA,
        },
        {"type": "tool-output-denied", **C},
    ],
    "a call that is denied without a question": [
        {"type": "tool-input-available", **CALL},
        {"type": "tool-output-denied", **C},
    ],
    "an answer to a question that nobody asked": [
        {"type": "tool-input-available", **CALL},
        {"type": "tool-approval-response", "approvalId": "p", "approved": True},
        {"type": "text-start", **T},
    ],
    "metadata that is merged": [
        {"type": "message-metadata", "messageMetadata": {"a": {"b": 1, "c": [1]}, "d": 1}},
        {"type": "message-metadata", "messageMetadata": {"a": {"b": {"e": 2}, "c": [2]}}},
        {"type": "finish", "messageMetadata": {"d": None, "prototype": 1}},
    ],
    "metadata that is no object": [
        {"type": "message-metadata", "messageMetadata": {"a": 1}},
        {"type": "message-metadata", "messageMetadata": "x😀"},
        {"type": "message-metadata", "messageMetadata": [True, {"b": 1}]},
        {"type": "message-metadata", "messageMetadata": 5},
    ],
    "metadata that cannot be merged": [
        {"type": "message-metadata", "messageMetadata": 5},
        {"type": "message-metadata", "messageMetadata": {"a": 1}},
        {"type": "text-start", **T},
    ],
    "a list of metadata that is merged": [
        {"type": "message-metadata", "messageMetadata": [1, {"a": 1}]},
        {"type": "message-metadata", "messageMetadata": {"1": {"b": 2}}},
    ],
    "a step after the last word": [{"type": "text-start", **T}, {"type": "start-step"}, {"type": "finish-step"}],
    "a step and no word": [{"type": "start-step"}, {"type": "finish-step"}, {"type": "abort"}],
    "an error and what follows it": [
        {"type": "text-start", **T},
        {"type": "error", "errorText": "x"},
        {"type": "text-delta", **T, "delta": "late"},
    ],
    "parts of version 7": [
        {"type": "custom", "kind": "a.b", "providerMetadata": METADATA},
        {"type": "reasoning-file", "url": "data:,x", "mediaType": "text/plain", "providerMetadata": METADATA},
        {"type": "steering-message", "id": "u9", "parts": [{"type": "text", "text": "x"}]},
    ],
    "files and sources": [
        {"type": "file", "url": "data:,x", "mediaType": "text/plain", "providerMetadata": METADATA},
        {"type": "source-url", "sourceId": "s", "url": "u", "title": "t", "providerMetadata": METADATA},
        {"type": "source-document", "sourceId": "s", "mediaType": "m", "title": "t", "filename": "f"},
    ],
}


class TestAgainstTheStockClient:
    @pytest.mark.parametrize("name", SPECIMENS)
    def test_a_specimen_folds_into_the_message_that_the_client_shows(self, ai: AIClient, name: str):
        chunks = encoded([{"type": "start", "messageId": "a1"}, *SPECIMENS[name]])

        shown = ai.chat([{"kind": "send", "message": USER, "chunks": chunks}])["messages"]

        assert as_sent(fold_chunks(chunks, message_id="a1", version=ai.version)) == shown[1:]

    @given(data=st.data())
    @settings(max_examples=150)
    def test_an_answer_folds_into_the_message_that_the_client_shows(self, ai: AIClient, data: st.DataObject):
        chunks = encoded(data.draw(answers(ai.version)))
        generation = StoredGeneration(generation_id="g1", message_id="a1", user_messages=[USER], chunks=chunks)

        shown = ai.chat([{"kind": "send", "message": USER, "chunks": chunks}])

        messages = AISDKFormat(client_version=ai.version).fold([generation])
        assert as_sent(messages) == shown["messages"]

    @given(data=st.data())
    @settings(max_examples=100)
    def test_the_fold_stops_where_the_client_fails(self, ai: AIClient, data: st.DataObject):
        chunks = encoded(data.draw(answers(ai.version)))

        shown = ai.chat([{"kind": "send", "message": USER, "chunks": chunks}])

        fold = AnswerFold(version=ai.version, message_id="a1")
        taken = all(fold.take(chunk) for chunk in chunks)
        assert shown["statuses"] == ["ready" if taken else "error"]

    @given(data=st.data())
    @settings(max_examples=100)
    def test_an_answer_without_an_id_gets_the_generations(self, ai: AIClient, data: st.DataObject):
        chunks = encoded(data.draw(answers(ai.version, message_id=None)))

        shown = ai.chat([{"kind": "send", "message": USER, "chunks": chunks}])["messages"]

        messages = fold_chunks(chunks, message_id="g1", version=ai.version)
        assert as_sent(messages) == [message | {"id": "g1"} for message in shown[1:]]

    # In version 5 the second message has the first one's parts too, which is of use to nobody.
    @pytest.mark.parametrize("ai", [6, 7], indirect=True)
    @given(data=st.data())
    @settings(max_examples=50)
    def test_a_new_message_id_begins_a_message_of_its_own_as_in_a_resumed_stream(
        self, ai: AIClient, data: st.DataObject
    ):
        first = data.draw(answers(ai.version, message_id="a1"))
        second = data.draw(answers(ai.version, message_id="a2"))

        shown = ai.chat([{"kind": "resume", "chunks": encoded(first + second)}])["messages"]

        assert fold(first + second, ai.version) == shown

    @given(data=st.data())
    @settings(max_examples=100)
    def test_a_generation_continues_the_message_it_has_the_id_of(self, ai: AIClient, data: st.DataObject):
        first = encoded(data.draw(answers(ai.version)))
        second = encoded(data.draw(answers(ai.version, start=data.draw(st.booleans()))))
        steps = [{"kind": "send", "message": USER, "chunks": first}, {"kind": "continue", "chunks": second}]

        shown = ai.chat(steps)["messages"]

        generations = [
            StoredGeneration(generation_id="g1", message_id="a1", user_messages=[USER], chunks=first),
            StoredGeneration(generation_id="g2", message_id="a1", chunks=second),
        ]
        assert as_sent(AISDKFormat(client_version=ai.version).fold(generations)) == shown

    def test_a_chat_with_edits_and_second_tries_folds_into_the_clients_chat(self, ai: AIClient):
        def answer(number: int) -> list[str]:
            part = {"id": "t"}
            chunks = [{"type": "start", "messageId": f"a{number}"}, {"type": "text-start", **part}]
            chunks += [{"type": "text-delta", **part, "delta": f"answer {number}"}, {"type": "text-end", **part}]
            return encoded(chunks)

        edited = USER | {"parts": [{"type": "text", "text": "Hello, edited"}]}
        other = USER | {"id": "u2"}
        steps: list[dict[str, Any]] = [
            {"kind": "send", "message": USER},
            {"kind": "send", "message": other},
            {"kind": "regenerate", "messageId": "a2"},
            {"kind": "edit", "messageId": "u1", "message": edited},
            {"kind": "regenerate"},
        ]
        for number, step in enumerate(steps, 1):
            step["chunks"] = answer(number)

        shown = ai.chat(steps)

        stored = [
            StoredGeneration(
                generation_id=f"g{number}",
                message_id=f"a{number}",
                user_messages=[request["messages"][-1]],
                chunks=answer(number),
            )
            for number, request in enumerate(shown["requests"], 1)
        ]
        messages = AISDKFormat(client_version=ai.version).fold(stored)
        assert as_sent(messages) == shown["messages"]
        assert [message["id"] for message in messages] == ["u1", "a5"]


class TestAnswer:
    def stored(self, *chunks: Any, **fields: Any) -> StoredGeneration:
        return StoredGeneration(
            **{"generation_id": "g1", "message_id": "a1", "chunks": encoded(list(chunks)), **fields}
        )

    def test_an_answer_is_one_message(self):
        generation = self.stored(
            {"type": "start", "messageId": "a1", "messageMetadata": {"model": "m"}},
            {"type": "text-start", "id": "t"},
            {"type": "text-delta", "id": "t", "delta": "Hel"},
            {"type": "text-delta", "id": "t", "delta": "lo"},
            {"type": "text-end", "id": "t"},
            {"type": "finish"},
        )
        assert AISDKFormat().fold_answer(generation) == {
            "id": "a1",
            "role": "assistant",
            "metadata": {"model": "m"},
            "parts": [{"type": "text", "text": "Hello", "state": "done"}],
        }

    def test_a_generation_without_chunks_has_no_answer(self):
        assert AISDKFormat().fold_answer(self.stored()) is None

    @pytest.mark.parametrize("end", [EndReason.FAILED, EndReason.STOPPED, EndReason.INTERRUPTED])
    def test_an_answer_that_was_broken_off_before_its_first_part_is_none(self, end: EndReason):
        begun = {"type": "start", "messageId": "a1"}, {"type": "start-step"}, {"type": "finish-step"}
        assert AISDKFormat().fold_answer(self.stored(*begun, end=end)) is None

    def test_an_answer_that_continues_a_message_of_the_request_includes_it(self):
        brought_along = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "so far"}]}
        part = {"type": "source-url", "sourceId": "s", "url": "https://example.com"}
        generation = self.stored(part, user_messages=[USER, brought_along])
        answer = AISDKFormat().fold_answer(generation)
        assert answer == {**brought_along, "parts": [*brought_along["parts"], part]}
        assert brought_along["parts"] == [{"type": "text", "text": "so far"}], "the stored message must stay as it is"

    def test_generations_of_other_programs_get_ids_by_their_place(self):
        part = {"type": "file", "url": "https://example.com", "mediaType": "image/png"}
        generation = self.stored(part, generation_id=None, message_id=None)
        ids = [message["id"] for message in AISDKFormat().fold([generation, generation])]
        assert ids == ["message-0", "message-1"]

    @pytest.mark.parametrize("record", ["", "not JSON", "[]", "null", "{}", '{"type":1}', '{"type":"unheard-of"}'])
    def test_a_record_that_is_no_chunk_ends_the_answer(self, record: str):
        start = encode({"type": "start", "messageId": "a1"})
        late = encode({"type": "text-start", "id": "late"})
        assert fold_chunks([start, record, late], message_id="a1")[0]["parts"] == []

    def test_the_halves_of_a_character_may_come_in_two_deltas(self):
        deltas = [{"type": "text-delta", "id": "t", "delta": half} for half in ("\ud83d", "\ude00")]
        (part,) = parts_of({"type": "text-start", "id": "t"}, *deltas)
        assert part["text"] == "😀"

    def test_input_that_breaks_off_is_parsed_once_however_many_pieces_it_came_in(self, monkeypatch: pytest.MonkeyPatch):
        texts: list[str] = []
        monkeypatch.setattr(tools_module, "parse_partial", lambda text, version: texts.append(text))
        pieces = [{"type": "tool-input-delta", "toolCallId": "c", "inputTextDelta": "1"}] * 1000
        parts_of({"type": "tool-input-start", "toolCallId": "c", "toolName": "t"}, *pieces)
        assert texts == ["1" * 1000]


class TestVersions:
    """What the versions make different of the same chunks; that it is so is checked against the clients above."""

    @pytest.mark.parametrize(("version", "field"), [(5, "rawInput"), (6, "rawInput"), (7, "input")])
    def test_input_that_is_wrong_stands_in_another_field(self, version: int, field: str):
        error = {"type": "tool-input-error", "toolCallId": "c", "toolName": "t", "input": 1, "errorText": "x"}
        (part,) = parts_of(error, version=version)
        assert part == {"type": "tool-t", "toolCallId": "c", "state": "output-error", "errorText": "x", field: 1}

    @pytest.mark.parametrize(("version", "kept"), [(5, False), (6, True), (7, True)])
    def test_titles_are_kept_since_version_6(self, version: int, kept: bool):
        call = {"type": "tool-input-available", "toolCallId": "c", "toolName": "t", "input": 1, "title": "T"}
        (part,) = parts_of(call, version=version)
        assert ("title" in part) is kept

    @pytest.mark.parametrize(("version", "text"), [(5, ""), (6, ""), (7, "late")])
    def test_parts_go_on_after_their_step_since_version_7(self, version: int, text: str):
        start, delta = {"type": "text-start", "id": "t"}, {"type": "text-delta", "id": "t", "delta": "late"}
        (part,) = parts_of(start, {"type": "finish-step"}, delta, version=version)
        assert part["text"] == text

    @pytest.mark.parametrize("version", [0, 4, 8])
    def test_other_versions_are_refused(self, version: int):
        with pytest.raises(ValueError, match="must be 5, 6 or 7"):
            AISDKFormat(client_version=version)
