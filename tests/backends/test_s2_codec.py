from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from resumable_stream.backends.s2.codec import (
    MAX_CONTENT_BYTES,
    decode_ack,
    decode_date,
    decode_listing,
    decode_records,
    encode_append,
    first_gap,
)
from resumable_stream.exceptions import InvalidRecordError
from resumable_stream.records import MAX_BATCH_BYTES, Record, SequencedRecord, validate_batch


def encode(*records: Record) -> tuple[dict[str, Any], bool]:
    content, is_base64 = encode_append(records, fencing_token=None, match_seq_num=None)
    return json.loads(content), is_base64


def test_an_append_is_utf8_json_with_the_conditions_that_were_given() -> None:
    records = [Record("ü\u2028😀"), Record("", (("a", "1"), ("a", "")))]
    content, is_base64 = encode_append(records, fencing_token="", match_seq_num=0)
    expected = (
        '{"records":[{"body":"ü\u2028😀"},{"body":"","headers":[["a","1"],["a",""]]}],'
        '"fencing_token":"","match_seq_num":0}'
    )
    assert content == expected.encode()
    assert not is_base64


def test_no_condition_is_sent_that_was_not_given() -> None:
    assert encode(Record("x"))[0] == {"records": [{"body": "x"}]}


def test_a_trim_below_128_is_text_and_one_above_is_base64() -> None:
    data, is_base64 = encode(Record.trim(127))
    assert data == {"records": [{"body": "\0" * 7 + "\x7f", "headers": [["", "trim"]]}]}
    assert not is_base64
    data, is_base64 = encode(Record("ü"), Record.trim(128))
    assert is_base64
    chunk, trim = data["records"]
    assert b64decode(chunk["body"]).decode() == "ü"
    assert int.from_bytes(b64decode(trim["body"]), "big") == 128
    assert [b64decode(text) for text in trim["headers"][0]] == [b"", b"trim"]


@pytest.mark.parametrize("character", ["x", "\0", '"', "漢", "😀"], ids=["ascii", "control", "quote", "cjk", "emoji"])
def test_every_batch_of_one_mebibyte_fits_whatever_its_characters(character: str) -> None:
    size = (MAX_BATCH_BYTES - 8) // len(character.encode())
    record = Record(character * size)
    validate_batch([record])
    content, _ = encode_append([record], fencing_token=None, match_seq_num=None)
    assert len(content) <= MAX_CONTENT_BYTES


def test_a_batch_that_only_its_headers_make_too_large_is_refused_before_it_is_sent() -> None:
    record = Record("", (("a", ""),) * 300_000)
    validate_batch([record])
    with pytest.raises(InvalidRecordError, match="fewer headers"):
        encode(record)


def test_records_are_decoded_with_what_s2_leaves_out() -> None:
    rows: list[dict[str, Any]] = [
        {"seq_num": 1, "timestamp": 5},
        {"seq_num": 2, "timestamp": 6, "body": "x", "headers": [["", "fence"]]},
    ]
    assert decode_records(rows) == (
        SequencedRecord(1, 5, "", ()),
        SequencedRecord(2, 6, "x", (("", "fence"),)),
    )
    assert decode_records(rows)[1].is_fence


def test_an_acknowledgement_keeps_its_three_positions_apart() -> None:
    ack = decode_ack({"start": {"seq_num": 1}, "end": {"seq_num": 2}, "tail": {"seq_num": 3}})
    assert (ack.start, ack.end, ack.tail) == (1, 2, 3)


@pytest.mark.parametrize(("found", "gap"), [([], None), ([5, 6, 7], None), ([6, 7], 6), ([5, 7], 7), ([5, 9, 10], 9)])
def test_the_first_record_that_does_not_continue_is_a_gap(found: list[int], gap: int | None) -> None:
    assert first_gap([SequencedRecord(seq_num, 0, "") for seq_num in found], 5) == gap


def test_a_page_of_a_listing_ends_with_its_last_name_even_if_that_is_being_deleted() -> None:
    created = "2026-01-01T00:00:00.123456789Z"
    rows = [{"name": "a", "created_at": created}, {"name": "b", "created_at": created, "deleted_at": created}]
    streams, has_more, last = decode_listing({"streams": rows, "has_more": True})
    assert [(stream.name, stream.created_at) for stream in streams] == [("a", 1767225600123)]
    assert (has_more, last) == (True, "b")
    assert decode_listing({"streams": [], "has_more": False}) == ((), False, "")


def test_a_date_is_decoded_and_nonsense_is_none() -> None:
    assert decode_date("Wed, 21 Oct 2015 07:28:00 GMT") == 1445412480000
    assert decode_date("yesterday") is None
    assert decode_date(None) is None
