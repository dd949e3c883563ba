"""Ending a generation from outside: stops, and what becomes of owners that have gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resumable_stream.exceptions import AppendOutcomeUnknownError, GenerationActiveError, GenerationLostError
from resumable_stream.protocol.ending import STOP_ATTEMPTS, Ending, interrupt, stop
from resumable_stream.protocol.head import Head, find_head
from resumable_stream.protocol.layout import Decoder, Ended, Token, chunk_records
from resumable_stream.records import Record, SequencedRecord
from resumable_stream.types import EndReason

from .fakes import ScriptedWriter, encoder_for, generation_id, texts_of
from .model_log import LONG_AGO_MS, Log, Stream

A, B = generation_id("A"), generation_id("B")
FOREIGN = "session-k3x9q2ab"


def head_of(stream: Stream) -> Head:
    head = stream.run(find_head())
    assert head is not None
    return head


def run_stop(stream: Stream, target: str | None = None) -> Ending:
    ended = stream.run(stop(target, encoder_for))
    assert ended is not None
    require_true(stream, ended)
    return ended


def require_true(stream: Stream, ended: Ending) -> None:
    """Check what is told about an end against the log."""
    records = [SequencedRecord(at, 0, *record) for at, record in enumerate(stream.log.records)]
    ends = [entry for entry in Decoder(0).feed(records) if isinstance(entry, Ended)]
    assert ends[-1] == Ended(ended.tail, ended.facts)
    assert Token.parse(stream.log.token).is_free


class TestStop:
    def test_a_running_generation_is_closed_and_ended_in_one_append(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1", "2")
        ended = run_stop(stream)
        token = Token.terminal(A, EndReason.STOPPED).text
        assert texts_of(stream.log)[2:] == ["1", "2", "closed after 2", "stopped", "(end)", token]
        assert len(stream.appends) == 1
        assert (ended.start, ended.tail) == (0, stream.log.tail)
        assert ended.begin is not None
        assert (ended.begin.message_id, ended.facts.reason) == ("message-A", EndReason.STOPPED)

    def test_the_owner_has_lost_what_was_stopped(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        run_stop(stream)
        with pytest.raises(GenerationLostError):
            owner.write("1")
        with pytest.raises(GenerationLostError):
            owner.finish()

    def test_a_chunk_in_parts_counts_as_one(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        for record in chunk_records("x" * 1_700_000):
            stream.append(*owner.marked([record]))
            owner.position += 1
        run_stop(stream)
        assert "closed after 1" in texts_of(stream.log)

    def test_where_nothing_runs_nothing_is_written(self, stream: Stream) -> None:
        assert stream.run(stop(None, encoder_for)) is None
        ScriptedWriter(stream, "A").finish()
        before = stream.log
        assert stream.run(stop(None, encoder_for)) is None
        assert stream.run(stop(A, encoder_for)) is None
        assert stream.log == before

    def test_a_named_generation_is_stopped(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        assert run_stop(stream, A).facts.generation_id == A

    def test_a_stop_that_names_another_generation_is_refused(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").finish()
        ScriptedWriter(stream, "B")
        before = stream.log
        with pytest.raises(GenerationActiveError) as refusal:
            stream.run(stop(A, encoder_for))
        assert refusal.value.generation_id == B
        assert stream.log == before

    def test_a_stop_that_is_late_does_not_reach_the_next_generation(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")

        def go_on() -> None:
            owner.finish()
            ScriptedWriter(stream, "B")

        stream.before(2, go_on)
        with pytest.raises(GenerationActiveError):
            stream.run(stop(A, encoder_for))
        assert Token.parse(stream.log.token).generation_id == B

    def test_what_the_owner_writes_meanwhile_is_closed_too(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.before(3, lambda: owner.write("1"))
        run_stop(stream)
        assert "closed after 1" in texts_of(stream.log)
        assert "closed after 0" not in texts_of(stream.log)

    def test_of_two_stops_one_ends_the_generation(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        stream.before(3, lambda: run_stop(stream))
        assert stream.run(stop(None, encoder_for)) is None

    @pytest.mark.parametrize("token", [FOREIGN, Token.owner(A, 10).text])
    def test_an_owner_of_which_retention_has_left_nothing_is_stopped(self, stream: Stream, token: str) -> None:
        stream.append(Record.fence(token), Record("1"))
        stream.log = stream.log.expire()
        ended = run_stop(stream)
        assert ended.begin is None
        assert head_of(stream).end == ended.facts

    def test_an_owner_whose_first_chunks_are_gone_is_stopped(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1", "2", "3")
        stream.log = stream.log.expire(3)
        run_stop(stream)
        assert "closed after 2" in texts_of(stream.log)

    def test_an_owner_that_is_trimmed_while_it_is_looked_at_has_ended(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A", mode="shared")
        owner.write("1")

        def go_on() -> None:
            owner.finish()
            ScriptedWriter(stream, "B", mode="shared")

        stream.before(2, go_on)
        with pytest.raises(GenerationActiveError):
            stream.run(stop(A, encoder_for))

    def test_a_stream_that_is_made_anew_while_it_is_looked_at_has_nothing_to_stop(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1")
        stream.before(2, lambda: setattr(stream, "log", Log(exists=True)))
        assert stream.run(stop(None, encoder_for)) is None
        assert stream.log == Log(exists=True)

    def test_a_foreign_generation_is_stopped(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"), Record("2"))
        ended = run_stop(stream)
        assert "closed after 2" in texts_of(stream.log)
        assert (ended.start, ended.begin) == (0, None)
        assert Token.parse(stream.log.token).end is EndReason.STOPPED

    def test_a_foreign_generation_has_no_name_to_be_stopped_by(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"))
        with pytest.raises(GenerationActiveError):
            stream.run(stop(A, encoder_for))


class TestAnOwnerThatOutrunsEveryStop:
    def test_it_is_ended_wherever_it_is(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.before_appends(lambda: owner.write("1"))
        ended = run_stop(stream)
        assert len(stream.appends) == STOP_ATTEMPTS + 1
        # What it has opened since it was last looked at is not known, so only the answer as a whole is closed.
        token = Token.terminal(A, EndReason.STOPPED).text
        assert texts_of(stream.log)[2:] == ["1"] * (STOP_ATTEMPTS + 1) + ["stopped", "(end)", token]
        assert ended.tail == stream.log.tail
        with pytest.raises(GenerationLostError):
            owner.write("2")

    def test_its_start_is_still_found_in_a_few_reads(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        for _ in range(4):
            owner.write(*["1"] * 1000)
        stream.before_appends(lambda: owner.write("2"))
        ended = run_stop(stream)
        head = head_of(stream)
        assert (head.start, head.end, head.tail) == (0, ended.facts, ended.tail)
        assert len(stream.effects) <= 4

    @pytest.mark.parametrize("applied", [True, False])
    def test_it_is_ended_once_although_the_reply_is_lost(self, stream: Stream, applied: bool) -> None:
        owner = ScriptedWriter(stream, "A")

        def outrun() -> None:
            if not Token.parse(stream.log.token).is_free:
                owner.write("1")

        stream.before_appends(outrun)
        stream.lose_reply(STOP_ATTEMPTS, applied=applied)
        run_stop(stream)
        assert not stream.arrives_late(stream.appends[STOP_ATTEMPTS])

    def outrun(self, stream: Stream, owner: ScriptedWriter, *, then: Callable[[], object]) -> None:
        """Plan that the owner outruns every attempt, and that somebody acts before the last is repeated."""
        appends = 0

        def act() -> None:
            nonlocal appends
            appends += 1
            if appends <= STOP_ATTEMPTS + 1:
                owner.write("1")
            else:
                then()

        stream.before_appends(act)

    def test_its_end_is_known_again_although_the_next_generation_has_begun(self, stream: Stream) -> None:
        self.outrun(
            stream, ScriptedWriter(stream, "A"), then=lambda: ScriptedWriter(stream, "B", guess=stream.log.token)
        )
        stream.lose_reply(STOP_ATTEMPTS, applied=True)
        ended = stream.run(stop(None, encoder_for))
        assert ended is not None
        assert stream.log.records[ended.tail - 1].body == Token.terminal(A, EndReason.STOPPED).text
        assert Token.parse(stream.log.token).generation_id == B

    def test_an_end_of_which_no_trace_is_left_is_not_known(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A", mode="shared")
        self.outrun(stream, owner, then=lambda: ScriptedWriter(stream, "B", mode="shared"))
        stream.lose_reply(STOP_ATTEMPTS, applied=True)
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(stop(None, encoder_for))

    def test_an_owner_that_a_node_service_replaces_is_not_ended(self, stream: Stream) -> None:
        # In shared mode the npm package fences without ending what it replaces.
        self.outrun(stream, ScriptedWriter(stream, "A"), then=lambda: stream.append(Record.fence(FOREIGN)))
        stream.lose_reply(STOP_ATTEMPTS, applied=False)
        assert stream.run(stop(None, encoder_for)) is None
        assert stream.log.token == FOREIGN

    def test_a_stop_that_somebody_else_was_faster_with_ends_nothing(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        left = STOP_ATTEMPTS

        def outrun_and_finish() -> None:
            nonlocal left
            if left:
                left -= 1
                owner.write("1")
            else:
                owner.finish()

        stream.before_appends(outrun_and_finish)
        assert stream.run(stop(None, encoder_for)) is None
        assert "stopped" not in texts_of(stream.log)


class TestLostReplies:
    @pytest.mark.parametrize("applied", [True, False])
    def test_a_stop_whose_reply_is_lost_ends_the_generation_once(self, stream: Stream, applied: bool) -> None:
        ScriptedWriter(stream, "A").write("1")
        stream.lose_reply(0, applied=applied)
        run_stop(stream)
        assert texts_of(stream.log).count("stopped") == 1
        assert not stream.arrives_late(stream.appends[0])

    def test_a_stop_whose_request_was_lost_and_then_refused_tries_again(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.lose_reply(0, applied=False)
        stream.before(4, lambda: owner.write("1"))
        run_stop(stream)
        assert "closed after 1" in texts_of(stream.log)

    def test_a_stop_of_which_no_trace_is_left_says_that_it_does_not_know(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", mode="shared")
        stream.lose_reply(0, applied=True)
        stream.before(4, lambda: ScriptedWriter(stream, "B", mode="shared"))
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(stop(A, encoder_for))
        assert Token.parse(stream.log.token).generation_id == B

    @pytest.mark.parametrize("applied", [True, False])
    def test_an_interruption_whose_reply_is_lost_ends_the_generation_once(self, stream: Stream, applied: bool) -> None:
        ScriptedWriter(stream, "A").write("1")
        head = head_of(stream)
        stream.lose_reply(0, applied=applied)
        ended = stream.run(interrupt(head, encoder_for, text="Gone."))
        assert ended is not None
        require_true(stream, ended)


class TestInterruption:
    def test_a_waiting_reader_ends_what_its_owner_has_left(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1")
        stream.silent_ms = LONG_AGO_MS
        ended = stream.run(interrupt(head_of(stream), encoder_for, text="Gone."))
        assert ended is not None
        require_true(stream, ended)
        assert texts_of(stream.log)[3:5] == ["closed after 1", "interrupted"]
        assert (ended.facts.reason, ended.facts.text) == (EndReason.INTERRUPTED, "Gone.")

    @pytest.mark.parametrize("act", [lambda owner: owner.write("1"), ScriptedWriter.beat, ScriptedWriter.finish])
    def test_an_owner_that_has_acted_since_is_left_alone(
        self, stream: Stream, act: Callable[[ScriptedWriter], None]
    ) -> None:
        owner = ScriptedWriter(stream, "A")
        head = head_of(stream)
        act(owner)
        before = stream.log
        assert stream.run(interrupt(head, encoder_for, text="Gone.")) is None
        assert stream.log == before

    def test_of_many_readers_one_ends_the_generation(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        head = head_of(stream)
        ended = [stream.run(interrupt(head, encoder_for, text="Gone.")) for _ in range(5)]
        assert [end is not None for end in ended] == [True, False, False, False, False]
