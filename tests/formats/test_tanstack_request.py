from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats import GenerationFacts, StoredGeneration
from resumable_stream.formats.tanstack import TanStackFormat
from resumable_stream.formats.tanstack.messages import to_ui_messages

from .agui_strategies import message_lists
from .ai_client import NodeClient
from .strategies import json_values
from .test_tanstack_fold import comparable

FORMAT = TanStackFormat()
TEXT = {"type": "text", "content": "Hello"}
USER = {"id": "u1", "role": "user", "parts": [TEXT]}


def parsed(*messages: Any) -> list[dict[str, Any]]:
    return FORMAT.parse_request({"id": "chat", "messages": list(messages)}).messages


def test_live_modes_body_is_read():
    asked = FORMAT.parse_request({"id": "chat", "messages": [USER], "data": {"a": 1}})
    assert (asked.chat_id, asked.run_id, asked.message_id, asked.messages) == ("chat", None, None, [USER])


def test_the_librarys_own_body_is_read():
    body = {
        "threadId": "thread",
        "runId": "run",
        "state": {},
        "messages": [
            {"id": "u1", "role": "user", "content": "Weather?"},
            {"id": "r1", "role": "reasoning", "content": "Hm"},
            {
                "id": "a1",
                "role": "assistant",
                "content": "Let me see.",
                "toolCalls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
                ],
            },
            {"id": "tool-c1", "role": "tool", "toolCallId": "c1", "content": '{"sky":"blue"}'},
            {"id": "u2", "role": "user", "content": [{"type": "text", "text": "And here?"}, {"type": "image"}]},
        ],
        "tools": [],
        "context": [],
        "forwardedProps": {"model": "m"},
        "data": {"model": "m"},
    }
    asked = FORMAT.parse_request(body)
    assert (asked.chat_id, asked.run_id) == ("thread", "run")
    call = {
        "type": "tool-call",
        "id": "c1",
        "name": "weather",
        "arguments": '{"city":"Paris"}',
        "input": {"city": "Paris"},
        "output": {"sky": "blue"},
        "state": "complete",
    }
    result = {
        "type": "tool-result",
        "id": "tool-c1",
        "toolCallId": "c1",
        "content": '{"sky":"blue"}',
        "state": "complete",
    }
    assert asked.messages == [
        {"id": "u1", "role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
        {
            "id": "a1",
            "role": "assistant",
            "parts": [
                {"type": "thinking", "content": "Hm"},
                {"type": "text", "content": "Let me see."},
                call,
                result,
            ],
        },
        {"id": "u2", "role": "user", "parts": [{"type": "text", "content": "And here?"}, {"type": "image"}]},
    ]


def test_a_chat_that_the_app_names_goes_before_the_librarys_thread():
    assert FORMAT.parse_request({"id": "chat", "threadId": "thread", "messages": [USER]}).chat_id == "chat"


def test_messages_without_an_id_get_ids_that_no_other_message_has():
    nameless = {"role": "user", "parts": [TEXT]}
    named = [message["id"] for _ in range(2) for message in parsed(None, nameless, {**nameless, "id": ""})]
    assert len(set(named)) == 4


def test_what_is_no_message_and_no_part_is_dropped():
    parts = [TEXT, None, "text", {"content": "x"}, {"type": 5}, {"type": "image"}]
    assert parsed("Hi", {"role": "nobody"}, {"parts": [TEXT]}, {**USER, "parts": parts}) == [
        {**USER, "parts": [TEXT, {"type": "image"}]}
    ]


def test_what_older_clients_say_twice_is_read_once():
    result = {"type": "tool-result", "toolCallId": "c1", "content": "1", "state": "complete"}
    answer = {"id": "a1", "role": "assistant", "parts": [{"type": "thinking", "content": "Hm"}, result]}
    twice = [
        {"id": "r", "role": "reasoning", "content": "Hm"},
        answer,
        {"id": "t", "role": "tool", "toolCallId": "c1", "content": "1"},
    ]
    assert parsed(*twice, USER) == [answer, USER]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "'messages' must be a list of at least one message"),
        ({"messages": []}, "'messages' must be a list of at least one message"),
        ({"messages": "Hi"}, "'messages' must be a list of at least one message"),
        ({"messages": ["Hi", {"role": "nobody"}]}, "'messages' must hold a message with the role 'user'"),
        ({"messages": [{**USER, "parts": "Hi"}]}, r"messages\[0\].parts must be a list, for text: .*'content'"),
        ({"messages": [{"role": "user", "content": 5}]}, r"messages\[0\].content must be a text, or a list of parts"),
        ({"messages": [{**USER, "id": 5}]}, r"messages\[0\].id must be a string"),
        ({"messages": [USER], "runId": 5}, "'runId' must be a string"),
    ],
)
def test_a_wrong_body_is_refused_with_what_to_send(body: dict[str, Any], problem: str):
    with pytest.raises(InvalidRequestError, match=problem):
        FORMAT.parse_request({"id": "chat", **body})


_fields = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "reasoning", "system", 5])},
    optional={
        "content": json_values,
        "parts": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["text", "tool-call", "tool-result", "thinking", "ui-resource", 5])},
                optional=dict.fromkeys(["id", "toolCallId", "content", "output", "state", "resource"], json_values),
            )
        ),
        **dict.fromkeys(["id", "toolCalls", "toolCallId", "metadata", "error", "name"], json_values),
        "metadata": st.dictionaries(
            st.just("tanstack"),
            st.dictionaries(
                st.sampled_from(["uiResources", "toolCallMetadata", "structuredOutput", "signature"]), json_values
            ),
        ),
    },
)


@given(messages=st.lists(_fields, min_size=1, max_size=4))
def test_nothing_that_a_client_may_send_breaks_it(messages: list[Any]):
    try:
        asked = FORMAT.parse_request({"id": "chat", "messages": messages})
    except InvalidRequestError:
        return
    assert all(isinstance(message["id"], str) and isinstance(message["parts"], list) for message in asked.messages)
    facts = GenerationFacts(generation_id="g", message_id="m", user_messages=asked.messages)
    chunks = FORMAT.encoder(facts).start()
    FORMAT.fold([StoredGeneration(generation_id="g", user_messages=asked.messages, chunks=chunks)])


@settings(max_examples=200)
@given(messages=message_lists)
def test_messages_become_what_the_client_makes_of_them(tanstack: NodeClient, messages: list[dict[str, Any]]):
    chunk = FORMAT.snapshot(messages)
    expected = tanstack.ask("listener", chunks=[chunk], messages=[])["messages"]
    assert comparable(to_ui_messages(messages)) == comparable(expected)
