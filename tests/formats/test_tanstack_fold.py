from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resumable_stream.formats import EndReason, StoredGeneration
from resumable_stream.formats.jsontext import encode
from resumable_stream.formats.tanstack import TanStackFormat

from .agui_strategies import (
    MESSAGE_IDS,
    call_events,
    custom_events,
    reasoning_events,
    run_events,
    snapshot_events,
    text_events,
)
from .ai_client import NodeClient

FORMAT = TanStackFormat()
USERS = [
    {"id": "u1", "role": "user", "parts": [{"type": "text", "content": "Hello"}]},
    {"id": "u2", "role": "user", "parts": [{"type": "text", "content": "See"}, {"type": "image", "source": {}}]},
]
KNOWN_IDS = {*MESSAGE_IDS, "u1", "u2", "r1", "r2", "x", "y", "z"}

generations = st.lists(
    st.fixed_dictionaries(
        {
            "users": st.lists(st.sampled_from(USERS), max_size=1),
            "chunks": st.lists(
                st.one_of(*text_events, *reasoning_events, *call_events, *run_events, *custom_events, *snapshot_events),
                max_size=14,
            ).map(lambda events: [encode(event) for event in events]),
        }
    ),
    min_size=1,
    max_size=3,
)


def stored(played: list[dict[str, Any]]) -> list[StoredGeneration]:
    return [
        StoredGeneration(
            generation_id=f"g{number}",
            message_id=f"made-up-{number}",
            user_messages=one["users"],
            chunks=one["chunks"],
            end=EndReason.FINISHED,
        )
        for number, one in enumerate(played)
    ]


def comparable(messages: list[dict[str, Any]]) -> Any:
    """As they are in JavaScript, without what each client makes up by itself."""
    bare = json.loads(encode(messages), parse_int=float)
    for message in bare:
        message.pop("createdAt", None)
        message["id"] = message["id"] if message["id"] in KNOWN_IDS else "made-up"
    return bare


@settings(max_examples=300)
@given(played=generations)
def test_the_fold_is_what_the_client_makes_of_the_same_chunks(tanstack: NodeClient, played: list[dict[str, Any]]):
    client = tanstack.ask("sender", generations=played, messages=[])
    # A message that the client makes up, for want of a beginning, may take the id of another that is there already.
    assume(not client["collided"])
    assert comparable(FORMAT.fold(stored(played))) == comparable(client["messages"])


def text(message_id: str, *deltas: str, role: str = "assistant") -> list[str]:
    message = {"messageId": message_id}
    pieces = [{"type": "TEXT_MESSAGE_CONTENT", **message, "delta": delta} for delta in deltas]
    begin, end = {"type": "TEXT_MESSAGE_START", **message, "role": role}, {"type": "TEXT_MESSAGE_END", **message}
    return [encode(event) for event in [begin, *pieces, end]]


def one(number: int, chunks: list[str], *users: dict[str, Any]) -> StoredGeneration:
    return StoredGeneration(generation_id=f"g{number}", message_id=f"a{number}", user_messages=users, chunks=chunks)


def said(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["id"], "".join(part.get("content", "") for part in message["parts"])) for message in messages]


class TestAChat:
    def test_what_the_user_said_is_kept_with_all_its_parts(self):
        echo = text("u2", role="user")
        assert FORMAT.fold([one(1, [*echo, *text("a1", "Hi")], USERS[1])])[0] == USERS[1]

    def test_without_it_there_is_what_was_echoed(self):
        echo = text("u1", "Hello", role="user")
        assert said(FORMAT.fold([one(1, [*echo, *text("a1", "Hi")])])) == [("u1", "Hello"), ("a1", "Hi")]

    def test_a_question_asked_again_takes_the_place_of_what_followed_it(self):
        first, second = one(1, text("a1", "One"), USERS[0]), one(2, text("a2", "Two"), USERS[1])
        again = one(3, text("a3", "Three"), USERS[0])
        assert said(FORMAT.fold([first, second, again])) == [("u1", "Hello"), ("a3", "Three")]

    def test_plain_messages_of_the_apps_own_are_understood(self):
        plain = {"id": "u1", "role": "user", "content": "Hello"}
        assert FORMAT.fold([one(1, [], plain)]) == [USERS[0]]

    def test_what_is_stored_is_left_as_it_was(self):
        before = json.dumps(USERS)
        FORMAT.fold([one(1, text("u1", "!", role="user"), USERS[0])])
        assert json.dumps(USERS) == before

    def test_records_that_are_no_chunks_are_passed_over(self):
        chunks = ["", "5", "no JSON", '{"type":5}', '{"type":"NEWER"}', "NaN", *text("a1", "Hi")]
        assert said(FORMAT.fold([one(1, chunks)])) == [("a1", "Hi")]

    def test_halves_of_a_character_are_joined(self):
        chunks = text("a1", "\ud83d", "\ude00")
        assert said(FORMAT.fold([one(1, chunks)])) == [("a1", "😀")]


class TestAnAnswer:
    def test_it_is_the_last_message_that_holds_anything(self):
        chunks = [*text("a1", "One"), *text("a1-2", "Two"), *text("a1-3")]
        answer = FORMAT.fold_answer(one(1, chunks, USERS[0]))
        assert answer == {"id": "a1-2", "role": "assistant", "parts": [{"type": "text", "content": "Two"}]}

    @pytest.mark.parametrize("chunks", [[], text("u1", "Hello", role="user"), text("a1")])
    def test_there_may_be_none(self, chunks: list[str]):
        assert FORMAT.fold_answer(one(1, chunks, USERS[0])) is None

    def test_one_whose_chunks_name_no_message_has_the_generations_id(self):
        thought = encode({"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "Hm"})
        for generation in (one(1, [thought]), StoredGeneration(generation_id="a1", chunks=[thought])):
            answer = FORMAT.fold_answer(generation)
            assert answer is not None
            assert answer["id"] == "a1"
