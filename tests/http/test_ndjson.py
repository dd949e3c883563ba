"""Bytes of newline-delimited JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.formats import get_format
from resumable_stream.formats.jsontext import encode
from resumable_stream.http.ndjson import NDJSON
from resumable_stream.protocol.layout import Chunk

json_values = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)


@given(st.integers(0, 10**9), json_values)
def test_a_chunk_is_one_line_with_its_cursor_as_a_string(cursor: int, value: object) -> None:
    line = NDJSON.frame_encoder(get_format("aisdk"))(Chunk(cursor, encode(value)))

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    # A chunk that the log does not have has no cursor.
    assert json.loads(line) == ({"id": str(cursor), "chunk": value} if cursor else value)


def test_an_event_that_is_a_chunk_looks_like_one() -> None:
    assert NDJSON.encode_event('{"type":"error"}', cursor=7) == b'{"id":"7","chunk":{"type":"error"}}\n'


def test_another_event_is_told_by_its_name() -> None:
    line = NDJSON.encode_event('{"reason":"finished"}', event="end", cursor=9)

    assert json.loads(line) == {"id": "9", "event": "end", "data": '{"reason":"finished"}'}


def test_what_shows_that_the_connection_lives_is_an_empty_line() -> None:
    assert NDJSON.prologue == NDJSON.keep_alive == b"\n"
