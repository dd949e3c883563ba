from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats.agui import AGUIFormat

FORMAT = AGUIFormat()
USER = {"id": "u1", "role": "user", "content": "Hello"}


def test_a_body_is_read_as_it_is():
    messages = [
        {"id": "d1", "role": "developer", "content": "Be brief."},
        {"id": "a1", "role": "assistant", "toolCalls": []},
        {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "1"},
        {"id": "p1", "role": "activity", "activityType": "plan", "content": {}},
        {"id": "u2", "role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]
    body = {"threadId": "thread", "runId": "run", "messages": messages, "tools": [], "context": [], "state": None}
    asked = FORMAT.parse_request(body)
    assert (asked.chat_id, asked.run_id, asked.message_id, asked.messages) == ("thread", "run", None, messages)


def test_a_message_without_an_id_gets_one_that_no_other_request_has():
    body = {"threadId": "thread", "messages": [USER, {"role": "user", "content": "Hi"}]}
    named = [[message["id"] for message in FORMAT.parse_request(body).messages] for _ in range(2)]
    assert named[0][0] == named[1][0] == "u1"
    assert named[0][1] != named[1][1]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "'messages' must be a list of at least one message"),
        ({"messages": []}, "'messages' must be a list of at least one message"),
        ({"messages": ["Hi"]}, r"messages\[0\] must be an object with 'id', 'role' and 'content'"),
        ({"messages": [USER, {"role": "nobody"}]}, r"messages\[1\].role must be 'developer', .*'user'"),
        ({"messages": [{"role": ["user"]}]}, r"messages\[0\].role must be '"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\].content must be a text, or a list of parts"),
        ({"messages": [{"role": "system", "content": []}]}, r"messages\[0\].content must be a text\."),
        ({"messages": [{"role": "tool", "content": "1"}]}, r"messages\[0\].toolCallId must be a string"),
        ({"messages": [{**USER, "id": 5}]}, r"messages\[0\].id must be a string"),
        ({"messages": [USER], "runId": {}}, "'runId' must be a string"),
    ],
)
def test_a_wrong_body_is_refused_with_what_to_send(body: dict[str, Any], problem: str):
    with pytest.raises(InvalidRequestError, match=problem):
        FORMAT.parse_request({"threadId": "thread", **body})
