"""What must hold of every log that the protocol can produce."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from resumable_stream.protocol.claim import Claim, start
from resumable_stream.protocol.head import find_head
from resumable_stream.protocol.layout import Begin, EndFacts, Token, back_of
from resumable_stream.records import FENCE_HEADERS, Record, SequencedRecord
from resumable_stream.types import EndReason

from .actors import end_if_abandoned, require
from .fakes import encoder_for, generation_id, opening
from .model_log import LONG_AGO_MS, Log, Stream

UNCLAIMED = Token("")
REPLACERS = ("P", "Q")
"""Writers whose start stops what runs; they stop nothing otherwise."""
EARLIER = generation_id("Z")
"""A generation that was there before everybody."""


@dataclass
class Newest:
    """The newest generation up to some record, as one finds it who looks at every record."""

    token: Token = UNCLAIMED
    start: int = 0
    chunks: list[str] = field(default_factory=list)
    end: EndFacts | None = None
    is_marked: bool = True
    """Does its end tell where it starts?"""


class LogChecker:
    """Checks logs; knows the chunks of each writer, in order."""

    def __init__(self, scripts: Mapping[str, Sequence[str]]) -> None:
        self._scripts = scripts

    def __call__(self, log: Log) -> None:
        """Check one log from its first record to its last, and what the protocol finds on it."""
        begun: set[str] = set()
        newest = Newest()
        for seq_num, record in enumerate(log.records):
            if record.headers == FENCE_HEADERS:
                newest = self._check_fence(newest, seq_num, record, log.records[seq_num - 1])
                check_replacement(newest, log.records[seq_num + 1 : seq_num + 2])
            elif not record.is_command:
                require(not newest.token.is_free, "nothing of a generation stands before its claim or after its end")
                self._check_record(newest, seq_num, record, begun, is_kept=newest.start >= log.first)
        require(newest.token.text == log.token, "the last fence is the token")
        check_head(newest, log)
        check_rest(log)

    def _check_fence(self, newest: Newest, seq_num: int, fence: Record, before: Record) -> Newest:
        token = Token.parse(fence.body)
        if token.end is None:
            require(newest.token.is_free, "a stream has one owner at a time")
            return Newest(token, seq_num)
        require(not newest.token.is_free, "a generation has one terminal")
        require(("rs", "end") in before.headers, "the facts of an end stand before its terminal")
        facts = EndFacts.parse(before.headers)
        require(facts.reason is token.end, "the facts give the terminal's reason")
        require(facts.generation_id == token.generation_id, "the facts are those of the terminal's generation")
        is_foreign = newest.token.generation_id is None
        require(is_foreign or newest.token.generation_id == token.generation_id, "what ends is what runs")
        require(newest.chunks[-1] == token.end.value, "a generation ends with its last chunk")
        newest.is_marked = any(name == "rs-back" for name, _ in before.headers)
        newest.token, newest.end = token, facts
        return newest

    def _check_record(self, newest: Newest, seq_num: int, record: Record, begun: set[str], *, is_kept: bool) -> None:
        back = back_of(SequencedRecord(seq_num, 0, *record))
        require(back is None or seq_num - back == newest.start or not is_kept, "a mark leads to the claim")
        if ("rs", "begin") in record.headers:
            begin = Begin.parse(record.headers)
            names = {begin.generation_id, f"key {begin.key or begin.generation_id}"}
            require(not names & begun, "a generation begins once, and a key begins one generation")
            begun |= names
        if record.body:
            self._check_chunk(newest, record.body, is_kept=is_kept)
            newest.chunks.append(record.body)

    def _check_chunk(self, newest: Newest, chunk: str, *, is_kept: bool) -> None:
        name = (newest.token.generation_id or "?")[0]
        if chunk.startswith(name):
            rest = self._scripts[name][len(newest.chunks) :]
            require(chunk in rest[:1], "chunks stand once and in order")
        elif chunk.startswith("closed") and is_kept:
            require(chunk == f"closed after {len(newest.chunks)}", "who ends a generation has seen all of it")


def check_replacement(newest: Newest, after: Sequence[Record]) -> None:
    """Check that who stops a generation in order to replace it does both at once."""
    by = newest.end.by[:1] if newest.end is not None and newest.end.reason is EndReason.STOPPED else ""
    if by in REPLACERS:
        claim = [Token.parse(record.body).generation_id for record in after if record.headers == FENCE_HEADERS]
        require(claim == [generation_id(by)], "a start that stops a generation follows it at once")


def check_told(log: Log, reports: Collection[str]) -> None:
    """Check that the app was told of every end by somebody, now that everybody is done."""
    tokens = (Token.parse(record.body) for record in log.records if record.headers == FENCE_HEADERS)
    ended = {token.generation_id for token in tokens if token.end is not None}
    require(ended <= {*reports, EARLIER}, "every end is told")


def check_head(newest: Newest, log: Log) -> None:
    """Check that the protocol finds what one finds who looks at every record."""
    stream = Stream(log)
    head = stream.run(find_head())
    assert head is not None
    require(head.token == newest.token, "the head's token is the stream's")
    require((head.end, head.tail) == (newest.end, log.tail), "the head knows how its generation ended")
    if newest.start >= log.first:
        require(head.start == newest.start, "the head starts at its claim")
        require(len(stream.effects) <= 2 or not newest.is_marked, "a head takes two requests")


def check_rest(log: Log) -> None:
    """Check that nothing would run for ever if all actors were gone from here on."""
    stream = Stream(log)
    stream.silent_ms = LONG_AGO_MS
    stream.run(end_if_abandoned("shared"))
    require(Token.parse(stream.log.token).is_free, "a waiting reader ends what has lost its writer")
    granted = stream.run(start(opening("Z"), encoder_for, text="Gone."))
    require(isinstance(granted, Claim), "a free stream can be claimed")
