"""Generated AG-UI events, as TanStack AI and others send them, and items of producers."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from .strategies import json_objects, json_values, optional, texts

MESSAGE_IDS = ("m1", "m2", "a1")
CALL_IDS = ("c1", "c2")
REASONING_IDS = ("r1", "r2")
STEPS = ("s1", "s2")
RUN_IDS = ("run", "other")

_message_ids = st.sampled_from(MESSAGE_IDS)
_call_ids = st.sampled_from(CALL_IDS)
_reasoning_ids = st.sampled_from(REASONING_IDS)
_steps = st.sampled_from(STEPS)
_deltas = st.one_of(texts, st.sampled_from(["Hello ", "world", " ", "\n"]))
_pieces = st.sampled_from(['{"city":', '"Par', 'is"', ",", '"n":[-', "1.5e", "3,tr", "ue", "]", "}", '{"a":1}', "😀"])
_tanstack = {
    "model": st.just("gpt"),
    "content": texts,
    "args": texts,
    "other": st.integers(0, 9),
    "finishReason": st.sampled_from(["stop", "tool_calls"]),
}
metadata = st.one_of(
    st.none(),
    st.fixed_dictionaries({}, optional={"a": json_values, "tanstack": optional(**_tanstack)}),
)
_metadata = {"metadata": metadata}
_names = st.sampled_from(["weather", "search"])
# Numbers as both languages write them.
_plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-999, 999), st.text("ab é", max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)
_results = st.one_of(texts, _plain.map(json.dumps), st.just('{"error":"no"}'))


def event(kind: str, /, details: dict[str, Any] | None = None, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Events of one type, with any choice of ``details``."""
    given = {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    return st.fixed_dictionaries({"type": st.just(kind), **given}, optional=details or {})


_roles = {"role": st.sampled_from(["assistant", "assistant", "user", "system", "developer"])}
_outcomes = st.one_of(
    st.just({"type": "success"}),
    st.just({"type": "cancelled"}),
    _call_ids.map(
        lambda call_id: {
            "type": "interrupt",
            "interrupts": [{"id": "i1", "toolCallId": call_id, "reason": "approval_required"}],
        }
    ),
)
_finish_reasons = st.sampled_from(["stop", "tool_calls", "length"])

text_events = [
    event("TEXT_MESSAGE_START", {**_roles, **_metadata}, messageId=_message_ids),
    event("TEXT_MESSAGE_CONTENT", {**_metadata, "content": texts}, messageId=_message_ids, delta=_deltas),
    event("TEXT_MESSAGE_CONTENT", messageId=_message_ids, delta=_deltas),
    event("TEXT_MESSAGE_END", _metadata, messageId=_message_ids),
]
reasoning_events = [
    event("REASONING_START", messageId=_reasoning_ids),
    event("REASONING_MESSAGE_START", messageId=_reasoning_ids, role="reasoning"),
    event("REASONING_MESSAGE_CONTENT", messageId=_reasoning_ids, delta=_deltas),
    event("REASONING_MESSAGE_CONTENT", messageId=_reasoning_ids, delta=_deltas),
    event("REASONING_MESSAGE_END", messageId=_reasoning_ids),
    event("REASONING_END", messageId=_reasoning_ids),
    event(
        "REASONING_ENCRYPTED_VALUE",
        subtype=st.sampled_from(["message", "tool-call"]),
        entityId=st.sampled_from(REASONING_IDS + CALL_IDS + MESSAGE_IDS),
        encryptedValue=st.sampled_from(["sealed", "secret"]),
    ),
    event("STEP_STARTED", stepName=_steps),
    event("STEP_FINISHED", {"signature": st.just("signed")}, stepName=_steps),
]
call_events = [
    event(
        "TOOL_CALL_START",
        {"parentMessageId": _message_ids, "metadata": json_objects},
        toolCallId=_call_ids,
        toolCallName=_names,
    ),
    event("TOOL_CALL_ARGS", toolCallId=_call_ids, delta=_pieces),
    event("TOOL_CALL_ARGS", toolCallId=_call_ids, delta=_pieces),
    event("TOOL_CALL_END", {"input": _plain}, toolCallId=_call_ids),
    event("TOOL_CALL_RESULT", {"role": st.just("tool")}, messageId="t1", toolCallId=_call_ids, content=_results),
    event(
        "TOOL_CALL_RESULT",
        messageId="t2",
        toolCallId=_call_ids,
        content=_results,
        metadata=st.just({"tanstack": {"state": "output-error"}}),
    ),
]
run_events = [
    event("RUN_STARTED", runId=st.sampled_from(RUN_IDS), threadId="thread"),
    event(
        "RUN_FINISHED",
        {"finishReason": _finish_reasons, "outcome": _outcomes},
        runId=st.sampled_from(RUN_IDS),
        threadId="thread",
    ),
    event("RUN_ERROR", {"runId": st.sampled_from(RUN_IDS)}, message="It failed."),
]
_resources = st.fixed_dictionaries(
    {
        "resource": st.just({"uri": "ui://x", "mimeType": "text/html"}),
        "toolCallId": _call_ids,
        "toolName": _names,
    },
    optional={"serverId": st.just("s"), "meta": json_objects},
)
custom_events = [
    event("CUSTOM", name="structured-output.start", value=optional(messageId=_message_ids)),
    event(
        "CUSTOM",
        name="structured-output.complete",
        value=st.fixed_dictionaries({"object": _plain}, optional={"raw": texts, "reasoning": texts}),
    ),
    event(
        "CUSTOM",
        name="approval-requested",
        value=st.fixed_dictionaries({"toolCallId": _call_ids, "approval": st.just({"id": "p1"})}),
    ),
    event("CUSTOM", name="ui-resource", value=_resources),
    event("CUSTOM", name="of-the-app", value=json_values),
    event("STATE_SNAPSHOT", snapshot=json_objects),
]
_calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": _call_ids,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": _names, "arguments": _results}),
        }
    ),
    max_size=2,
    unique_by=lambda call: call["id"],
)
_contents = st.one_of(
    texts,
    st.just([{"type": "text", "text": "See"}, {"type": "image", "source": {"type": "url", "value": "https://x"}}]),
)
_message_metadata = {"metadata": st.fixed_dictionaries({}, optional={"a": json_values})}
agui_messages = [
    {"role": st.just("user"), "content": _contents},
    {"role": st.just("system"), "content": texts},
    {"role": st.just("developer"), "content": texts},
    {"role": st.just("assistant"), "content": texts, "toolCalls": _calls},
    {"role": st.just("assistant"), "content": texts},
    {"role": st.just("tool"), "toolCallId": _call_ids, "content": _results},
    {"role": st.just("tool"), "toolCallId": _call_ids, "content": _results, "error": st.just("No")},
    {"role": st.just("reasoning"), "content": texts},
    {"role": st.just("reasoning"), "content": texts, "encryptedValue": st.just("sealed")},
    {"role": st.just("activity"), "activityType": st.just("plan"), "content": json_objects},
]
_given_messages = st.lists(
    st.one_of(*(st.fixed_dictionaries(fields, optional=_message_metadata) for fields in agui_messages)), max_size=6
)


def with_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give messages ids of their own."""
    ids = [*MESSAGE_IDS, *REASONING_IDS, "x", "y", "z"]
    return [{"id": ids[index], **message} for index, message in enumerate(messages)]


message_lists = _given_messages.map(with_ids)
snapshot_events = [event("MESSAGES_SNAPSHOT", messages=message_lists)]

# What producers yield: text, what model libraries stream, and events of their own in any order.


def chat_chunk(delta: dict[str, Any]) -> dict[str, Any]:
    """A chat completion chunk."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


def _call_delta(given: tuple[int, str | None, str]) -> dict[str, Any]:
    index, name, arguments = given
    call = {"index": index, "function": {"name": name, "arguments": arguments}}
    return chat_chunk({"tool_calls": [{**call, "id": f"call-{index}"} if name else call]})


foreign_items = st.one_of(
    texts,
    st.sampled_from(["Hello ", "world"]),
    _deltas.map(lambda delta: chat_chunk({"content": delta})),
    _deltas.map(lambda delta: chat_chunk({"reasoning_content": delta})),
    st.tuples(st.integers(0, 1), st.sampled_from([None, "weather"]), _pieces).map(_call_delta),
    st.sampled_from(["c1", "call-0"]).map(
        lambda call_id: {"type": "tool", "response_metadata": {}, "tool_call_id": call_id, "content": "Sunny"}
    ),
    event("TEXT_MESSAGE_CHUNK", delta=_deltas),
    # One id, one tool: the client warns of a call whose name changes.
    event("TOOL_CALL_CHUNK", toolCallId="k1", toolCallName="search", delta=_pieces),
    event("TOOL_CALL_CHUNK", toolCallId="k2", toolCallName="weather", delta=_pieces),
)
_subagents = st.sampled_from(["sub-1", "sub-2"])
subagent_events = [
    event("SUBAGENT_STARTED", subagentRunId=_subagents, name="helper"),
    event("SUBAGENT_FINISHED", subagentRunId=_subagents),
    event("SUBAGENT_ERROR", subagentRunId=_subagents, message="It failed."),
    event("STEP_STARTED", subagentRunId=_subagents, stepName=_steps),
    event("STEP_FINISHED", subagentRunId=_subagents, stepName=_steps),
]


def _without_null_metadata(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if (name, value) != ("metadata", None)}


# What came with version 1.0 of the protocol.
_parts = st.lists(
    st.one_of(
        texts.map(lambda text: {"type": "text", "text": text}),
        st.just({"type": "image", "source": {"type": "url", "value": "https://x"}}),
    ),
    max_size=2,
)
_tool_messages = st.lists(
    st.fixed_dictionaries({"role": st.just("tool"), "toolCallId": _call_ids, "content": _parts}), max_size=2
)
newest_events = [
    event("TOOL_CALL_RESULT", messageId="t1", toolCallId=_call_ids, content=_parts),
    event("MESSAGES_SNAPSHOT", messages=_tool_messages.map(with_ids)),
    event(
        "RUN_FINISHED",
        {"usage": st.just([{"model": "m", "cacheWriteInputTokens": 5}])},
        runId=st.sampled_from(RUN_IDS),
        threadId="thread",
        outcome=st.just({"type": "success", "pendingToolCallIds": ["c1"]}),
    ),
    event("RUN_STARTED", runId="other", threadId="thread", protocolVersion="1.0"),
]

_running_events = [*text_events, *reasoning_events, *call_events, *run_events, *custom_events, *subagent_events]
own_items = st.one_of(*_running_events).map(_without_null_metadata)
items = st.one_of(foreign_items, own_items)
items_and_snapshots = st.one_of(items, *snapshot_events)
items_of_every_version = st.one_of(items_and_snapshots, *newest_events)

_IDS = (*MESSAGE_IDS, *CALL_IDS, *REASONING_IDS, *STEPS, "k1", "k2", "call-0", "call-1", "sub-1", "sub-2", "t1", "t2")


def with_ids_of(number: int, produced: list[Any]) -> list[Any]:
    """Let what is produced have ids that no other generation has."""
    text = json.dumps(produced)
    for name in _IDS:
        text = text.replace(f'"{name}"', f'"{name}-{number}"')
    decoded: list[Any] = json.loads(text)
    return decoded
