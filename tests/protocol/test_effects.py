"""Appending exactly once, whatever becomes of the replies."""

from __future__ import annotations

import pytest

from resumable_stream.exceptions import AppendOutcomeUnknownError, GenerationLostError, SeqNumMismatchError
from resumable_stream.protocol.effects import Append, Operation, Read, append_once, read_range
from resumable_stream.protocol.ending import stop
from resumable_stream.records import AppendAck, Record

from .fakes import ScriptedWriter, encoder_for
from .model_log import Log, Stream

CHUNKS = [Record("1"), Record("2")]


@pytest.fixture
def writer(stream: Stream) -> ScriptedWriter:
    return ScriptedWriter(stream, "A")


def append(writer: ScriptedWriter) -> Operation[AppendAck]:
    return append_once(CHUNKS, token=writer.claim.token.text, at=writer.position)


def count_of(stream: Stream) -> int:
    return sum(record == CHUNKS[0] for record in stream.log.records)


class TestAppendOnce:
    def test_an_append_that_is_answered_takes_one_request(self, stream: Stream, writer: ScriptedWriter) -> None:
        ack = stream.run(append(writer))
        assert (ack.start, ack.end) == (2, 4)
        assert stream.effects == [Append(CHUNKS, writer.claim.token.text, 2)]

    @pytest.mark.parametrize("applied", [True, False])
    def test_an_append_whose_reply_is_lost_stands_once(
        self, stream: Stream, writer: ScriptedWriter, applied: bool
    ) -> None:
        stream.lose_reply(0, applied=applied)
        ack = stream.run(append(writer))
        assert (ack.start, ack.end) == (2, 4)
        assert stream.log.records[2:] == tuple(CHUNKS)

    @pytest.mark.parametrize("applied", [True, False])
    def test_an_append_that_somebody_gave_up_waiting_for_stands_once_when_it_is_asked_for_again(
        self, stream: Stream, writer: ScriptedWriter, applied: bool
    ) -> None:
        if applied:
            stream.run(append(writer))
        again = append_once(CHUNKS, token=writer.claim.token.text, at=writer.position, uncertain=True)
        assert stream.run(again).end == 4
        assert stream.log.records[2:] == tuple(CHUNKS)

    def test_an_append_whose_replies_are_all_lost_stands_once(self, stream: Stream, writer: ScriptedWriter) -> None:
        for number, applied in enumerate([False, True, True, False]):
            stream.lose_reply(number, applied=applied)
        assert stream.run(append(writer)).end == 4
        assert stream.log.records[2:] == tuple(CHUNKS)

    def test_a_request_that_arrives_late_is_refused(self, stream: Stream, writer: ScriptedWriter) -> None:
        stream.lose_reply(0, applied=False)
        stream.run(append(writer))
        assert not stream.arrives_late(stream.effects[0])
        assert count_of(stream) == 1

    def test_an_append_that_stood_before_the_stream_was_lost_is_acknowledged(
        self, stream: Stream, writer: ScriptedWriter
    ) -> None:
        stream.lose_reply(0, applied=True)
        stream.before(1, lambda: stream.run(stop(None, encoder_for)))
        assert stream.run(append(writer)).end == 4

    def test_an_append_that_came_too_late_is_lost(self, stream: Stream, writer: ScriptedWriter) -> None:
        stream.lose_reply(0, applied=False)
        stream.before(1, lambda: stream.run(stop(None, encoder_for)))
        with pytest.raises(GenerationLostError) as lost:
            stream.run(append(writer))
        assert lost.value.token == stream.log.token
        assert count_of(stream) == 0
        assert not stream.arrives_late(stream.effects[0])

    def test_an_owner_that_was_ended_before_it_asked_reads_nothing(
        self, stream: Stream, writer: ScriptedWriter
    ) -> None:
        stream.run(stop(None, encoder_for))
        with pytest.raises(GenerationLostError):
            stream.run(append(writer))
        assert len(stream.effects) == 1

    def test_an_owner_whose_records_were_trimmed_with_everything_else_has_lost(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A", mode="shared")

        def end_and_claim() -> None:
            stream.run(stop(None, encoder_for))
            ScriptedWriter(stream, "B", mode="shared")

        stream.lose_reply(0, applied=True)
        stream.before(1, end_and_claim)
        with pytest.raises(GenerationLostError):
            stream.run(append(writer))

    def test_an_owner_that_is_trimmed_while_it_looks_for_its_records_does_not_know(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A", mode="shared")

        def end_and_claim() -> None:
            stream.run(stop(None, encoder_for))
            ScriptedWriter(stream, "B", mode="shared")

        stream.lose_reply(0, applied=True)
        stream.before(2, end_and_claim)
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(append(writer))

    def test_an_owner_whose_stream_was_deleted_has_lost(self, stream: Stream, writer: ScriptedWriter) -> None:
        stream.lose_reply(0, applied=False)
        stream.before(1, lambda: setattr(stream, "log", Log()))
        with pytest.raises(GenerationLostError):
            stream.run(append(writer))

    @pytest.mark.parametrize("uncertain", [True, False])
    def test_somebody_who_writes_without_asking_for_the_token_is_noticed(
        self, stream: Stream, writer: ScriptedWriter, uncertain: bool
    ) -> None:
        stream.append(Record("stranger"), Record("stranger"))
        if uncertain:
            stream.lose_reply(0, applied=True)
        with pytest.raises(SeqNumMismatchError) as mismatch:
            stream.run(append(writer))
        assert mismatch.value.expected == 4
        assert count_of(stream) == 0


class TestReading:
    def test_a_range_is_read_in_as_many_reads_as_the_log_needs(self, stream: Stream) -> None:
        for _ in range(3):
            stream.append(*[Record(str(number)) for number in range(900)])
        records = stream.run(read_range(100, 2600))
        assert [record.seq_num for record in records] == list(range(100, 2600))
        assert stream.effects == [Read(100, 1000), Read(1100, 1000), Read(2100, 500)]

    def test_records_that_are_large_come_in_more_reads(self, stream: Stream) -> None:
        for letter in "abcd":
            stream.append(Record(letter * 600_000))
        assert len(stream.run(read_range(0, 4))) == 4
        assert [effect.start for effect in stream.effects if isinstance(effect, Read)] == [0, 1, 2, 3]

    def test_a_range_beyond_the_tail_ends_at_the_tail(self, stream: Stream) -> None:
        stream.append(Record("1"), Record("2"))
        assert [record.body for record in stream.run(read_range(1, 9))] == ["2"]
