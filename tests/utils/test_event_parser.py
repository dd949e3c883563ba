"""Events out of bytes, however these are broken up."""

from __future__ import annotations

from itertools import pairwise

import httpx
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.utils.event_parser import EventParser, ParsedEvent

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=8)
"""With U+2028, U+0085 and NUL among them, at which other splitters break lines."""
EVENTS = st.lists(
    st.tuples(st.sampled_from(["", "batch", "ping"]), st.lists(LINES, min_size=1, max_size=3)), max_size=4
)
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def parse(*parts: bytes) -> list[ParsedEvent]:
    parser = EventParser()
    return [event for part in parts for event in parser.feed(part)]


@given(EVENTS, ENDS, st.booleans(), st.lists(st.integers(0, 200)))
def test_events_come_out_as_they_went_in(
    events: list[tuple[str, list[str]]], end: str, with_noise: bool, cuts: list[int]
) -> None:
    lines: list[str] = []
    for kind, data in events:
        lines += [": a comment", "id: 7", "retry: 10", "unknown: x", "data-is-not: data"] if with_noise else []
        lines += [f"event: {kind}"] if kind else []
        lines += [*(f"data: {line}" for line in data), ""]
    sent = "".join(line + end for line in lines).encode()
    borders = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})

    found = parse(*(sent[start:stop] for start, stop in pairwise(borders)))

    assert found == [(kind, "\n".join(data)) for kind, data in events]
    response = httpx.Response(200, content=sent, headers={"content-type": "text/event-stream"})
    peers = [(event.event, event.data) for event in EventSource(response).iter_sse()]
    assert [(kind or "message", data) for kind, data in found] == peers


def test_what_has_no_data_is_no_event() -> None:
    assert parse(b"event: ping\n\ndata:x\n\n") == [("", "x")]


def test_an_event_without_its_empty_line_has_not_come() -> None:
    assert parse(b"data: x\n") == []


def test_one_space_after_the_colon_belongs_to_neither() -> None:
    assert parse(b"data:  x\ndata\n\n") == [("", " x\n")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert parse(b"\xef\xbb", b"\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n") == [("", "x")]


def test_bytes_that_are_no_text_do_not_stop_what_follows() -> None:
    assert parse(b"data: \xff\n\ndata: x\n\n") == [("", "\ufffd"), ("", "x")]
