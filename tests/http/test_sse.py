"""Bytes of event streams, read by a parser that was written after the standard alone."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.formats.base import ChunkFormat
from resumable_stream.formats.text import TextFormat
from resumable_stream.http.sse import (
    CONTENT_TYPE,
    HEADERS,
    KEEP_ALIVE,
    MAX_BLOCK_BYTES,
    PROLOGUE,
    blocks,
    encode_event,
    frame_encoder,
)
from resumable_stream.protocol.layout import Chunk, Claimed, Token
from resumable_stream.readers.frames import Frame

from ..support.event_source import Event, EventSourceParser, parse

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize(
    ("data", "event", "cursor", "expected"),
    [
        ("x", None, None, b"data: x\n\n"),
        ("x", None, 5, b"id: 5\ndata: x\n\n"),
        ("x", "end", 5, b"event: end\nid: 5\ndata: x\n\n"),
        ("a\nb\r\nc\rd", None, None, b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ("", None, None, b"data: \n\n"),
        (" x", None, None, b"data:  x\n\n"),
        ("ä\u2028", None, 0, "id: 0\ndata: ä\u2028\n\n".encode()),
    ],
)
def test_a_frame_is_event_then_id_then_data(data: str, event: str | None, cursor: int | None, expected: bytes) -> None:
    assert encode_event(data, event=event, cursor=cursor) == expected


@given(st.lists(LINES, min_size=1).map("\n".join), st.none() | NAMES, st.none() | st.integers(0, 2**63 - 1))
def test_what_is_encoded_is_parsed_back(data: str, event: str | None, cursor: int | None) -> None:
    (parsed,) = parse(encode_event(data, event=event, cursor=cursor))

    assert parsed == Event(event or "message", data, "" if cursor is None else str(cursor))


@given(st.lists(st.tuples(LINES, st.integers(0, 99)), max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_events_arrive_whole_however_the_bytes_are_cut(events: list[tuple[str, int]], cuts: list[int]) -> None:
    sent = PROLOGUE + b"".join(encode_event(data, cursor=cursor) + KEEP_ALIVE for data, cursor in events)
    parser = EventSourceParser()
    places = sorted({0, *(min(cut, len(sent)) for cut in cuts), len(sent)})
    for start, end in pairwise(places):
        parser.feed(sent[start:end])

    assert [(event.data, event.last_event_id) for event in parser.events] == [(data, str(n)) for data, n in events]
    assert parser.retry == 1000
    assert parser.comments == ["stream", *["keep-alive"] * len(events)]


def test_the_prologue_and_the_keep_alive_are_no_events() -> None:
    assert parse(PROLOGUE + KEEP_ALIVE) == []


def test_the_headers_let_no_proxy_hold_frames_back() -> None:
    assert CONTENT_TYPE == "text/event-stream"
    assert HEADERS == {
        "Cache-Control": "private, no-store, no-transform",
        "X-Accel-Buffering": "no",
        "Content-Encoding": "identity",
    }


class ShoutingFormat(TextFormat):
    name = "shouting"

    def event(self, chunk: str) -> str | None:
        return "loud" if "!" in chunk else None


def test_chunks_are_named_as_their_format_says() -> None:
    encoder = frame_encoder(ShoutingFormat())

    assert encoder(Chunk(3, '"a"')) == b'id: 3\ndata: "a"\n\n'
    assert encoder(Chunk(4, '"a!"')) == b'event: loud\nid: 4\ndata: "a!"\n\n'


@pytest.mark.parametrize("name", ["aisdk", "text"])
@given(st.text(), st.integers(1, 2**63 - 1))
def test_whatever_a_format_encodes_is_one_line_and_comes_back(name: str, text: str, cursor: int) -> None:
    format_ = get_format(name)
    encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m"))
    for chunk in [*encoder.start(), *encoder.encode(text), *encoder.finish()]:
        frame = frame_encoder(format_)(Chunk(cursor, chunk))
        (event,) = parse(frame)
        assert event.data == chunk
        assert event.last_event_id == str(cursor)
        assert frame.count(b"\n") == 3
        json.loads(event.data)


@pytest.mark.parametrize("format_", [get_format("strings"), ShoutingFormat()], ids=["unnamed", "named"])
@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n"), min_size=1))
def test_a_chunk_of_several_lines_breaks_no_frame(format_: ChunkFormat, text: str) -> None:
    (event,) = parse(frame_encoder(format_)(Chunk(3, f"{text}!\n\ndata: 1")))

    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert (event.data, event.last_event_id) == (f"{lines}!\n\ndata: 1", "3")


def test_formats_without_names_share_one_encoder() -> None:
    class Plain(ShoutingFormat):
        name = "plain"
        event = ChunkFormat.event

    assert frame_encoder(Plain()) is frame_encoder(get_format("aisdk"))


def test_what_is_no_chunk_is_left_out_among_chunks() -> None:
    frames = [Frame(Claimed(1, Token("gen-1-x"))), Frame(Chunk(2, "{}")), Frame(Claimed(3, Token("gen-1-y")))]

    assert b"".join(blocks(frames, frame_encoder(get_format("aisdk")))) == b"id: 2\ndata: {}\n\n"


def test_frames_are_sent_in_blocks_of_bounded_size() -> None:
    encoder = frame_encoder(get_format("aisdk"))
    frames = [Frame(Chunk(number, "x" * size)) for number, size in enumerate([10] * 5000 + [200_000] + [10] * 10)]
    found = list(blocks(frames, encoder))

    assert b"".join(found) == b"".join(frame.encoded(encoder) for frame in frames)
    assert all(len(block) <= MAX_BLOCK_BYTES or block.count(b"id: ") == 1 for block in found)
    assert len(found) < 10


def test_what_is_no_chunk_is_not_sent() -> None:
    assert list(blocks([Frame(Claimed(1, Token("gen-1-x")))], frame_encoder(get_format("aisdk")))) == []
    assert list(blocks([], frame_encoder(get_format("aisdk")))) == []
