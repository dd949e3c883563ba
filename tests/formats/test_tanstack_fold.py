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


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def custom(name: str, value: Any) -> dict[str, Any]:
    return event("CUSTOM", name=name, value=value)


BEGIN = event("TEXT_MESSAGE_START", messageId="m1", role="assistant")
THINK = event("REASONING_MESSAGE_CONTENT", messageId="r1", delta="Hm")
CALL = event("TOOL_CALL_START", toolCallId="c1", toolCallName="weather", parentMessageId="m1")
ARGS = event("TOOL_CALL_ARGS", toolCallId="c1", delta='{"city":"Paris"}')
END = event("TOOL_CALL_END", toolCallId="c1")
RESULT = event("TOOL_CALL_RESULT", messageId="t1", toolCallId="c1", content='{"sky":"blue"}')
FAILURE = {**RESULT, "content": '{"error":"No network."}', "metadata": {"tanstack": {"state": "output-error"}}}
DONE = event("RUN_FINISHED", runId="run", threadId="thread")
APPROVAL = {"id": "i1", "reason": "approval_required", "toolCallId": "c1"}
ASKED = {**DONE, "outcome": {"type": "interrupt", "interrupts": [APPROVAL]}}
CALLING = {
    "id": "m1",
    "role": "assistant",
    "content": "Hi",
    "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
}
RESOURCE = {"resource": {"uri": "ui://x", "mimeType": "text/html"}, "toolCallId": "c1", "toolName": "weather"}
STRUCTURED = custom("structured-output.start", {"messageId": "m1"})
JSON_PIECE = event("TEXT_MESSAGE_CONTENT", messageId="m1", delta='{"city":"Par')


def snapshot(*messages: dict[str, Any]) -> dict[str, Any]:
    return event("MESSAGES_SNAPSHOT", messages=list(messages))


def with_extras(message: dict[str, Any], **extras: Any) -> dict[str, Any]:
    return {**message, "metadata": {"tanstack": extras}}


SPECIMENS = {
    "a step before its message": [event("STEP_STARTED", stepName="s1"), THINK],
    "a step that is signed": [
        *(BEGIN, event("STEP_STARTED", stepName="s1"), THINK),
        event("STEP_FINISHED", stepName="s1", signature="signed"),
    ],
    "a step that is signed without a thought": [event("STEP_FINISHED", stepName="s1", signature="signed")],
    "a thought that is sealed": [
        *(BEGIN, THINK),
        event("REASONING_ENCRYPTED_VALUE", subtype="message", entityId="r1", encryptedValue="sealed"),
    ],
    "a call that is sealed": [
        *(BEGIN, CALL),
        event("REASONING_ENCRYPTED_VALUE", subtype="tool-call", entityId="c1", encryptedValue="sealed"),
        *(ARGS, END),
    ],
    "a seal without a value": [event("REASONING_ENCRYPTED_VALUE", subtype="message", entityId="r1", encryptedValue="")],
    "a call and its result": [BEGIN, CALL, ARGS, END, RESULT, DONE],
    "a call that fails before it is complete": [BEGIN, CALL, ARGS, FAILURE, END, DONE],
    "a call whose input comes with its end": [BEGIN, CALL, {**END, "input": {"city": "Paris"}}],
    "a call whose input stands in its metadata": [
        *(BEGIN, CALL),
        {**END, "metadata": {"tanstack": {"input": {"city": "Paris"}}}},
    ],
    "a call that the run leaves open": [BEGIN, CALL, ARGS, DONE],
    "a call of nobody": [ARGS, END, RESULT],
    "a result of a call that a snapshot has": [snapshot(CALLING), RESULT],
    "a call that must be approved": [BEGIN, CALL, ARGS, END, ASKED],
    "a call of a snapshot that must be approved": [snapshot(CALLING), ASKED],
    "an approval that is asked for by an event": [
        *(BEGIN, CALL, END),
        custom("approval-requested", {"toolCallId": "c1", "approval": {"id": "p1"}}),
    ],
    "an interrupt of another kind": [
        *(BEGIN, CALL),
        {**DONE, "outcome": {"type": "interrupt", "interrupts": [{**APPROVAL, "reason": "x"}, {"id": "i2"}]}},
    ],
    "a resource of a call": [BEGIN, CALL, custom("ui-resource", RESOURCE)],
    "a resource of nobody": [custom("ui-resource", RESOURCE)],
    "an answer in JSON": [
        *(BEGIN, STRUCTURED, JSON_PIECE),
        custom("structured-output.complete", {"object": {"city": "Paris"}, "reasoning": "Hm"}),
        DONE,
    ],
    "an answer in JSON that comes at once": [
        custom("structured-output.complete", {"object": {"city": "Paris"}, "messageId": "m1"})
    ],
    "an answer in JSON that breaks off": [BEGIN, STRUCTURED, JSON_PIECE, DONE],
    "an answer in JSON that fails": [BEGIN, STRUCTURED, JSON_PIECE, event("RUN_ERROR", message="No.")],
    "an answer in JSON that goes on after its error": [
        *(BEGIN, STRUCTURED, JSON_PIECE, DONE, STRUCTURED),
        event("TEXT_MESSAGE_CONTENT", messageId="m1", delta='is"}'),
    ],
    "an answer in JSON that never begins": [BEGIN, STRUCTURED, DONE],
    "a message that begins late": [THINK, CALL | {"parentMessageId": None}, BEGIN, ARGS, END, RESULT],
    "a blank answer": [BEGIN, event("TEXT_MESSAGE_CONTENT", messageId="m1", delta=" "), DONE, BEGIN],
    "a blank answer after an error": [
        event("RUN_ERROR", message="No.", runId="other"),
        *(BEGIN, event("TEXT_MESSAGE_CONTENT", messageId="m1", delta=" "), DONE),
    ],
    "a round of tools": [
        event("RUN_STARTED", runId="run"),
        BEGIN,
        CALL,
        {**DONE, "finishReason": "tool_calls"},
        RESULT,
    ],
    "two runs at once": [
        *(event("RUN_STARTED", runId="run"), event("RUN_STARTED", runId="other"), BEGIN, CALL, DONE),
        event("RUN_ERROR", message="No.", runId="other"),
    ],
    "a snapshot that knows less than the client": [
        *(BEGIN, CALL, ARGS, END, RESULT),
        snapshot(CALLING, {"id": "u1", "role": "user", "content": "Hi"}),
    ],
    "a snapshot with a result alone": [
        *(BEGIN, CALL, ARGS, END),
        snapshot({**CALLING, "toolCalls": []}, {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "1"}),
    ],
    "a snapshot with a result of nobody": [
        snapshot({"id": "t1", "role": "tool", "toolCallId": "c1", "content": "1"}),
    ],
    "a snapshot with thoughts of nobody": [
        snapshot({"id": "r1", "role": "reasoning", "content": "Hm"}, {"id": "u1", "role": "user", "content": "Hi"}),
    ],
    "a snapshot with what AG-UI has no fields for": [
        snapshot(
            with_extras(CALLING, toolCallMetadata={"c1": {"a": 1}}, uiResources=[{"type": "ui-resource", **RESOURCE}]),
            with_extras(
                {"id": "m2", "role": "assistant", "content": 'Here: {"a":1}', "name": "bot"},
                structuredOutput={"status": "complete", "raw": '{"a":1}', "data": {"a": 1}, "reasoning": "Hm"},
            ),
            with_extras({"id": "r1", "role": "reasoning", "content": ""}, signature="signed"),
        ),
    ],
    "a snapshot in the library's own words": [
        snapshot({"id": "m1", "role": "assistant", "parts": [{"type": "text", "content": "Hi"}], "metadata": {"a": 1}}),
        event("TEXT_MESSAGE_CONTENT", messageId="m1", delta="!"),
    ],
    "a snapshot that keeps what the client knew of a message": [
        {**BEGIN, "metadata": {"a": 1, "tanstack": {"model": "m"}}},
        event("TEXT_MESSAGE_END", messageId="m1", metadata={"tanstack": {"content": "x", "finishReason": "stop"}}),
        snapshot({"id": "m1", "role": "assistant", "content": "Hi"}),
    ],
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_folded_as_by_the_client(tanstack: NodeClient, name: str):
    played = [{"users": [USERS[0]], "chunks": [encode(one) for one in SPECIMENS[name]]}]
    client = tanstack.ask("sender", generations=played, messages=[])
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

    @pytest.mark.parametrize("role", [{}, {"role": 5}, {"role": None}])
    def test_message_of_a_snapshot_without_a_role_is_an_answer(self, role: dict[str, Any]):
        unnamed = {"id": "m1", "parts": [{"type": "text", "content": "Hi"}], **role}
        chunks = [encode(one) for one in (snapshot(unnamed), event("TEXT_MESSAGE_START", messageId="m1"), DONE)]
        assert FORMAT.fold([one(1, chunks)]) == [{**unnamed, "role": "assistant"}]

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
