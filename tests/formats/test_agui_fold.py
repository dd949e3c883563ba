from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import StoredGeneration
from resumable_stream.formats.agui import AGUIFormat
from resumable_stream.formats.jsontext import encode

from .agui_strategies import event, message_lists
from .ai_client import NodeClient
from .strategies import json_objects

FORMAT = AGUIFormat()
USER = {"id": "u1", "role": "user", "content": "Hello"}
RUN = {"runId": "run", "threadId": "chat"}

_patches = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "replace", "remove", "test"]),
            "path": st.sampled_from(["/a", "/b", "/a/0", "/c/-"]),
            "value": st.one_of(st.integers(0, 3), st.just([1]), st.just({"b": 1})),
        }
    ),
    max_size=2,
)
_owned = st.sampled_from([None, [], ["plan"], ["other"], 5])
_declared = st.one_of(st.just({}), st.just(5), _owned.map(lambda types: {"authoritativeActivityTypes": types})).map(
    lambda value: {"@ag-ui/client": value}
)
activities = st.one_of(
    event(
        "ACTIVITY_SNAPSHOT",
        {"replace": st.booleans(), "metadata": json_objects, "subagentRunId": st.just("s")},
        messageId=st.sampled_from(["p1", "u1"]),
        activityType="plan",
        content=json_objects,
    ),
    event(
        "ACTIVITY_DELTA",
        {"metadata": json_objects},
        messageId=st.sampled_from(["p1", "p2"]),
        activityType="other",
        patch=_patches,
    ),
    event("MESSAGES_SNAPSHOT", {"metadata": _declared}, messages=message_lists),
)


def comparable(messages: list[dict[str, Any]]) -> Any:
    return json.loads(encode(messages), parse_int=float)


@settings(max_examples=150)
@given(events=st.lists(activities, max_size=6))
def test_activities_are_what_the_client_makes_of_them(agui: NodeClient, events: list[dict[str, Any]]):
    given_events = [{"type": "RUN_STARTED", **RUN}, *events, {"type": "RUN_FINISHED", **RUN}]
    chunks = [encode(one) for one in given_events]
    client = agui.ask("runs", runs=[{"runId": "run", "users": [USER], "chunks": chunks}])
    stored = StoredGeneration(generation_id="g", user_messages=[USER], chunks=chunks)
    assert client["errors"] == []
    assert comparable(client["messages"]) == comparable(FORMAT.fold([stored]))


def chunks(*events: dict[str, Any]) -> list[str]:
    return [encode(one) for one in events]


def text(message_id: str, delta: str) -> list[str]:
    kinds = [("START", {"role": "assistant"}), ("CONTENT", {"delta": delta}), ("END", {})]
    return chunks(*({"type": f"TEXT_MESSAGE_{kind}", "messageId": message_id, **more} for kind, more in kinds))


CALL = {"type": "TOOL_CALL_START", "toolCallId": "c1", "toolCallName": "weather"}
ARGS = {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": "{}"}
END = {"type": "TOOL_CALL_END", "toolCallId": "c1"}
RESULT = {"type": "TOOL_CALL_RESULT", "messageId": "t1", "toolCallId": "c1", "content": "Sunny"}
ACTIVITY = {"type": "ACTIVITY_SNAPSHOT", "messageId": "p1", "activityType": "plan", "content": {}}
THOUGHT = {"messageId": "r1", "delta": "Hm", "role": "reasoning"}
THINK = [
    {"type": f"REASONING_MESSAGE_{kind}", **{name: THOUGHT[name] for name in names}}
    for kind, names in [("START", ["messageId", "role"]), ("CONTENT", ["messageId", "delta"]), ("END", ["messageId"])]
]


def seal(subtype: str, entity: str) -> dict[str, Any]:
    return {"type": "REASONING_ENCRYPTED_VALUE", "subtype": subtype, "entityId": entity, "encryptedValue": "sealed"}


SPECIMENS = {
    "text for an activity": [*chunks(ACTIVITY), *text("p1", "Hi")],
    "a call in what the user said": chunks({**CALL, "parentMessageId": "u1"}, ARGS, END, RESULT),
    "a call in a message that is not there": chunks({**CALL, "parentMessageId": "a1"}, ARGS, END),
    "a call of a subagent": chunks({**CALL, "subagentRunId": "s"}, END),
    "a call that is begun again": chunks(
        CALL, ARGS, END, {**CALL, "toolCallName": "search", "metadata": {"a": 1}}, END
    ),
    "a result before the text that follows it": [*chunks(CALL, END), *text("a2", "Sunny"), *chunks(RESULT)],
    "a result of nobody": chunks(RESULT),
    "a call that is sealed": chunks(CALL, END, seal("tool-call", "c1"), seal("tool-call", "c2")),
    "a thought that is sealed": chunks(*THINK, seal("message", "r1")),
    "an activity that cannot be sealed": chunks(ACTIVITY, seal("message", "p1")),
    "a snapshot without the thoughts": chunks(*THINK, {"type": "MESSAGES_SNAPSHOT", "messages": [USER]}),
    "a snapshot with other thoughts": chunks(
        *THINK, {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "r2", "role": "reasoning", "content": "So"}]}
    ),
    "metadata of each event": chunks(
        {"type": "TEXT_MESSAGE_START", "messageId": "a1", "role": "assistant", "metadata": {"a": 1, "b": 1}},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a1", "delta": "Hi", "metadata": {"b": 2}},
        {"type": "TEXT_MESSAGE_END", "messageId": "a1", "metadata": {"c": 3}},
        {**CALL, "metadata": {"a": 1}},
        {**ARGS, "metadata": {"b": 2}},
        {**END, "metadata": {"c": 3}},
        {**RESULT, "metadata": {"d": 4}},
    ),
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_is_folded_as_by_the_client(agui: NodeClient, name: str):
    body = [*chunks({"type": "RUN_STARTED", **RUN}), *SPECIMENS[name], *chunks({"type": "RUN_FINISHED", **RUN})]
    client = agui.ask("runs", runs=[{"runId": "run", "users": [USER], "chunks": body}])
    assert client["errors"] == []
    assert comparable(client["messages"]) == comparable(FORMAT.fold([one(1, body, USER)]))


def one(number: int, body: list[str], *users: dict[str, Any]) -> StoredGeneration:
    return StoredGeneration(generation_id=f"g{number}", message_id=f"a{number}", user_messages=users, chunks=body)


def test_a_question_asked_again_takes_the_place_of_what_followed_it():
    other = {"id": "u2", "role": "user", "content": "Else?"}
    stored = [one(1, text("a1", "One"), USER), one(2, text("a2", "Two"), other), one(3, text("a3", "Three"), USER)]
    assert FORMAT.fold(stored) == [USER, {"id": "a3", "role": "assistant", "content": "Three"}]


def test_messages_that_a_run_brings_along_are_added_once():
    known = {"id": "d", "role": "developer", "content": "Be brief."}
    started = {"type": "RUN_STARTED", **RUN, "input": {"messages": [USER, known]}}
    assert FORMAT.fold([one(1, chunks(started, started), USER)]) == [USER, known]


def test_records_that_are_no_events_are_passed_over():
    body = ["", "5", "no JSON", '{"type":5}', '{"type":"NEWER"}', *text("a1", "Hi")]
    assert FORMAT.fold([one(1, body)]) == [{"id": "a1", "role": "assistant", "content": "Hi"}]


def test_the_answer_is_the_last_message_that_says_or_calls_anything():
    call = {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "weather", "parentMessageId": "a1"}
    called = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}}
    assert FORMAT.fold_answer(one(1, chunks(call), USER)) == {"id": "a1", "role": "assistant", "toolCalls": [called]}
    answer = FORMAT.fold_answer(one(1, [*chunks(call), *text("a2", "Hi"), *text("a3", "")], USER))
    assert answer == {"id": "a2", "role": "assistant", "content": "Hi"}


@pytest.mark.parametrize("body", [[], text("a1", "")])
def test_there_may_be_no_answer(body: list[str]):
    assert FORMAT.fold_answer(one(1, body, USER)) is None


def test_messages_of_a_snapshot_without_ids_are_named_by_their_place():
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [{"role": "user", "content": "Hi"}, 5, {"id": 5}]}
    messages = FORMAT.fold([one(1, chunks(snapshot))])
    assert messages == [{"id": "message-0", "role": "user", "content": "Hi"}]


def test_activity_that_took_the_place_of_a_text_keeps_its_content():
    activity = {"type": "ACTIVITY_SNAPSHOT", "messageId": "m1", "activityType": "x", "content": {"a": 1}}
    messages = FORMAT.fold([one(1, [*text("m1", "Hello"), *chunks(activity)])])
    assert messages == [{"id": "m1", "role": "activity", "activityType": "x", "content": {"a": 1}}]
