"""The protocol of the AI SDK's websocket transport, frame by frame; the integration tests have itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resumable_stream.protocol.layout import Chunk
from resumable_stream.readers.frames import Frame
from resumable_stream.websockets.subprotocols.aisdk import AISDKDialect
from resumable_stream.websockets.subprotocols.base import (
    Failure,
    FrameRefusedError,
    Start,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
)

SEND = {"type": "send", "requestId": "r", "id": "c", "messages": [], "trigger": "submit-message"}


def test_a_send_is_what_the_http_transport_posts() -> None:
    frame = {**SEND, "messageId": "m", "headers": {"IDEMPOTENCY-KEY": "k"}, "body": {"more": 1, "id": "other"}}

    assert AISDKDialect().read({**frame, "metadata": {"not": "posted"}}) == Start(
        key="r",
        chat_id="c",
        body={"more": 1, "id": "c", "messages": [], "trigger": "submit-message", "messageId": "m"},
        idempotency_key="k",
    )


@pytest.mark.parametrize("headers", [None, {}, [], {"idempotency-key": 1}])
def test_a_send_needs_no_key(headers: Any) -> None:
    command = AISDKDialect().read({**SEND, "headers": headers})

    assert isinstance(command, Start)
    assert command.idempotency_key == ""


def test_a_resume_asks_for_everything_and_an_abort_only_leaves() -> None:
    dialect = AISDKDialect()

    assert dialect.read({"type": "resume", "requestId": "r", "id": "c"}) == Subscribe(
        key="r", chat_id="c", resumes=True
    )
    assert dialect.read({"type": "abort", "requestId": "r"}) == Unsubscribe(key="r")


@pytest.mark.parametrize(
    ("frame", "text", "key"),
    [
        ({}, "'requestId' must be", None),
        ({"requestId": 1}, "'requestId' must be", None),
        ({"requestId": "r" * 257}, "'requestId' must be", None),
        ({"requestId": "r"}, "send, resume, abort", "r"),
        ({"requestId": "r", "type": "subscribe"}, "send, resume, abort", "r"),
        ({"requestId": "r", "type": "resume"}, "chat's id", "r"),
        ({**SEND, "id": "a/b"}, "chat's id", "r"),
        ({**SEND, "body": "x"}, "'body' must be", "r"),
        ({**SEND, "headers": {"Idempotency-Key": "k" * 513}}, "512", "r"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_with_a_reason(frame: dict[str, Any], text: str, key: str | None) -> None:
    with pytest.raises(FrameRefusedError) as caught:
        AISDKDialect().read(frame)

    assert text in str(caught.value)
    assert caught.value.key == key


def test_chunks_are_numbered_by_request_without_holes() -> None:
    dialect = AISDKDialect()
    said = [dialect.chunk(key, Frame(Chunk(cursor, "{}"))) for key, cursor in [("a", 5), ("b", 9), ("a", 12)]]

    assert [(frame["requestId"], frame["sequence"]) for frame in map(json.loads, said)] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
    ]


def test_a_chunk_that_is_no_json_has_no_number() -> None:
    dialect = AISDKDialect()

    assert dialect.chunk("a", Frame(Chunk(1, "no json"))) == ""
    assert json.loads(dialect.chunk("a", Frame(Chunk(2, "{}"))))["sequence"] == 0


@pytest.mark.parametrize("reason", ["finished", "stopped", "failed", "interrupted", "nothing", "forbidden"])
def test_the_numbers_begin_anew_with_a_request_that_has_the_same_id(reason: str) -> None:
    dialect = AISDKDialect()
    dialect.chunk("a", Frame(Chunk(1, "{}")))
    dialect.ended("a", SubscriptionEnd(reason=reason, cursor=1), is_last=True)

    assert json.loads(dialect.chunk("a", Frame(Chunk(1, "{}"))))["sequence"] == 0


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("finished", {"type": "end", "requestId": "r"}),
        ("stopped", {"type": "end", "requestId": "r"}),
        ("failed", {"type": "end", "requestId": "r"}),
        ("interrupted", {"type": "end", "requestId": "r"}),
        ("nothing", {"type": "no-active", "requestId": "r"}),
        ("forbidden", {"type": "error", "requestId": "r", "errorText": "No."}),
        ("unavailable", {"type": "error", "requestId": "r", "errorText": "No."}),
        ("shutdown", None),
    ],
)
def test_every_end_is_said_in_a_way_the_transport_knows(reason: str, expected: object) -> None:
    said = AISDKDialect().ended("r", SubscriptionEnd(reason=reason, cursor=1, text="No."), is_last=True)

    assert (json.loads(said) if said is not None else None) == expected


def test_the_transport_hears_of_nothing_it_does_not_know() -> None:
    dialect = AISDKDialect()

    assert dialect.subscribed("r", None) is None
    assert dialect.caught_up("r", 5) is None
    assert dialect.pong() is None
    assert dialect.keep_alive() is None
    assert dialect.stopping("r", "g") is None
    assert dialect.failed("r", Failure(status=503, text="Wait.", retry_seconds=1)) is None
    assert dialect.failed(None, Failure(status=400, text="No.")) is None
    assert json.loads(dialect.failed("r", Failure(status=400, text="No.")) or "") == {
        "type": "error",
        "requestId": "r",
        "errorText": "No.",
    }
