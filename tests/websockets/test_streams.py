"""Our own dialect: every frame in and out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.protocol.layout import Chunk
from resumable_stream.readers.frames import Frame
from resumable_stream.websockets.subprotocols.base import (
    Failure,
    FrameRefusedError,
    Ping,
    Start,
    Stop,
    Subscribe,
    SubscriptionEnd,
    Unsubscribe,
)
from resumable_stream.websockets.subprotocols.native import StreamDialect

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["type", "stream", "from", "live", "body", "key", "generation"])
TYPES = st.sampled_from(["subscribe", "unsubscribe", "start", "stop", "ping"])


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"type": "ping"}, Ping()),
        ({"type": "subscribe", "stream": "a"}, Subscribe(key="a", chat_id="a")),
        ({"type": "subscribe", "stream": "a", "from": None}, Subscribe(key="a", chat_id="a")),
        (
            {"type": "subscribe", "stream": "a", "from": 0, "live": True},
            Subscribe(key="a", chat_id="a", cursor=0, is_live=True),
        ),
        ({"type": "unsubscribe", "stream": "a"}, Unsubscribe(key="a")),
        (
            {"type": "start", "stream": "a", "body": {"x": 1}},
            Start(key="a", chat_id="a", body={"x": 1, "id": "a"}),
        ),
        (
            {"type": "start", "stream": "a", "body": {"id": "a"}, "key": "k"},
            Start(key="a", chat_id="a", body={"id": "a"}, idempotency_key="k"),
        ),
        ({"type": "stop", "stream": "a"}, Stop(key="a", chat_id="a")),
        ({"type": "stop", "stream": "a", "generation": "g"}, Stop(key="a", chat_id="a", generation_id="g")),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_commands_are_understood(frame: dict[str, Any], expected: object) -> None:
    assert StreamDialect().read(frame) == expected


@pytest.mark.parametrize(
    ("frame", "text", "key"),
    [
        ({}, "'type' must be one of subscribe, unsubscribe, start, stop, ping", None),
        ({"type": 1, "stream": "a"}, "'type' must be", "a"),
        ({"type": ["subscribe"], "stream": "a"}, "'type' must be", "a"),
        ({"type": "listen", "stream": "a" * 129}, "'type' must be", None),
        ({"type": "subscribe"}, "(send it as 'stream')", None),
        ({"type": "subscribe", "stream": 5}, "(send it as 'stream')", None),
        ({"type": "subscribe", "stream": "a/b"}, "(send it as 'stream')", "a/b"),
        ({"type": "subscribe", "stream": "a", "from": "5"}, "'from' must be a cursor", "a"),
        ({"type": "subscribe", "stream": "a", "from": True}, "'from' must be a cursor", "a"),
        ({"type": "subscribe", "stream": "a", "from": -1}, "'from' must be a cursor", "a"),
        ({"type": "subscribe", "stream": "a", "from": 1.0}, "'from' must be a cursor", "a"),
        ({"type": "subscribe", "stream": "a", "from": 2**63}, "'from' must be a cursor", "a"),
        ({"type": "subscribe", "stream": "a", "live": 1}, "'live' must be", "a"),
        ({"type": "start", "stream": "a"}, "'body' must be an object", "a"),
        ({"type": "start", "stream": "a", "body": []}, "'body' must be an object", "a"),
        ({"type": "start", "stream": "a", "body": {"id": "b"}}, "another chat", "a"),
        ({"type": "start", "stream": "a", "body": {}, "key": 1}, "'key' must be a string", "a"),
        ({"type": "start", "stream": "a", "body": {}, "key": "k" * 513}, "512 characters", "a"),
        ({"type": "stop", "stream": "a", "generation": 1}, "generation's id", "a"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_what_makes_no_sense_is_refused_with_a_reason(frame: dict[str, Any], text: str, key: str | None) -> None:
    with pytest.raises(FrameRefusedError) as caught:
        StreamDialect().read(frame)

    assert text in str(caught.value)
    assert caught.value.key == key


@given(st.dictionaries(FIELDS, JSON | TYPES))
def test_any_object_is_read_or_refused(frame: dict[str, Any]) -> None:
    with suppress(InvalidRequestError):
        StreamDialect().read(frame)


def test_a_chunk_is_said_in_the_same_words_on_every_socket() -> None:
    frame = Frame(Chunk(7, '{"a":"\\u00e4"}'))
    one, two = StreamDialect().chunk("s", frame), StreamDialect().chunk("s", frame)

    assert json.loads(one) == {"type": "chunk", "stream": "s", "id": 7, "chunk": {"a": "ä"}}
    # A dialect that is gone has taken its words along, unless another one still had them.
    first, second = StreamDialect(), StreamDialect()
    assert first.chunk("s", frame) is second.chunk("s", frame)
    assert one == two


def test_chunks_of_different_streams_are_told_apart() -> None:
    frame = Frame(Chunk(7, "1"))
    dialect = StreamDialect()

    assert [json.loads(dialect.chunk(key, frame))["stream"] for key in ("a", "b", "a")] == ["a", "b", "a"]


def test_a_chunk_that_the_log_does_not_have_has_no_id() -> None:
    assert json.loads(StreamDialect().chunk("s", Frame(Chunk(0, "1")))) == {"type": "chunk", "stream": "s", "chunk": 1}


@pytest.mark.parametrize("body", ["", "no json", "{", "NaN", '{"a": Infinity}', '{"a": 1} 2', "[" * 100_000])
def test_of_a_chunk_that_is_no_json_nothing_is_said(body: str) -> None:
    assert StreamDialect().chunk("s", Frame(Chunk(1, body))) == ""


def test_answers_say_what_is_documented() -> None:
    dialect = StreamDialect()
    end = SubscriptionEnd(reason="failed", cursor=9, generation_id="g", text="Sorry.")

    said = [
        dialect.subscribed("s", None),
        dialect.started("s", "g", 3),
        dialect.stopping("s", None),
        dialect.caught_up("s", 4),
        dialect.ended("s", end, is_last=True),
        dialect.ended("s", SubscriptionEnd(reason="shutdown", cursor=5), is_last=True),
        dialect.failed("s", Failure(status=503, text="Wait.", retry_seconds=2)),
        dialect.failed(None, Failure(status=409, text="Busy.", generation_id="g")),
        dialect.unsubscribed("s"),
        dialect.pong(),
        dialect.keep_alive(),
    ]
    assert [json.loads(text) for text in said] == [
        {"type": "subscribed", "stream": "s", "from": None},
        {"type": "started", "stream": "s", "generation": "g", "from": 3},
        {"type": "stopping", "stream": "s", "generation": None},
        {"type": "caught_up", "stream": "s", "id": 4},
        {
            "type": "end",
            "stream": "s",
            "id": 9,
            "reason": "failed",
            "reconnect": False,
            "generation": "g",
            "error": "Sorry.",
        },
        {"type": "end", "stream": "s", "id": 5, "reason": "shutdown", "reconnect": True},
        {"type": "error", "stream": "s", "retry": 2, "status": 503, "error": "Wait."},
        {"type": "error", "generation": "g", "status": 409, "error": "Busy."},
        {"type": "unsubscribed", "stream": "s"},
        {"type": "pong"},
        {"type": "pong"},
    ]
