from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.generations.first_records import first_append, key_hash, opening_records, preview_of
from resumable_stream.protocol.claim import Claim
from resumable_stream.protocol.layout import MAX_APPEND_BYTES, Begin, Chunk, Decoder, Token, UserMessage
from resumable_stream.records import MAX_BATCH_RECORDS, Record, SequencedRecord

BEGIN = Begin(generation_id="g" * 20, format="text", message_id="m")


@given(st.lists(st.sampled_from([0, 10, 200_000, 800_000]), min_size=1, max_size=10), st.integers(0, 700))
def test_the_claim_takes_what_leaves_room_for_the_end_of_another(sizes: list[int], small: int) -> None:
    records = [Record("x" * size) for size in sizes] + [Record("x")] * small
    first, rest = first_append(records)

    assert [*first, *rest] == records
    assert 1 <= len(first) <= MAX_BATCH_RECORDS // 2
    assert len(first) == 1 or sum(record.metered_bytes for record in first) <= MAX_APPEND_BYTES // 2


def test_facts_come_first_then_the_user_then_the_format() -> None:
    question = {"id": "m1", "role": "user", "content": "Hi"}
    encoder = get_format("aisdk").encoder(GenerationFacts(generation_id="g" * 20, message_id="m"))
    records = opening_records(BEGIN, [question], encoder)
    entries = Decoder(0).feed(SequencedRecord(at, 0, *record) for at, record in enumerate(records))

    assert records[0] == BEGIN.record()
    assert [entry.message for entry in entries if isinstance(entry, UserMessage)] == [question]
    assert isinstance(entries[-1], UserMessage | Chunk)


def test_a_preview_begins_with_what_went_with_the_claim() -> None:
    records = [BEGIN.record(), Record('"a"'), Record('"b"'), Record('"rest"')]
    claim = Claim(token=Token.owner("g" * 20, 10), start=5, end=9)
    preview = preview_of(claim, records)

    assert preview.cursor == 9
    assert [frame.entry for frame in preview._frames] == [Chunk(8, '"a"'), Chunk(9, '"b"')]


@given(st.text(min_size=1))
def test_a_key_is_short_on_the_log_and_says_nothing(key: str) -> None:
    hashed = key_hash(key)

    assert len(hashed) == 24
    assert hashed.isascii()
    assert hashed == key_hash(key)
    assert hashed != key_hash(key + "x")


def test_no_key_is_no_key() -> None:
    assert key_hash("") == ""
