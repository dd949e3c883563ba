"""Starting a generation, on streams in every state."""

from __future__ import annotations

import pytest

from resumable_stream.exceptions import AppendOutcomeUnknownError, GenerationActiveError, GenerationLostError
from resumable_stream.protocol.claim import Claim, claim, start
from resumable_stream.protocol.effects import Append, Operation
from resumable_stream.protocol.ending import stop
from resumable_stream.protocol.head import Head, find_head
from resumable_stream.protocol.layout import Decoder, Ended, Token
from resumable_stream.records import Record, SequencedRecord
from resumable_stream.types import EndReason

from .fakes import ScriptedWriter, encoder_for, generation_id, opening, texts_of
from .model_log import LONG_AGO_MS, Stream

A, B = generation_id("A"), generation_id("B")
FOREIGN = "session-k3x9q2ab"


def starting(name: str, *, mode: str = "session", key: str = "", guess: str = "") -> Operation[Claim | Head]:
    return start(opening(name, mode=mode, key=key), encoder_for, text="Gone.", guess=guess)


def run_start(stream: Stream, name: str, *, mode: str = "session", key: str = "", guess: str = "") -> Claim:
    granted = stream.run(starting(name, mode=mode, key=key, guess=guess))
    assert isinstance(granted, Claim)
    assert stream.log.records[granted.start] == Record.fence(granted.token.text)
    assert dict(stream.log.records[granted.end - 1].headers)["rs-generation"] == granted.token.generation_id
    assert stream.log.token == granted.token.text
    return granted


def ends_of(stream: Stream) -> list[Ended]:
    records = [SequencedRecord(at, 0, *record) for at, record in enumerate(stream.log.records)]
    return [entry for entry in Decoder(0).feed(records) if isinstance(entry, Ended)]


class TestFreeStreams:
    def test_a_claim_of_a_new_stream_takes_one_append_and_no_read(self, stream: Stream) -> None:
        granted = run_start(stream, "A")
        assert [type(effect) for effect in stream.effects] == [Append]
        assert (granted.start, granted.end, granted.ended) == (0, 2, None)

    def test_a_right_guess_takes_one_append_and_no_read(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").finish()
        granted = run_start(stream, "B", guess=stream.log.token)
        assert [type(effect) for effect in stream.effects] == [Append]
        assert (granted.start, granted.end) == (stream.log.tail - 2, stream.log.tail)

    @pytest.mark.parametrize("guess", ["", "end-of-something-else", f"end-stopped-{B}"])
    def test_a_wrong_guess_takes_two_appends_and_no_read(self, stream: Stream, guess: str) -> None:
        ScriptedWriter(stream, "A").finish()
        run_start(stream, "B", guess=guess)
        assert [type(effect) for effect in stream.effects] == [Append, Append]

    @pytest.mark.parametrize("end", ["end-x7k2", "error-x7k2"])
    def test_a_stream_that_another_program_has_ended_is_free(self, stream: Stream, end: str) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"), Record.fence(end))
        run_start(stream, "A")

    @pytest.mark.parametrize("key", ["", "key"])
    def test_a_stream_that_retention_has_emptied_is_free(self, stream: Stream, key: str) -> None:
        stream.append(Record.fence("end-x7k2"), Record("1"))
        stream.log = stream.log.expire()
        granted = run_start(stream, "A", key=key)
        assert granted.start == 2


class TestOwnedStreams:
    def test_a_running_generation_refuses_another(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        before = stream.log
        with pytest.raises(GenerationActiveError) as refusal:
            stream.run(starting("B"))
        assert refusal.value.generation_id == A
        assert stream.log == before

    @pytest.mark.parametrize("key", ["", "key"])
    def test_not_even_its_own_token_as_a_guess_robs_a_running_generation(self, stream: Stream, key: str) -> None:
        owner = ScriptedWriter(stream, "A").claim.token.text
        with pytest.raises(GenerationActiveError):
            stream.run(starting("B", guess=owner, key=key))
        assert stream.run(claim(opening("B"), guess=owner)) is None
        assert stream.log.token == owner

    def test_a_foreign_owner_is_told_without_an_id(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"))
        with pytest.raises(GenerationActiveError) as refusal:
            stream.run(starting("A"))
        assert refusal.value.generation_id is None

    def test_an_end_that_comes_while_the_owner_is_looked_at_frees_the_stream(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.before(1, owner.finish)
        run_start(stream, "B")

    def test_a_silent_foreign_owner_keeps_its_stream_until_it_is_stopped(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"))
        stream.silent_ms = LONG_AGO_MS
        with pytest.raises(GenerationActiveError):
            stream.run(starting("A"))
        stream.run(stop(None, encoder_for))
        run_start(stream, "A")

    def test_a_silent_foreign_owner_is_taken_over_in_shared_mode(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"))
        stream.silent_ms = LONG_AGO_MS
        granted = run_start(stream, "A", mode="shared")
        assert granted.ended is not None
        assert granted.ended.begin is None
        assert ends_of(stream)[0].facts.reason is EndReason.INTERRUPTED


class TestTakeover:
    def test_a_silent_owner_is_ended_and_replaced_in_one_append(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1", "2")
        stream.silent_ms = LONG_AGO_MS
        granted = run_start(stream, "B")
        assert texts_of(stream.log)[2:] == [
            "1",
            "2",
            "closed after 2",
            "interrupted",
            "(end)",
            Token.terminal(A, EndReason.INTERRUPTED).text,
            granted.token.text,
            "(begin)",
        ]
        # The refused claim, and the takeover.
        assert len(stream.appends) == 2
        assert granted.ended is not None
        assert (granted.ended.start, granted.ended.tail) == (0, granted.start)
        assert granted.ended.begin is not None
        assert granted.ended.begin.message_id == "message-A"
        assert granted.ended.facts == ends_of(stream)[0].facts
        assert granted.ended.facts.text == "Gone."

    def test_an_owner_that_writes_meanwhile_keeps_its_stream(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.silent_ms = LONG_AGO_MS

        def come_back() -> None:
            owner.write("1")
            stream.silent_ms = 0

        # Before the takeover: a refused claim, the tail, the claim it leads to, the range to be closed.
        stream.before(4, come_back)
        with pytest.raises(GenerationActiveError):
            stream.run(starting("B"))
        assert stream.log.token == owner.claim.token.text
        owner.write("2")
        owner.finish()

    def test_an_owner_that_was_taken_over_has_lost(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A")
        stream.silent_ms = LONG_AGO_MS
        run_start(stream, "B")
        with pytest.raises(GenerationLostError):
            owner.write("1")

    def test_of_two_that_take_over_one_wins(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        stream.silent_ms = LONG_AGO_MS

        def win() -> None:
            run_start(stream, "B")
            stream.silent_ms = 0

        stream.before(4, win)
        with pytest.raises(GenerationActiveError) as refusal:
            stream.run(starting("C"))
        assert refusal.value.generation_id == B
        assert len(ends_of(stream)) == 1

    def test_an_owner_of_which_retention_has_left_nothing_is_taken_over(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").write("1")
        stream.log = stream.log.expire()
        stream.silent_ms = LONG_AGO_MS
        granted = run_start(stream, "B")
        assert granted.ended is not None
        assert ends_of(stream)[0].facts.generation_id == A
        assert stream.run(find_head()) is not None

    @pytest.mark.parametrize("applied", [True, False])
    def test_a_takeover_whose_reply_is_lost_happens_once(self, stream: Stream, applied: bool) -> None:
        ScriptedWriter(stream, "A").write("1")
        stream.silent_ms = LONG_AGO_MS
        stream.lose_reply(1, applied=applied)
        granted = run_start(stream, "B")
        assert granted.ended is not None
        assert len(ends_of(stream)) == 1
        assert not stream.arrives_late(stream.appends[1])

    def test_a_takeover_of_which_no_trace_is_left_is_not_tried_again(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", mode="shared")
        stream.silent_ms = LONG_AGO_MS

        def end_and_claim() -> None:
            stream.run(stop(None, encoder_for))
            ScriptedWriter(stream, "C", mode="shared").finish()

        stream.lose_reply(1, applied=True)
        # Two appends of the claim's way here, and three requests that look at the owner.
        stream.before(5, end_and_claim)
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(starting("B", mode="shared"))
        assert sum(record.body == Token.owner(B, 10).text for record in stream.log.records) == 1


class TestLostReplies:
    @pytest.mark.parametrize("mode", ["session", "shared", "single-use"])
    @pytest.mark.parametrize("applied", [True, False])
    def test_a_claim_whose_reply_is_lost_is_granted_once(self, stream: Stream, mode: str, applied: bool) -> None:
        stream.lose_reply(0, applied=applied)
        granted = run_start(stream, "A", mode=mode)
        assert granted.end == stream.log.tail
        assert sum(record.body == granted.token.text for record in stream.log.records) == 1
        assert not stream.arrives_late(stream.effects[0])

    def test_a_claim_that_was_stopped_before_it_was_heard_of_is_lost(self, stream: Stream) -> None:
        stream.lose_reply(0, applied=True)
        stream.before(1, lambda: stream.run(stop(A, encoder_for)))
        with pytest.raises(GenerationLostError):
            stream.run(starting("A"))

    def test_a_claim_that_was_stopped_while_it_was_looked_for_is_lost(self, stream: Stream) -> None:
        stream.lose_reply(0, applied=True)
        stream.before(2, lambda: stream.run(stop(A, encoder_for)))
        with pytest.raises(GenerationLostError):
            stream.run(starting("A"))

    @pytest.mark.parametrize("applied", [True, False])
    def test_a_claim_after_which_another_came_and_went_is_not_tried_again(self, stream: Stream, applied: bool) -> None:
        def come_and_go() -> None:
            stream.run(stop(None, encoder_for))
            ScriptedWriter(stream, "B").finish()

        stream.lose_reply(0, applied=applied)
        stream.before(1, come_and_go)
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(starting("A"))
        assert sum(record.body == Token.owner(A, 10).text for record in stream.log.records) == applied

    def test_a_claim_that_another_took_over_is_not_tried_again(self, stream: Stream) -> None:
        stream.lose_reply(0, applied=True)
        stream.silent_ms = LONG_AGO_MS
        stream.before(1, lambda: run_start(stream, "B"))
        with pytest.raises(AppendOutcomeUnknownError):
            stream.run(starting("A"))
        assert stream.log.token == Token.owner(B, 10).text


class TestKeys:
    def test_a_start_with_the_key_of_the_running_generation_attaches(self, stream: Stream) -> None:
        run_start(stream, "A", key="key")
        before = stream.log
        head = stream.run(starting("B", key="key"))
        assert isinstance(head, Head)
        assert (head.token.generation_id, head.is_running) == (A, True)
        assert stream.log == before

    def test_a_start_with_the_key_of_a_generation_that_ended_attaches(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", key="key").finish()
        head = stream.run(starting("B", key="key"))
        assert isinstance(head, Head)
        assert (head.token.generation_id, head.is_running) == (A, False)

    def test_a_silent_generation_with_the_same_key_is_attached_to_rather_than_taken_over(self, stream: Stream) -> None:
        run_start(stream, "A", key="key")
        stream.silent_ms = LONG_AGO_MS
        assert isinstance(stream.run(starting("B", key="key")), Head)

    def test_a_generation_that_comes_with_the_same_key_while_we_look_is_attached_to(self, stream: Stream) -> None:
        stream.before(1, lambda: run_start(stream, "A", key="key"))
        assert isinstance(stream.run(starting("B", key="key")), Head)

    def test_a_generation_that_comes_and_goes_while_we_look_is_attached_to(self, stream: Stream) -> None:
        ScriptedWriter(stream, "Z").finish()
        stream.before(2, lambda: ScriptedWriter(stream, "A", key="key").finish())
        head = stream.run(starting("B", key="key"))
        assert isinstance(head, Head)
        assert head.token.generation_id == A

    def test_another_key_refuses_or_claims_as_without(self, stream: Stream) -> None:
        owner = ScriptedWriter(stream, "A", key="key")
        with pytest.raises(GenerationActiveError):
            stream.run(starting("B", key="another"))
        owner.finish()
        run_start(stream, "B", key="another")
        assert len(stream.appends) == 1

    def test_another_key_takes_over_a_silent_owner(self, stream: Stream) -> None:
        run_start(stream, "A", key="key")
        stream.silent_ms = LONG_AGO_MS
        assert run_start(stream, "B", key="another").ended is not None

    @pytest.mark.parametrize("applied", [True, False])
    def test_a_claim_with_a_key_whose_reply_is_lost_is_granted_once(self, stream: Stream, applied: bool) -> None:
        stream.lose_reply(0, applied=applied)
        assert run_start(stream, "A", key="key").start == 0
        assert stream.log.tail == 2


class TestSharedMode:
    def test_a_claim_trims_what_came_before(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", mode="shared").finish()
        granted = run_start(stream, "B", mode="shared")
        assert texts_of(stream.log) == [granted.token.text, "(begin)"]
        assert stream.log.first == granted.start

    def test_a_takeover_keeps_the_end_of_what_it_takes_over(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", mode="shared").write("1")
        stream.silent_ms = LONG_AGO_MS
        granted = run_start(stream, "B", mode="shared")
        assert "1" in texts_of(stream.log)
        assert stream.log.records[granted.start - 1].body == Token.terminal(A, EndReason.INTERRUPTED).text


class TestSingleUseMode:
    def test_a_new_stream_is_claimed(self, stream: Stream) -> None:
        assert run_start(stream, "A", mode="single-use").start == 0
        assert len(stream.effects) == 1

    @pytest.mark.parametrize("silent_ms", [0, LONG_AGO_MS])
    def test_a_running_generation_keeps_its_stream_for_ever(self, stream: Stream, silent_ms: int) -> None:
        ScriptedWriter(stream, "A", mode="single-use")
        stream.silent_ms = silent_ms
        with pytest.raises(GenerationActiveError) as refusal:
            stream.run(starting("B", mode="single-use"))
        assert refusal.value.generation_id == A

    @pytest.mark.parametrize("key", ["", "another"])
    @pytest.mark.parametrize("is_emptied", [True, False])
    def test_a_stream_that_was_used_is_not_claimed_again(self, stream: Stream, key: str, is_emptied: bool) -> None:
        ScriptedWriter(stream, "A", mode="single-use").finish()
        if is_emptied:
            stream.log = stream.log.expire()
        with pytest.raises(GenerationActiveError):
            stream.run(starting("B", mode="single-use", key=key, guess=stream.log.token))

    def test_a_start_with_the_same_key_attaches(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A", mode="single-use", key="key").finish()
        assert isinstance(stream.run(starting("B", mode="single-use", key="key")), Head)

    def test_a_stream_that_somebody_has_written_to_is_not_claimed(self, stream: Stream) -> None:
        stream.append(Record("stray"))
        with pytest.raises(GenerationActiveError):
            stream.run(starting("A", mode="single-use"))
