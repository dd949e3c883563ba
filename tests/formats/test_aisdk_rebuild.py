from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.aisdk.fold import fold_chunks
from resumable_stream.formats.jsontext import encode

from .ai_client import AIClient
from .strategies import sensible_answers


def as_sent(value: Any) -> Any:
    """As it arrives in JavaScript, which knows one kind of number."""
    return json.loads(encode(value), parse_int=float)


def folded(chunks: list[Any], version: int) -> dict[str, Any]:
    messages = fold_chunks([encode(chunk) for chunk in chunks], message_id="a1", version=version)
    return as_sent(messages[-1])


def without_begun_step(message: dict[str, Any]) -> dict[str, Any]:
    """Leave out steps that nothing has followed: clients show them now or with the next chunk, as it happens."""
    parts = list(message["parts"])
    while parts and parts[-1]["type"] == "step-start":
        parts.pop()
    return message | {"parts": parts}


@given(data=st.data())
@settings(max_examples=100)
def test_a_client_makes_the_same_message_of_the_rebuilt_chunks(ai: AIClient, data: st.DataObject):
    message = folded(data.draw(sensible_answers(ai.version)), ai.version)

    chunks = AISDKFormat(client_version=ai.version).rebuild(message)

    shown = ai.chat([{"kind": "resume", "chunks": chunks}])
    assert "error" not in shown
    assert [without_begun_step(one) for one in shown["messages"]] == [without_begun_step(message)]


USER = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Weather?"}]}
CALL = [
    {"type": "start", "messageId": "a1"},
    {"type": "start-step"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Let me see."},
    {"type": "text-end", "id": "t"},
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "weather", "input": {"city": "Paris"}},
]
REST = [
    {"type": "start-step"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Sunny."},
    {"type": "text-end", "id": "t"},
    {"type": "finish"},
]


def encoded(chunks: list[Any]) -> list[str]:
    return [encode(chunk) for chunk in chunks]


def play(ai: AIClient, first: list[Any], action: dict[str, Any], second: list[Any]) -> dict[str, Any]:
    """What a client has that sees everything: a call, its own answer to the call, and the answer that goes on."""
    steps = [
        {"kind": "send", "message": USER, "chunks": encoded(first)},
        {**action, "chunks": []},
        {"kind": "continue", "chunks": encoded(second)},
    ]
    return ai.chat(steps)


def resume(ai: AIClient, brought_along: dict[str, Any], chunks: list[Any], version: int | None) -> list[dict[str, Any]]:
    """What clients have that load the page meanwhile: one knows the message so far, the other only the question."""
    replay = AISDKFormat(client_version=version).rebuild(brought_along) + encoded(chunks)
    shown = [
        ai.chat([{"kind": "resume", "chunks": replay}], messages=[USER, brought_along]),
        ai.chat([{"kind": "resume", "chunks": replay}], messages=[USER]),
    ]
    assert [result["statuses"] for result in shown] == [["ready"], ["ready"]]
    assert shown[0]["messages"] == shown[1]["messages"]
    messages: list[dict[str, Any]] = shown[0]["messages"]
    return messages


@pytest.mark.parametrize("says_its_version", [True, False])
def test_a_resumed_continuation_after_a_tools_output_keeps_the_earlier_parts(ai: AIClient, says_its_version: bool):
    message = {"tool": "weather", "toolCallId": "c1", "output": {"degrees": 20}}
    second = [{"type": "start", "messageId": "a1"}, *REST]
    whole = play(ai, CALL, {"kind": "output", "message": message}, second)
    brought_along = whole["requests"][-1]["messages"][-1]
    assert brought_along["parts"][-1]["output"] == {"degrees": 20}

    version = ai.version if says_its_version else None
    assert resume(ai, brought_along, second, version) == whole["messages"]


APPROVED = [
    {"type": "start", "messageId": "a1"},
    {"type": "tool-output-available", "toolCallId": "c1", "output": {"degrees": 20}},
    *REST,
]


def play_approval(ai: AIClient) -> tuple[dict[str, Any], dict[str, Any]]:
    asked = [*CALL, {"type": "tool-approval-request", "approvalId": "p1", "toolCallId": "c1"}]
    respond = {"kind": "respond", "message": {"id": "p1", "approved": True, "reason": "fine"}}
    whole = play(ai, asked, respond, APPROVED)
    brought_along = whole["requests"][-1]["messages"][-1]
    assert brought_along["parts"][-1]["state"] == "approval-responded"
    return whole, brought_along


@pytest.mark.parametrize("ai", [7], indirect=True)
def test_a_resumed_continuation_after_an_approval_keeps_the_earlier_parts(ai: AIClient):
    whole, brought_along = play_approval(ai)
    assert resume(ai, brought_along, APPROVED, 7) == whole["messages"]


@pytest.mark.parametrize("ai", [6, 7], indirect=True)
def test_clients_of_any_version_keep_all_but_the_answer_to_the_question(ai: AIClient):
    whole, brought_along = play_approval(ai)
    expected = copy.deepcopy(whole["messages"])
    part = expected[1]["parts"][2]
    assert part["approval"] == {"id": "p1", "approved": True, "reason": "fine"}
    part["approval"] = {"id": "p1"}
    assert resume(ai, brought_along, APPROVED, None) == expected


def test_a_message_without_states_as_databases_keep_it_is_rebuilt_as_finished(ai: AIClient):
    parts = [
        {"type": "text", "text": "Hello"},
        {"type": "tool-weather", "toolCallId": "c1", "state": "output-available"},
        {"type": "tool-weather", "toolCallId": "c2", "state": "output-error"},
        {"type": "dynamic-tool", "toolName": "a", "toolCallId": "c3", "state": "input-streaming", "input": {"a": 1}},
    ]
    message = {"id": "a1", "role": "assistant", "parts": parts, "metadata": None}

    shown = ai.chat([{"kind": "resume", "chunks": AISDKFormat().rebuild(message)}])

    (rebuilt,) = shown["messages"]
    assert shown["statuses"] == ["ready"]
    assert rebuilt["parts"] == [
        {"type": "text", "text": "Hello", "state": "done"},
        {"type": "tool-weather", "toolCallId": "c1", "state": "output-available", "input": None, "output": None},
        {"type": "tool-weather", "toolCallId": "c2", "state": "output-error", "input": None, "errorText": ""},
        {**parts[3], "rawInput": '{"a":1}'},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "unheard-of"},
        {"type": "file", "url": 1},
        {"type": "text", "text": "x", "providerMetadata": 1},
        {"type": "tool-x", "toolCallId": "c", "state": "output-available", "providerExecuted": "yes"},
    ],
)
def test_parts_that_no_client_can_have_had_are_left_out(part: dict[str, Any]):
    message = {"id": "a1", "role": "assistant", "parts": [part]}
    assert AISDKFormat().rebuild(message) == ['{"type":"start","messageId":"a1"}']


@pytest.mark.parametrize("approval", [None, 1, {}, {"id": 1}])
def test_an_approval_without_an_id_is_left_out(approval: Any):
    part = {"type": "tool-x", "toolCallId": "c", "state": "input-available", "input": 1, "approval": approval}
    chunks = AISDKFormat().rebuild({"id": "a1", "role": "assistant", "parts": [part]})
    assert [json.loads(chunk)["type"] for chunk in chunks] == ["start", "tool-input-available"]


CALL_METADATA, RESULT_METADATA = {"openai": {"a": 1}}, {"openai": {"b": 2}}
WRONG = {"toolCallId": "c", "toolName": "t"}
WRONG_INPUT = {"type": "tool-input-error", **WRONG, "input": 1, "errorText": "x"}


@pytest.mark.parametrize(
    "chunks",
    [
        [{**WRONG_INPUT, "providerMetadata": RESULT_METADATA}],
        [{"type": "tool-input-start", **WRONG, "providerMetadata": CALL_METADATA, "title": "T"}, WRONG_INPUT],
        [
            {"type": "tool-input-start", **WRONG, "providerMetadata": CALL_METADATA},
            {**WRONG_INPUT, "providerMetadata": RESULT_METADATA},
        ],
        [
            {"type": "tool-input-available", **WRONG, "input": 1},
            {
                "type": "tool-approval-request",
                "toolCallId": "c",
                "approvalId": "p",
                "approvalDescriptor": {"a": 1},
                "reason": "r",
                "isAutomatic": True,
                "signature": "s",
            },
        ],
    ],
    ids=["a wrong input", "a wrong input of a call", "a wrong input of a call with metadata", "a question"],
)
def test_the_details_of_a_call_are_rebuilt(ai: AIClient, chunks: list[dict[str, Any]]):
    message = folded([{"type": "start", "messageId": "a1"}, *chunks], ai.version)
    rebuilt = AISDKFormat(client_version=ai.version).rebuild(message)
    assert ai.chat([{"kind": "resume", "chunks": rebuilt}])["messages"] == [message]


def test_parts_that_no_message_has_are_not_told_as_chunks():
    forged = [
        {"type": "error", "errorText": "Call this number."},
        {"type": "start", "messageId": "other"},
        {"type": "finish"},
        {"type": "reset-step"},
        {"type": "tool-weather"},
        {"type": "text"},
        "text",
    ]
    kept = {"type": "data-x", "id": "d", "data": 1}
    message = {"id": "a1", "role": "assistant", "parts": [*forged, kept]}
    assert [json.loads(chunk) for chunk in AISDKFormat(client_version=7).rebuild(message)] == [
        {"type": "start", "messageId": "a1"},
        kept,
    ]
