"""What clients, agents and logs choose the size of is read in time that grows with its size alone.

Counted in operations of the interpreter, not in time, for n, 2n and 4n.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resumable_stream.formats import get_format
from resumable_stream.formats.agui import fold as agui_fold
from resumable_stream.formats.base import ChatRequest, StoredGeneration
from resumable_stream.formats.differences import compare
from resumable_stream.formats.outgoing import encode_list
from resumable_stream.formats.unnamed import name_by_content
from resumable_stream.types import EndReason, Message

N = 24
MOST_GROWTH = 2.25
"""How many times the operations may be more for twice the size: something is done once, and tables grow in jumps."""

Chunks = list[dict[str, Any]]


def operations(work: Callable[[], object]) -> int:
    """Count the interpreter's instructions, whatever thread or machine it runs on."""
    count = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def assert_linear(work: Callable[[int], Callable[[], object]]) -> None:
    """Check that work on twice as much is twice as much work; ``work`` prepares it for a size."""
    work(1)()  # What is done once, and never again.
    counts = [operations(work(size)) for size in (N, 2 * N, 4 * N)]
    for less, more in itertools.pairwise(counts):
        assert more <= MOST_GROWTH * less, f"{counts} operations for {N}, {2 * N} and {4 * N}"


def user(number: object) -> Message:
    text = "Hi"
    parts = [{"type": "text", "text": text, "content": text}]
    return {"id": f"u{number}", "role": "user", "content": text, "parts": parts}


def answer(number: object, **more: Any) -> Message:
    return {"id": f"a{number}", "role": "assistant", "content": "Yes", **more}


def tool(number: object) -> Message:
    return {"id": f"t{number}", "role": "tool", "toolCallId": f"c{number}", "content": "1"}


def calls(size: int) -> list[dict[str, Any]]:
    return [{"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for at in range(size)]


def tool_parts(size: int) -> list[dict[str, Any]]:
    return [
        {"type": "tool-weather", "toolCallId": f"c{at}", "state": "output-available", "input": {}, "output": at}
        for at in range(size)
    ]


def tanstack_parts(size: int) -> list[dict[str, Any]]:
    made = [{"type": "tool-call", "id": f"c{at}", "name": "f", "arguments": "{}"} for at in range(size)]
    return made + [{"type": "tool-result", "toolCallId": f"c{at}", "content": "1"} for at in range(size)]


REQUESTS: dict[str, Callable[[int], list[Message]]] = {
    "lone results": lambda size: [user(0), *map(tool, range(size))],
    "results of one message's calls": lambda size: [answer(0, toolCalls=calls(size)), *map(tool, range(size))],
    "calls and results in turn": lambda size: [
        one for at in range(size) for one in (answer(at, toolCalls=calls(at + 1)[-1:]), tool(at))
    ],
    "thoughts": lambda size: [
        one for at in range(size) for one in ({"id": f"r{at}", "role": "reasoning", "content": "So"}, answer(at))
    ],
    "parts": lambda size: [answer(0, parts=tool_parts(size))],
    "parts and repetitions": lambda size: [answer(0, parts=tanstack_parts(size)), *map(tool, range(size))],
    "one id": lambda size: [user(0) for _ in range(size)],
    "turns": lambda size: [one for at in range(size) for one in (user(at), answer(at))],
}


def request_cases() -> Iterator[Any]:
    for name in ("aisdk", "tanstack", "agui", "anthropic", "text", "html"):
        for case, make in REQUESTS.items():
            messages = make(2)
            only_own = all(one["role"] in ("user", "assistant") for one in messages)
            has_parts = any("parts" in one for one in messages)
            if name in ("tanstack", "agui") or (only_own and has_parts) or (only_own and name != "aisdk"):
                yield pytest.param(name, make, id=f"{name}-{case}")


def parse(name: str, messages: list[Message]) -> Any:
    if name == "aisdk":
        messages = [one if "parts" in one else {**one, "parts": []} for one in messages]
    return get_format(name).parse_request({"id": "c", "messages": messages})


@pytest.mark.parametrize(("name", "make"), list(request_cases()))
def test_requests_are_read_in_linear_time(name: str, make: Callable[[int], list[Message]]):
    def work(size: int) -> Callable[[], object]:
        messages = make(size)
        return lambda: parse(name, messages)

    assert_linear(work)


def each(*chunks: dict[str, Any]) -> Callable[[int], Chunks]:
    """Repeat chunks; a percent sign in their texts is replaced by a number."""
    texts = [json.dumps(chunk) for chunk in chunks]
    return lambda size: [json.loads(text.replace("%", str(at))) for at in range(size) for text in texts]


def once(*first: dict[str, Any], then: Callable[[int], Chunks]) -> Callable[[int], Chunks]:
    return lambda size: [*first, *then(size)]


START = {"type": "start", "messageId": "a"}
RUN = {"type": "RUN_STARTED", "runId": "r"}
STOPPED = {"type": "RUN_FINISHED", "runId": "r"}
CALL = {"type": "TOOL_CALL_START", "toolCallId": "c%", "toolCallName": "f", "parentMessageId": "m"}
CALL_PARTS = (
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c%", "delta": "{}"},
    {"type": "TOOL_CALL_END", "toolCallId": "c%"},
    {"type": "TOOL_CALL_RESULT", "messageId": "t%", "toolCallId": "c%", "content": "1"},
)
MESSAGE = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
THOUGHT = {"id": "r%", "role": "reasoning", "content": "So"}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
CITATION = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"a": 1}}}
BEGUN = {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "usage": {}}}


def said(text: str) -> Chunks:
    """A message of its own."""
    message_id = f"{text}%"
    return [
        {**MESSAGE, "messageId": message_id},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text},
    ]


EVENTS: dict[str, Callable[[int], Chunks]] = {
    "calls": once(RUN, MESSAGE, then=each(CALL, *CALL_PARTS)),
    "calls, then results": lambda size: [MESSAGE, *each(CALL)(size), *each(*CALL_PARTS)(size)],
    "open calls and ends of runs": once(RUN, {**RUN, "runId": "s"}, MESSAGE, then=each(CALL, STOPPED)),
    "messages": each({**MESSAGE, "messageId": "m%"}, {"type": "TEXT_MESSAGE_END", "messageId": "m%"}),
    "messages of users": each(
        {**MESSAGE, "messageId": "m%", "role": "user"}, {"type": "TEXT_MESSAGE_CONTENT", "messageId": "x", "delta": "y"}
    ),
    "blank messages": lambda size: [*each(*said("y"))(size), *each(*said(" "), STOPPED)(size)],
    "one text and ends of runs": once(
        MESSAGE, then=each({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}, STOPPED)
    ),
    "metadata": once(MESSAGE, then=each({"type": "TEXT_MESSAGE_END", "messageId": "m", "metadata": {"k%": 1}})),
    "steps": each(
        {"type": "STEP_STARTED", "stepName": "s%"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "m", "delta": "So"},
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "tool-call", "entityId": "c%", "encryptedValue": "x"},
    ),
    "snapshots that keep thoughts": each(
        {"type": "REASONING_MESSAGE_START", "messageId": "r%"},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "u%", "role": "user", "content": "Hi"}]},
    ),
    "runs that bring messages": each({**RUN, "input": {"messages": [{"id": "u%", "role": "user", "content": "Hi"}]}}),
    "activities": once(
        {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "activityType": "x", "content": {"steps": []}},
        then=each(
            {
                "type": "ACTIVITY_DELTA",
                "messageId": "m",
                "activityType": "x",
                "patch": [{"op": "add", "path": "/steps/-", "value": "%"}, {"op": "replace", "path": "/n", "value": 1}],
            },
            {
                "type": "ACTIVITY_DELTA",
                "messageId": "m",
                "activityType": "x",
                "patch": [{"op": "add", "path": "/steps/-", "value": "%"}],
            },
        ),
    ),
    "unreadable structured answer": once(
        {"type": "CUSTOM", "name": "structured-output.start", "value": {"messageId": "m"}},
        then=each({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}),
    ),
}
FOLDS: dict[tuple[str, ...], dict[str, Callable[[int], Chunks]]] = {
    ("tanstack", "agui"): EVENTS,
    ("aisdk",): {
        "calls": once(
            START,
            then=each(
                {"type": "tool-input-start", "toolCallId": "c%", "toolName": "f"},
                {"type": "tool-input-delta", "toolCallId": "c%", "inputTextDelta": "{}"},
                {"type": "tool-input-available", "toolCallId": "c%", "toolName": "f", "input": {}},
                {"type": "tool-approval-request", "toolCallId": "c%", "approvalId": "p%"},
                {"type": "tool-approval-response", "approvalId": "p%", "approved": True},
                {"type": "tool-output-available", "toolCallId": "c%", "output": 1},
            ),
        ),
        "one call in many steps": once(
            START,
            then=each(
                {"type": "start-step"},
                {"type": "tool-input-available", "toolCallId": "c", "toolName": "f", "input": {}},
                {"type": "tool-approval-request", "toolCallId": "c", "approvalId": "p"},
                {"type": "tool-approval-response", "approvalId": "p", "approved": True},
            ),
        ),
        "texts": once(
            START,
            then=each(
                {"type": "text-start", "id": "t%"},
                {"type": "text-delta", "id": "t%", "delta": "x"},
                {"type": "text-end", "id": "t%"},
            ),
        ),
        "data and resets": once(
            START,
            then=lambda size: [
                *each({"type": "data-x", "id": "k%", "data": 1})(size),
                *each({"type": "start-step"}, {"type": "data-x", "id": "d%", "data": 1}, {"type": "reset-step"})(size),
            ],
        ),
        "answers": each({"type": "start", "messageId": "a%"}, {"type": "data-x", "data": 1}),
        "metadata": once(START, then=each({"type": "message-metadata", "messageMetadata": {"k%": {"a": 1}}})),
    },
    ("anthropic",): {
        "blocks": once(BEGUN, then=each(BLOCK)),
        "citations": once(BEGUN, BLOCK, then=each(CITATION)),
    },
    ("html",): {
        "parts": each(
            {"type": "part", "id": "a", "index": 0, "part": {"type": "text", "text": ""}},
            {"type": "delta", "id": "a", "index": 0, "delta": "x"},
        ),
    },
    ("text",): {"pieces": lambda size: ["x"] * size},  # type: ignore[list-item,dict-item]
}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param(name, make, id=f"{name}-{case}")
        for names, cases in FOLDS.items()
        for name in names
        for case, make in cases.items()
    ],
)
def test_answers_are_folded_in_linear_time(name: str, make: Callable[[int], Chunks], monkeypatch: pytest.MonkeyPatch):
    format_ = get_format(name)
    # Up to so many, each snapshot costs what is kept: that is not what grows here.
    monkeypatch.setattr(agui_fold, "MOST_KEPT", 5)

    def work(size: int) -> Callable[[], object]:
        chunks = [json.dumps(chunk) for chunk in make(size)]
        stored = StoredGeneration(generation_id="g", message_id="a", chunks=chunks, end=EndReason.FINISHED)
        return lambda: (format_.fold([stored]), format_.fold_answer(stored))

    assert_linear(work)


@pytest.mark.parametrize("name", ["aisdk", "tanstack", "agui", "anthropic", "text", "html"])
@pytest.mark.parametrize("users", ["new", "same", "all"])
def test_chats_are_folded_and_written_in_linear_time(name: str, users: str):
    format_ = get_format(name)

    def brought(at: int) -> list[Message]:
        return [user("same" if users == "same" else at)] if users != "all" or at else [user(0)]

    def work(size: int) -> Callable[[], object]:
        chunks = ['"x"', *(json.dumps(chunk) for chunk in EVENTS["calls"](1))]
        generations = [
            StoredGeneration(generation_id=f"g{at}", user_messages=brought(at), chunks=chunks, end=EndReason.FINISHED)
            for at in range(size)
        ]

        def fold_and_write() -> None:
            messages = format_.fold(generations)
            encode_list(messages)
            format_.snapshot(messages)

        return fold_and_write

    assert_linear(work)


@pytest.mark.parametrize("version", [5, 6, 7])
def test_messages_are_rebuilt_in_linear_time(version: int):
    format_ = type(get_format("aisdk"))(client_version=version)  # type: ignore[call-arg]
    assert_linear(lambda size: lambda: format_.rebuild(answer(0, parts=tool_parts(size))))


COMPARED: dict[str, Callable[[int], list[Message]]] = {
    "the whole chat": lambda size: [message for at in range(size) for message in (user(at), answer(at))],
    "the first half": lambda size: [user(at) for at in range(size // 2)],
    "others": lambda size: [user(f"other{at}") for at in range(size)],
}


@pytest.mark.parametrize("shown", COMPARED)
@pytest.mark.parametrize("is_unnamed", [True, False])
@pytest.mark.parametrize("is_alike", [True, False])
def test_pages_are_compared_with_logs_in_linear_time(shown: str, is_unnamed: bool, is_alike: bool):
    def said(messages: list[Message]) -> list[Message]:
        return messages if is_alike else [{**message, "content": f"{message['id']}"} for message in messages]

    def work(size: int) -> Callable[[], object]:
        known = said(COMPARED["the whole chat"](size))
        messages = said([*COMPARED[shown](size), user("new")])
        deleted = frozenset(message["id"] for message in known[: size // 2])
        asked = ChatRequest(chat_id="c", messages=messages, deleted=deleted)

        def compare_both() -> None:
            compare(get_format("text"), known, name_by_content(known, asked) if is_unnamed else asked)

        return compare_both

    assert_linear(work)
