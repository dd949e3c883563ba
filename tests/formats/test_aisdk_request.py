from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats.aisdk import AISDKFormat

from .ai_client import AIClient

PARTS = [{"type": "text", "text": "Hello"}]
USER = {"id": "u1", "role": "user", "parts": PARTS}
ANSWER = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": "Hi"}]}


def parse(body: dict[str, Any]) -> Any:
    return AISDKFormat().parse_request(body)


def test_what_stock_transports_post_is_read(ai: AIClient):
    chunks = ['{"type":"start","messageId":"a1"}', '{"type":"text-start","id":"t"}']
    steps = [{"kind": "send", "message": USER, "chunks": chunks}, {"kind": "regenerate", "chunks": chunks}]
    steps.append({"kind": "continue", "chunks": chunks})

    sent, regenerated, continued = map(parse, ai.chat(steps)["requests"])

    assert (sent.chat_id, sent.messages, sent.message_id) == ("chat", [USER], None)
    assert (regenerated.messages, regenerated.message_id) == ([USER], None)
    assert (len(continued.messages), continued.message_id) == (2, "a1")


def test_the_newest_message_alone_is_enough():
    request = parse({"id": "c", "message": USER})
    assert request.messages == [USER]


def test_the_whole_history_wins_over_the_newest_message():
    assert len(parse({"messages": [USER, ANSWER, USER], "message": USER}).messages) == 3


def test_an_answer_to_an_assistant_message_continues_it():
    assert parse({"messages": [USER, ANSWER]}).message_id == "a1"
    assert parse({"messages": [USER, ANSWER, USER]}).message_id is None


def test_content_stands_for_a_text_part():
    (message,) = parse({"messages": [{"id": "u1", "role": "user", "content": "Hello"}]}).messages
    assert message == USER


@pytest.mark.parametrize("empty", [{}, {"id": None}, {"id": ""}])
def test_a_message_without_an_id_gets_one(empty: dict[str, Any]):
    body = {"message": {"role": "user", "parts": PARTS, **empty}}
    first, second = parse(body).messages[0]["id"], parse(body).messages[0]["id"]
    assert first.startswith("msg-")
    assert first != second


def test_the_body_is_left_as_it_was():
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    parse(body)
    assert body == {"messages": [{"role": "user", "content": "Hello"}]}


def test_metadata_and_parts_of_all_kinds_pass():
    parts = [
        *PARTS,
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm"},
        {"type": "file", "url": "data:,x", "mediaType": "text/plain"},
        {"type": "tool-weather", "toolCallId": "c", "state": "input-available", "input": None},
        {"type": "dynamic-tool", "toolName": "t", "toolCallId": "c", "state": "input-available", "input": None},
        {"type": "data-x", "data": 1},
    ]
    message = {"id": "u1", "role": "user", "parts": parts, "metadata": {"a": 1}}
    assert parse({"messages": [message]}).messages == [message]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "must have 'messages', a list, or 'message'"),
        ({"messages": None}, "'messages' must be a list of at least one"),
        ({"messages": {}}, "'messages' must be a list of at least one"),
        ({"messages": []}, "'messages' must be a list of at least one"),
        ({"messages": ["Hello"]}, r"messages\[0\] must be an object with"),
        ({"messages": [USER, None]}, r"messages\[1\] must be an object with"),
        ({"message": "Hello"}, "message must be an object with"),
        ({"message": {**USER, "role": "boss"}}, "message.role must be 'user'"),
        ({"message": {**USER, "role": ["user"]}}, "message.role must be 'user'"),
        ({"message": {**USER, "id": 5}}, "message.id must be a string"),
        ({"message": {"role": "user"}}, r"message.parts must be a list, for text: \[\{'type': 'text'"),
        ({"message": {"role": "user", "content": [1]}}, "message.parts must be a list"),
        ({"message": {**USER, "parts": "Hello"}}, "message.parts must be a list"),
        ({"message": {**USER, "parts": ["Hello"]}}, r"message.parts\[0\] must be an object with a 'type'"),
        ({"message": {**USER, "parts": [{"type": 1}]}}, r"message.parts\[0\] must be an object with a 'type'"),
        ({"message": {**USER, "parts": [*PARTS, {"type": "text"}]}}, r"message.parts\[1\].text must be a string"),
        ({"message": {**USER, "parts": [{"type": "reasoning", "text": 1}]}}, r"parts\[0\].text must be a string"),
        ({"message": {**USER, "parts": [{"type": "tool-x"}]}}, r"parts\[0\].toolCallId must be a string"),
        (
            {"message": {**USER, "parts": [{"type": "dynamic-tool", "toolCallId": "c"}]}},
            r"parts\[0\].toolName must be a string",
        ),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_to_send(body: dict[str, Any], text: str):
    with pytest.raises(InvalidRequestError, match=text):
        parse(body)
