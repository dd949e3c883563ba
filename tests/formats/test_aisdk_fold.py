from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import StoredGeneration
from resumable_stream.formats import aisdk_tools as tools_module
from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.aisdk_fold import AnswerFold, fold_chunks
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


class TestAgainstTheStockClient:
    @given(data=st.data())
    @settings(max_examples=300)
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
