"""Finding the newest generation: cheaply on our own streams, and at all on anybody's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resumable_stream.protocol.effects import Read
from resumable_stream.protocol.ending import stop
from resumable_stream.protocol.head import Head, find_head, is_abandoned
from resumable_stream.protocol.layout import EndFacts, Token, terminal_records
from resumable_stream.records import MAX_BATCH_RECORDS, Record
from resumable_stream.types import EndReason

from .fakes import LEASE_SECONDS, ScriptedWriter, encoder_for, generation_id
from .model_log import Log, Stream

OWNER = Token.owner(generation_id("A"), LEASE_SECONDS)
FOREIGN = "session-k3x9q2ab"


def head_of(stream: Stream) -> Head:
    head = stream.run(find_head())
    assert head is not None
    return head


def add_history(stream: Stream, generations: str) -> None:
    """Let long generations come and go."""
    for name in generations:
        writer = ScriptedWriter(stream, name)
        for _ in range(3):
            writer.write(*(f"{name}{number}" for number in range(700)))
        writer.finish()


def add_foreign(stream: Stream, chunks: int, *, token: str = FOREIGN, end: str = "") -> int:
    """Let another program write a generation; return where it starts."""
    start = stream.log.tail
    stream.append(Record.fence(token))
    for _ in range(chunks):
        stream.append(Record("foreign"))
    if end:
        stream.append(Record.fence(end))
    return start


class TestOurOwnStreams:
    def test_a_stream_that_does_not_exist_has_none(self, stream: Stream) -> None:
        assert stream.run(find_head()) is None
        assert len(stream.effects) == 1

    def test_a_stream_that_was_never_written_to_is_free(self) -> None:
        stream = Stream(Log(exists=True))
        head = head_of(stream)
        assert (head.tail, head.start, head.token, head.end) == (0, 0, Token(""), None)
        assert not head.is_running
        assert len(stream.effects) == 1

    @pytest.mark.parametrize("history", ["", "XYZ"])
    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(lambda writer: None, id="just claimed"),
            pytest.param(lambda writer: writer.write("1"), id="one chunk"),
            pytest.param(lambda writer: writer.write("1", "2", "3"), id="several chunks"),
            pytest.param(lambda writer: writer.beat(), id="heartbeat"),
            pytest.param(lambda writer: (writer.write(*["1"] * 900), writer.write(*["1"] * 900)), id="long"),
        ],
    )
    def test_a_running_generation_takes_two_requests(
        self, stream: Stream, history: str, act: Callable[[ScriptedWriter], object]
    ) -> None:
        add_history(stream, history)
        writer = ScriptedWriter(stream, "A", guess=stream.log.token)
        act(writer)
        head = head_of(stream)
        assert len(stream.effects) == 2
        assert (head.start, head.tail, head.token) == (writer.claim.start, writer.position, OWNER)
        assert head.is_running
        assert head.end is None
        assert head.begin is not None
        assert head.begin.message_id == "message-A"

    @pytest.mark.parametrize("history", ["", "XYZ"])
    @pytest.mark.parametrize("chunks", [0, 1, 900])
    @pytest.mark.parametrize("reason", [EndReason.FINISHED, EndReason.STOPPED])
    def test_a_generation_that_ended_takes_two_requests(
        self, stream: Stream, history: str, chunks: int, reason: EndReason
    ) -> None:
        add_history(stream, history)
        writer = ScriptedWriter(stream, "A", guess=stream.log.token)
        if chunks:
            writer.write(*["1"] * chunks)
        if reason is EndReason.FINISHED:
            writer.finish()
        else:
            stream.run(stop(None, encoder_for))
        head = head_of(stream)
        assert len(stream.effects) == 2
        assert (head.start, head.tail) == (writer.claim.start, stream.log.tail)
        assert head.token == Token.terminal(generation_id("A"), reason)
        assert not head.is_running
        assert head.end is not None
        assert head.end.reason is reason
        assert head.begin is not None
        # Where its last chunk ends; facts and fence follow.
        assert head.content_end == stream.log.tail - 2

    def test_an_end_that_does_not_tell_its_start_is_found_by_what_the_owner_wrote(self, stream: Stream) -> None:
        add_history(stream, "XYZ")
        writer = ScriptedWriter(stream, "A", guess=stream.log.token)
        for _ in range(5):
            writer.write(*["1"] * 900)
        facts = EndFacts(generation_id=generation_id("A"), reason=EndReason.STOPPED, by="me")
        stream.append(*terminal_records(["stopped"], facts, back=None))
        head = head_of(stream)
        assert len(stream.effects) <= 4
        assert (head.start, head.end, head.content_end) == (writer.claim.start, facts, stream.log.tail - 2)


class TestForeignStreams:
    @pytest.mark.parametrize("chunks", [0, 1, MAX_BATCH_RECORDS - 1, MAX_BATCH_RECORDS, 2500])
    def test_a_running_generation_is_found(self, stream: Stream, chunks: int) -> None:
        ScriptedWriter(stream, "A").finish()
        start = add_foreign(stream, chunks)
        head = head_of(stream)
        assert (head.start, head.token, head.begin, head.end) == (start, Token(FOREIGN), None, None)
        assert head.is_running

    @pytest.mark.parametrize("chunks", [0, 1, MAX_BATCH_RECORDS - 2, MAX_BATCH_RECORDS - 1, 2500])
    @pytest.mark.parametrize(("end", "reason"), [("end-1", EndReason.FINISHED), ("error-1", EndReason.FAILED)])
    def test_a_generation_that_ended_is_found(self, stream: Stream, chunks: int, end: str, reason: EndReason) -> None:
        ScriptedWriter(stream, "A").finish()
        start = add_foreign(stream, chunks, end=end)
        head = head_of(stream)
        assert (head.start, head.token.text, head.content_end) == (start, end, stream.log.tail - 1)
        assert head.end == EndFacts(generation_id=None, reason=reason)
        assert not head.is_running

    def test_the_cost_is_the_generation_s_own_length(self, stream: Stream) -> None:
        add_history(stream, "XYZ")
        add_foreign(stream, 10)
        head_of(stream)
        assert len(stream.effects) == 3

    def test_one_of_ours_after_a_foreign_one_takes_two_requests(self, stream: Stream) -> None:
        add_foreign(stream, 2000, end="end-1")
        writer = ScriptedWriter(stream, "A", guess="end-1")
        assert head_of(stream).start == writer.claim.start
        assert len(stream.effects) == 2

    def test_a_stopped_one_takes_two_requests(self, stream: Stream) -> None:
        start = add_foreign(stream, 2000)
        stream.run(stop(None, encoder_for))
        head = head_of(stream)
        assert (head.start, head.begin) == (start, None)
        assert head.end is not None
        assert head.end.reason is EndReason.STOPPED
        assert len(stream.effects) == 2

    @pytest.mark.parametrize("strays", [1, MAX_BATCH_RECORDS - 1, MAX_BATCH_RECORDS])
    def test_what_is_written_after_an_end_does_not_bring_the_owner_back(self, stream: Stream, strays: int) -> None:
        writer = ScriptedWriter(stream, "A")
        writer.write("1")
        writer.finish()
        end = stream.log.tail
        for _ in range(strays):
            stream.append(Record("stray"))
        head = head_of(stream)
        assert not head.is_running
        assert (head.start, head.token.text) == (writer.claim.start, stream.log.token)
        assert head.end is not None
        assert head.end.by == "writer"
        assert head.content_end == end - 2

    def test_a_trim_after_an_end_leaves_the_stream_free(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A")
        writer.finish()
        stream.append(Record.trim(writer.position))
        head = head_of(stream)
        assert (head.is_running, head.token.text) == (False, stream.log.token)

    @pytest.mark.parametrize("after", [0, 1])
    @pytest.mark.parametrize("back", [0, 1, 2, 3, 99, 10**17])
    def test_a_mark_that_leads_nowhere_is_not_followed(self, stream: Stream, back: int, after: int) -> None:
        ScriptedWriter(stream, "A").finish()
        start = add_foreign(stream, 2)
        stream.append(Record("foreign", (("rs-back", str(back)),)))
        for _ in range(after):
            stream.append(Record("foreign"))
        head = head_of(stream)
        assert (head.start, head.token.text) == (start, FOREIGN)

    def test_a_fence_that_was_cleared_frees_the_stream(self, stream: Stream) -> None:
        add_foreign(stream, 2)
        stream.append(Record.fence(""))
        assert not head_of(stream).is_running


class TestRetention:
    @pytest.mark.parametrize("token", [OWNER.text, FOREIGN, f"end-stopped-{generation_id('A')}", "error-1", ""])
    def test_an_emptied_stream_keeps_its_token(self, stream: Stream, token: str) -> None:
        stream.append(Record.fence(token), Record("1"))
        stream.log = stream.log.expire()
        head = head_of(stream)
        assert head.token == Token.parse(token)
        assert (head.start, head.tail, head.content_end, head.begin) == (2, 2, 2, None)
        assert (head.end is None) == (head.token.end is None)

    def test_asking_for_the_token_changes_nothing_even_if_the_answer_is_lost(self, stream: Stream) -> None:
        stream.append(Record.fence(FOREIGN), Record("1"))
        stream.log = before = stream.log.expire()
        stream.lose_reply(0, applied=True)
        assert head_of(stream).token.text == FOREIGN
        assert len(stream.appends) == 2
        assert stream.log == before

    def test_an_owner_whose_claim_is_gone_still_runs(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A")
        for _ in range(3):
            writer.write(*["1"] * 900)
        stream.log = stream.log.expire(1200)
        head = head_of(stream)
        assert (head.start, head.tail, head.token) == (1200, writer.position, OWNER)
        assert head.is_running
        # The mark, two pages of which the second is cut short, and the token.
        assert len(stream.effects) <= 7

    def test_an_end_whose_claim_is_gone_is_still_an_end(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A")
        writer.write("1", "2", "3")
        writer.finish()
        stream.log = stream.log.expire(3)
        head = head_of(stream)
        assert (head.start, head.is_running, head.begin) == (3, False, None)
        assert head.end is not None
        assert head.end.by == "writer"
        assert head.content_end == stream.log.tail - 2

    def test_an_end_of_which_only_the_fence_is_left_is_still_an_end(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").finish()
        stream.log = stream.log.expire(stream.log.tail - 1)
        head = head_of(stream)
        assert head.end == EndFacts(generation_id=generation_id("A"), reason=EndReason.FINISHED)
        assert head.token.text == stream.log.token

    def test_the_generation_before_one_that_is_gone_is_not_taken_for_it(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A").finish()
        # No claim between two ends: written by a program that we do not know.
        stream.append(Record("foreign"), Record.fence("end-1"))
        head = head_of(stream)
        assert (head.start, head.token.text) == (stream.log.tail - 2, "end-1")

    def test_a_stream_without_any_fence_is_free(self, stream: Stream) -> None:
        stream.append(Record("1"))
        head = head_of(stream)
        assert (head.token, head.start, head.end) == (Token(""), 0, None)


class TestWhileOthersAct:
    def test_a_stream_deleted_meanwhile_has_none(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        stream.before(1, lambda: setattr(stream, "log", Log()))
        assert stream.run(find_head()) is None

    def test_a_stream_trimmed_meanwhile_is_looked_at_again(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A", mode="shared")

        def end_and_claim() -> None:
            writer.finish()
            ScriptedWriter(stream, "B", mode="shared")

        stream.before(1, end_and_claim)
        head = head_of(stream)
        assert (head.start, head.tail, head.token.text) == (stream.log.first, stream.log.tail, stream.log.token)
        assert head.begin is not None
        assert head.begin.message_id == "message-B"

    def test_facts_that_retention_takes_meanwhile_are_missed_by_nobody(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A")
        writer.finish()
        for _ in range(MAX_BATCH_RECORDS - 1):
            stream.append(Record("stray"))
        # After the tail and one page, whose first record is the terminal fence.
        stream.before(2, lambda: setattr(stream, "log", stream.log.expire(writer.position - 1)))
        head = head_of(stream)
        assert head.end == EndFacts(generation_id=generation_id("A"), reason=EndReason.FINISHED)
        assert head.token.text == stream.log.token

    def test_an_end_written_meanwhile_is_not_seen_in_part(self, stream: Stream) -> None:
        writer = ScriptedWriter(stream, "A")
        stream.before(1, writer.finish)
        head = head_of(stream)
        assert (head.is_running, head.tail) == (True, 2)
        assert isinstance(stream.effects[-1], Read)


class TestSilence:
    def at(self, token: Token, silent_ms: int) -> Head:
        return Head(tail=9, silent_ms=silent_ms, start=3, token=token)

    @pytest.mark.parametrize("mode", ["session", "shared", "single-use"])
    def test_an_owner_has_its_lease(self, mode: str) -> None:
        lease_ms = LEASE_SECONDS * 1000
        assert not is_abandoned(self.at(OWNER, lease_ms), mode=mode)
        assert is_abandoned(self.at(OWNER, lease_ms + 1), mode=mode)

    def test_a_clock_that_may_be_late_is_given_its_margin(self) -> None:
        lease_ms = LEASE_SECONDS * 1000
        assert not is_abandoned(self.at(OWNER, lease_ms + 1000), mode="session", resolution_ms=1000)
        assert is_abandoned(self.at(OWNER, lease_ms + 1001), mode="session", resolution_ms=1000)

    @pytest.mark.parametrize(("mode", "expected"), [("shared", True), ("session", False), ("single-use", False)])
    def test_a_foreign_owner_promises_nothing_but_in_shared_mode(self, mode: str, expected: bool) -> None:
        assert is_abandoned(self.at(Token(FOREIGN), 5001), mode=mode) is expected
        assert not is_abandoned(self.at(Token(FOREIGN), 5000), mode=mode)

    @pytest.mark.parametrize("text", ["", "end-1", f"end-stopped-{generation_id('A')}"])
    def test_a_free_stream_is_abandoned_by_nobody(self, text: str) -> None:
        assert not is_abandoned(self.at(Token.parse(text), 10**9), mode="shared")

    def test_silence_is_measured_on_the_log_s_clock(self, stream: Stream) -> None:
        ScriptedWriter(stream, "A")
        stream.silent_ms = 1234
        assert head_of(stream).silent_ms == 1234
        stream.silent_ms = -5
        assert head_of(stream).silent_ms == 0
