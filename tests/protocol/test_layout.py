"""The way from what a generation says to records and back, over any cut, and past anything that strangers write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_stream.protocol import layout
from resumable_stream.protocol.layout import (
    HEARTBEAT,
    MAX_PART_BYTES,
    Began,
    Begin,
    Chunk,
    Claimed,
    Decoder,
    Ended,
    EndFacts,
    Entry,
    Token,
    UserMessage,
    back_of,
    chunk_records,
    new_generation_id,
    terminal_records,
    user_records,
    with_back,
)
from resumable_stream.records import (
    MAX_FENCING_TOKEN_BYTES,
    Record,
    SequencedRecord,
    validate_batch,
    validate_fencing_token,
)
from resumable_stream.types import EndReason

ID = "AAAAAAAAAAAAAAAAAAAA"
OTHER_ID = "BBBBBBBBBBBBBBBBBBBB"
SMALL_PART_BYTES = 16

texts = st.text(st.characters(exclude_categories=["Cs"]))
"""Whatever UTF-8 can encode."""
ids = st.text("abcXYZ019_-", min_size=20, max_size=20)
reasons = st.sampled_from(EndReason)
values = st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists)
facts_of_messages = st.dictionaries(texts, values, max_size=4)
messages = st.builds(lambda facts, name, role: {**facts, "id": name, "role": role}, facts_of_messages, texts, texts)


@contextmanager
def small_parts() -> Iterator[None]:
    """Split what is longer than a few bytes."""
    with mock.patch.object(layout, "MAX_PART_BYTES", SMALL_PART_BYTES):
        yield


def sequenced(records: Iterable[Record], first: int = 0) -> list[SequencedRecord]:
    return [SequencedRecord(at, 0, *record) for at, record in enumerate(records, first)]


def decode(records: Iterable[Record]) -> list[Entry]:
    return Decoder(0).feed(sequenced(records))


class TestTokens:
    @given(ids, st.integers(0, 36**5 - 1))
    def test_an_owner_token_is_read_back_as_it_was_made(self, generation_id: str, lease: int) -> None:
        token = Token.owner(generation_id, lease)
        validate_fencing_token(token.text)
        assert Token.parse(token.text) == token == (token.text, generation_id, lease, None)
        assert not token.is_free

    @given(ids, reasons)
    def test_a_terminal_token_is_read_back_as_it_was_made(self, generation_id: str, reason: EndReason) -> None:
        token = Token.terminal(generation_id, reason)
        validate_fencing_token(token.text)
        assert Token.parse(token.text) == token == (token.text, generation_id, None, reason)
        assert token.is_free

    def test_new_ids_fit_into_tokens_and_differ(self) -> None:
        made = {new_generation_id() for _ in range(100)}
        assert len(made) == 100
        longest = max(len(Token.terminal(id_, reason).text) for id_ in made for reason in EndReason)
        assert longest <= MAX_FENCING_TOKEN_BYTES
        assert all(Token.parse(Token.owner(id_, 30).text).generation_id == id_ for id_ in made)

    @pytest.mark.parametrize(
        "text", ["session-k3x9q2ab", "gen-", "gen-a-short", f"gen-toolong-{ID}", f"gen-a-{ID}x", "x"]
    )
    def test_a_token_of_another_program_owns_without_a_lease(self, text: str) -> None:
        assert Token.parse(text) == (text, None, None, None)
        assert not Token.parse(text).is_free

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("end-k3x9q2ab", EndReason.FINISHED),
            ("error-k3x9q2ab", EndReason.FAILED),
            ("end-", EndReason.FINISHED),
            (f"end-exploded-{ID}", EndReason.FINISHED),
            (f"end-stopped-{ID}x", EndReason.FINISHED),
        ],
    )
    def test_a_terminal_token_of_another_program_frees_the_stream(self, text: str, reason: EndReason) -> None:
        assert Token.parse(text) == (text, None, None, reason)
        assert Token.parse(text).is_free

    def test_a_stream_that_was_never_fenced_is_free(self) -> None:
        assert Token.parse("") == ("", None, None, None)
        assert Token.parse("").is_free

    @given(texts | st.builds(str.__add__, st.sampled_from(["gen-", "end-", "error-", "gen-a-"]), texts))
    def test_any_token_can_be_read(self, text: str) -> None:
        token = Token.parse(text)
        assert token.text == text
        assert token.is_free == (text == "" or text.startswith(("end-", "error-")))


class TestFacts:
    @given(ids, texts, texts, texts, texts, texts)
    def test_what_a_generation_states_is_read_back(
        self, generation_id: str, message_id: str, chat_id: str, actor: str, key: str, run_id: str
    ) -> None:
        begin = Begin(
            generation_id=generation_id,
            format="text",
            message_id=message_id,
            chat_id=chat_id,
            actor=actor,
            key=key,
            run_id=run_id,
        )
        assert decode([begin.record()]) == [Began(1, begin)]
        assert Begin.parse(with_back([begin.record()], 1)[0].headers) == begin

    @given(ids, reasons, texts, texts)
    def test_how_a_generation_ended_is_read_back(
        self, generation_id: str, reason: EndReason, text: str, by: str
    ) -> None:
        facts = EndFacts(generation_id=generation_id, reason=reason, text=text, by=by)
        assert decode(terminal_records([], facts, back=7)) == [Ended(2, facts)]

    def test_an_unknown_end_reads_as_finished(self) -> None:
        assert EndFacts.parse((("rs", "end"), ("rs-end", "exploded"))).reason is EndReason.FINISHED

    def test_our_own_facts_stand_where_readers_of_chunks_do_not_look(self) -> None:
        records = [
            Begin(generation_id=ID, format="text").record(),
            HEARTBEAT,
            *user_records({"id": "u1", "role": "user", "text": "hello"}),
        ]
        records.append(EndFacts(generation_id=ID, reason=EndReason.FAILED, text="Sorry.").record())
        assert [record.body for record in records] == ["", "", "", ""]


class TestMarks:
    def test_only_the_last_record_of_an_append_is_marked(self) -> None:
        first, last = sequenced(with_back([Record("1"), Record("2", (("rs-part", "0/2"),))], 12))
        assert back_of(first) is None
        assert back_of(last) == 12
        assert last.headers == (("rs-part", "0/2"), ("rs-back", "12"))

    @given(st.integers(1, 50), st.integers(0, 3))
    def test_an_end_marks_its_facts_with_the_way_to_the_claim(self, before: int, chunks: int) -> None:
        facts = EndFacts(generation_id=ID, reason=EndReason.STOPPED)
        records = sequenced(terminal_records(["{}"] * chunks, facts, back=before), first=100 + before)
        assert records[-1].is_fence
        assert records[-2].seq_num - (back_of(records[-2]) or 0) == 100

    def test_an_end_that_does_not_know_the_way_marks_nothing(self) -> None:
        facts = EndFacts(generation_id=ID, reason=EndReason.STOPPED)
        assert [back_of(record) for record in sequenced(terminal_records(["{}"], facts, back=None))] == [None] * 3

    def test_the_end_of_a_stranger_gets_an_id_of_its_own(self) -> None:
        fence = terminal_records([], EndFacts(generation_id=None, reason=EndReason.STOPPED), back=1)[-1]
        assert Token.parse(fence.body).end is EndReason.STOPPED

    @pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "9" * 5000, "²", "٣"])
    def test_a_mark_that_is_no_number_is_none(self, value: str) -> None:
        assert back_of(SequencedRecord(9, 0, "", (("rs-back", value),))) is None


class TestSplitting:
    @given(texts)
    def test_a_chunk_comes_back_whole(self, chunk: str) -> None:
        with small_parts():
            records = chunk_records(chunk)
        assert [entry.body for entry in decode(records) if isinstance(entry, Chunk)] == ([chunk] if chunk else [])

    @given(texts)
    def test_no_part_is_longer_than_a_part_may_be(self, chunk: str) -> None:
        with small_parts():
            records = chunk_records(chunk)
        assert all(len(record.body.encode()) <= SMALL_PART_BYTES for record in records)
        assert (len(records) == 1) == (len(chunk.encode()) <= SMALL_PART_BYTES)

    @given(messages)
    def test_a_user_message_comes_back_whole(self, message: dict[str, Any]) -> None:
        with small_parts():
            records = user_records(message)
        assert decode(records) == [UserMessage(len(records), message)]

    @pytest.mark.parametrize("letter", ["x", "ß", "語", "😀", '"', "\u2028"])
    def test_each_part_of_a_long_chunk_fits_into_an_append(self, letter: str) -> None:
        chunk = letter * (2 * MAX_PART_BYTES // len(letter.encode()) + 1)
        records = chunk_records(chunk)
        assert len(records) > 2
        for record in with_back(records, 10**9):
            validate_batch([record])
            assert record.metered_bytes < layout.MAX_APPEND_BYTES
            # S2 takes no request over 2,000,000 bytes, and there the body is a string in JSON.
            assert len(json.dumps(record.body, ensure_ascii=False).encode()) < 1_900_000
        assert decode(records) == [Chunk(len(records), chunk)]

    def test_a_chunk_of_the_longest_part_stays_in_one_record(self) -> None:
        assert chunk_records("x" * MAX_PART_BYTES) == [Record("x" * MAX_PART_BYTES)]
        assert len(chunk_records("x" * (MAX_PART_BYTES + 1))) == 2

    def test_a_chunk_that_another_owner_broke_off_gives_nothing(self) -> None:
        with small_parts():
            parts = chunk_records("a long chunk that takes three parts or so")
        takeover = [Record.fence(f"end-interrupted-{ID}"), Record.fence(f"gen-a-{OTHER_ID}")]
        entries = decode([*parts[:-1], *takeover, parts[-1], Record("whole")])
        assert [type(entry) for entry in entries] == [Ended, Claimed, Chunk]
        assert entries[-1] == Chunk(len(parts) + 3, "whole")

    def test_a_heartbeat_does_not_break_a_chunk(self) -> None:
        with small_parts():
            first, second = chunk_records("a chunk in two parts, no more")
        records = sequenced([first, *with_back([HEARTBEAT], 3), second])
        decoder = Decoder(0)
        assert decoder.feed(records[:2]) == []
        assert decoder.boundary == 0
        assert decoder.feed(records[2:]) == [Chunk(3, "a chunk in two parts, no more")]
        assert decoder.boundary == 3

    def test_a_whole_chunk_between_the_parts_of_another_ends_that_other(self) -> None:
        with small_parts():
            first, second = chunk_records("a chunk in two parts, no more")
        assert decode([first, Record("whole"), second]) == [Chunk(2, "whole")]

    def test_parts_that_do_not_follow_each_other_give_nothing(self) -> None:
        with small_parts():
            parts = chunk_records("0123456789abcdef" * 3)
        assert decode([parts[0], parts[2], parts[2]]) == []
        assert decode([parts[1], parts[2], parts[0]]) == []
        assert decode([parts[0], *chunk_records("a"), parts[1], parts[2]]) == [Chunk(2, "a")]
        assert decode([parts[0], parts[0], parts[1], parts[2]]) == [Chunk(4, "0123456789abcdef" * 3)]


bad_json = st.sampled_from(["", "{", "[1]", "1", "[" * 9999, "9" * 5000, "null"]) | texts


def stranger_headers() -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Headers of ours with any value, in any company."""
    names = st.sampled_from(["rs", "rs-part", "rs-json", "rs-back", "rs-generation", "rs-end", "rs-key", "x"])
    kinds = st.sampled_from(["begin", "user", "beat", "end", "0/2", "1/2", "0/0", "2/1", "{}", "[1]", "{", "[" * 9999])
    return st.lists(st.tuples(names, kinds | texts), max_size=4).map(tuple)


def facts_of(reason: EndReason) -> Record:
    return EndFacts(generation_id=ID, reason=reason, text="Told to people.").record()


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    """Draw what may stand on a stream: our records, whole or broken off, among those of strangers."""
    long_texts = st.builds(str.__mul__, st.text("abß😀", min_size=1), st.integers(1, 20))
    end = st.builds(EndFacts, generation_id=st.sampled_from([ID, OTHER_ID]), reason=reasons, text=texts)
    pieces: st.SearchStrategy[Sequence[Record]] = st.one_of(
        (texts | long_texts).map(chunk_records),
        long_texts.map(
            lambda chunk: [beat_or_part for part in chunk_records(chunk) for beat_or_part in (part, HEARTBEAT)]
        ),
        reasons.map(lambda reason: [facts_of(reason), Record("1"), Record.fence(Token.terminal(ID, reason).text)]),
        messages.map(user_records),
        st.just([HEARTBEAT]),
        st.builds(Begin, generation_id=ids, format=texts).map(lambda begin: [begin.record()]),
        st.sampled_from([ID, OTHER_ID]).map(lambda id_: [Record.fence(Token.owner(id_, 30).text)]),
        st.builds(terminal_records, st.lists(texts, max_size=2), end, back=st.integers(0, 99)),
        st.sampled_from(["session-x", "end-x", "error-x", ""]).map(lambda token: [Record.fence(token)]),
        st.integers(0, 99).map(lambda seq_num: [Record.trim(seq_num)]),
        bad_json.map(lambda text: [Record("", (("rs", "user"), ("rs-json", text)))]),
        st.builds(Record, texts, stranger_headers()).map(lambda record: [record]),
    )
    records: list[Record] = []
    with small_parts():
        for piece in draw(st.lists(pieces, max_size=12)):
            first, last = draw(st.sampled_from([(0, len(piece)), (0, len(piece) - 1), (1, len(piece))]))
            records += piece[first:last]
    return records


class TestReading:
    def test_a_stream_is_read_as_what_happened(self) -> None:
        begin = Begin(generation_id=ID, format="text", message_id="m")
        facts = EndFacts(generation_id=ID, reason=EndReason.FINISHED, by="me")
        token = Token.owner(ID, 30)
        message = {"id": "u1", "role": "user"}
        claim = [Record.fence(token.text), begin.record(), *with_back(user_records(message), 2)]
        records = [
            *claim,
            Record('"a"'),
            *with_back([Record('"b"')], 4),
            HEARTBEAT,
            *terminal_records(['"c"'], facts, back=6),
        ]
        assert decode(records) == [
            Claimed(1, token),
            Began(2, begin),
            UserMessage(3, message),
            Chunk(4, '"a"'),
            Chunk(5, '"b"'),
            Chunk(7, '"c"'),
            Ended(9, facts),
        ]

    def test_a_stream_of_the_npm_package_is_read_as_what_happened(self) -> None:
        records = [
            Record.fence("session-k3x9q2ab"),
            Record('"a"'),
            Record.trim(1),
            Record(""),
            Record.fence("error-z1"),
        ]
        assert decode(records) == [
            Claimed(1, Token("session-k3x9q2ab")),
            Chunk(2, '"a"'),
            Ended(5, EndFacts(generation_id=None, reason=EndReason.FAILED)),
        ]

    def test_facts_that_belong_to_another_end_are_not_believed(self) -> None:
        facts = EndFacts(generation_id=ID, reason=EndReason.FAILED, text="Sorry.")
        own = EndFacts(generation_id=OTHER_ID, reason=EndReason.STOPPED)
        assert decode([facts.record(), Record.fence(f"end-stopped-{OTHER_ID}")]) == [Ended(2, own)]
        plain = EndFacts(generation_id=ID, reason=EndReason.FAILED)
        assert decode([facts.record(), Record("1"), Record.fence(f"error-failed-{ID}")])[1:] == [Ended(3, plain)]

    @given(streams())
    def test_nothing_that_strangers_write_breaks_a_reader(self, records: list[Record]) -> None:
        entries = decode(records)
        plain = (record for record in records if not record.is_command and "rs-part" not in dict(record.headers))
        chunks = [entry.body for entry in entries if isinstance(entry, Chunk)]
        assert [record.body for record in plain if record.body and record.body not in chunks] == []
        assert [entry.cursor for entry in entries] == sorted({entry.cursor for entry in entries})
        for record in sequenced(records):
            back_of(record)

    @given(streams(), st.data())
    def test_how_the_reads_are_cut_makes_no_difference(self, records: list[Record], data: st.DataObject) -> None:
        at = sorted(data.draw(st.sets(st.integers(0, len(records)), max_size=5)))
        decoder = Decoder(0)
        cut: list[Entry] = []
        for start, end in zip([0, *at], [*at, len(records)], strict=True):
            cut += decoder.feed(sequenced(records)[start:end])
        assert cut == decode(records)

    def test_parts_do_not_go_on_behind_the_beginning_of_a_generation(self) -> None:
        begin = Begin(generation_id=ID, format="text")
        parts = [Record("1", (("rs-part", "0/2"),)), Record("2", (("rs-part", "1/2"),))]
        assert decode([parts[0], begin.record(), parts[1]]) == [Began(2, begin)]

    @given(streams())
    @example([Record("1", (("rs-part", "0/2"),)), Begin(generation_id=ID, format="text").record()])
    def test_a_fresh_decoder_at_the_boundary_goes_on_where_the_old_one_stood(self, records: list[Record]) -> None:
        all_, whole = sequenced(records), decode(records)
        for cut in range(len(all_) + 1):
            old = Decoder(0)
            before = old.feed(all_[:cut])
            assert old.boundary <= cut
            assert all(entry.cursor <= old.boundary for entry in before)
            fresh = Decoder(old.boundary)
            assert before + fresh.feed(all_[old.boundary :]) == whole
            assert before + old.feed(all_[cut:]) == whole
