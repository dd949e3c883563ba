"""The contract of appends: positions, contents, limits, atomicity, conditions and fences."""

from __future__ import annotations

import asyncio
from itertools import groupby

import pytest

from ..backends.base import BaseBackend
from ..exceptions import (
    AppendConditionError,
    FencingTokenMismatchError,
    InvalidRecordError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from ..records import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Headers, Record
from .helpers import WAIT_SECONDS, Contract, bodies, error_of, read_all, texts

BODIES = {
    "empty": "",
    "nul": "\0",
    "nul inside": "before\0after",
    "line ends": "a\nb\rc\r\nd",
    "unicode line ends": "a\u2028b\u2029c\u0085d\x0b\x0c\x1c",
    "emoji": "👩🏽‍🚀 \U0010ffff",
    "east asian": "春眠不覺曉",
    "json": '{"type":"text-delta","delta":"\\"\\u2028\\ud800"}',
    "quotes and backslashes": "\"'\\`%s{}",
    "spaces around": "  x  ",
    "byte order mark": "\ufeffx\ufffe\uffff",
    "control characters": "".join(map(chr, range(32))) + "\x7f",
    "like an event": "data: x\n\nid: 7\n\n",
}
HEADERS: dict[str, Headers] = {
    "one": (("name", "value"),),
    "empty value": (("name", ""),),
    "same name twice": (("a", "1"), ("b", "2"), ("a", "1")),
    "awkward text": (("ü\0\n\u2028👍", '"\\\0\u2029'),),
    "fence by value only": (("x", "fence"),),
}
NAMES = ["a", "a/b", "/", "a//b/", "with space", "%2F", "a?b#c&d=e;f", "..a", "ü/春/👍", "x" * 512, "é" * 256, "\x01\n"]
BAD_NAMES = {"empty": "", "dot": ".", "two dots": "..", "nul": "a\0b", "long": "é" * 256 + "x", "surrogate": "\udc00"}
BAD_BATCHES = {
    "no record": [],
    "too many": texts(*["x"] * (MAX_BATCH_RECORDS + 1)),
    "too large": texts("x" * (MAX_BATCH_BYTES - 7)),
    "too large together": texts("x" * (MAX_BATCH_BYTES // 2), "x" * (MAX_BATCH_BYTES // 2)),
    "lone surrogate": texts("ok", "\ud800"),
    "lone surrogate in a header": [Record("ok"), Record("x", (("name", "\udfff"),))],
    "long token": [Record("ok"), Record.fence("é" * 18 + "x")],
    "unknown command": [Record("ok"), Record("x", (("", "purge"),))],
    "command among headers": [Record("ok"), Record("x", (("", "fence"), ("a", "b")))],
    "malformed trim": [Record("ok"), Record("\x7f", (("", "trim"),))],
}


class AppendContract(Contract):
    """Positions, contents, limits, atomicity."""

    async def test_appends_get_consecutive_positions_from_zero(self, backend: BaseBackend, stream: str) -> None:
        first = await backend.append(stream, texts("a", "b"))
        second = await backend.append(stream, texts("c"))

        assert (first.start, first.end, first.tail) == (0, 2, 2)
        assert (second.start, second.end, second.tail) == (2, 3, 3)
        records = await read_all(backend, stream)
        assert [(record.seq_num, record.body) for record in records] == [(0, "a"), (1, "b"), (2, "c")]

    @pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
    async def test_a_body_comes_back_unchanged(self, backend: BaseBackend, stream: str, body: str) -> None:
        await backend.append(stream, [Record(body), Record(body, (("a", body),))])

        records = await read_all(backend, stream)
        assert [(record.body, record.headers) for record in records] == [(body, ()), (body, (("a", body),))]

    @pytest.mark.parametrize("headers", HEADERS.values(), ids=list(HEADERS))
    async def test_headers_come_back_unchanged(self, backend: BaseBackend, stream: str, headers: Headers) -> None:
        await backend.append(stream, [Record("", headers), Record("body", headers)])

        records = await read_all(backend, stream)
        assert [(record.body, record.headers) for record in records] == [("", headers), ("body", headers)]

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    async def test_any_valid_name_makes_a_stream_of_its_own(self, backend: BaseBackend, stream: str, name: str) -> None:
        whole = name if len(name) > 100 else f"{stream}/{name}"
        before = await _tail_or_zero(backend, whole)
        await backend.append(whole, texts(name))

        records = await read_all(backend, whole, before)
        assert bodies(records) == [name]
        if whole != name:
            assert (await backend.list_streams(whole)).streams[0].name == whole

    @pytest.mark.parametrize("name", BAD_NAMES.values(), ids=list(BAD_NAMES))
    async def test_an_invalid_name_is_refused(self, backend: BaseBackend, name: str) -> None:
        with pytest.raises(InvalidRecordError):
            await backend.append(name, texts("x"))

    async def test_a_thousand_records_fit_into_one_append(self, backend: BaseBackend, stream: str) -> None:
        written = [str(number) for number in range(MAX_BATCH_RECORDS)]
        ack = await backend.append(stream, texts(*written))

        assert (ack.start, ack.end) == (0, MAX_BATCH_RECORDS)
        assert bodies(await read_all(backend, stream)) == written

    @pytest.mark.parametrize("character", ["x", "é", "😀", '"', "\0"], ids=ascii)
    async def test_a_record_of_one_mebibyte_fits(self, backend: BaseBackend, stream: str, character: str) -> None:
        body = character * ((MAX_BATCH_BYTES - 8) // len(character.encode()))
        await backend.append(stream, texts(body))

        assert (await backend.read(stream, 0)).records[0].body == body

    @pytest.mark.parametrize("records", BAD_BATCHES.values(), ids=list(BAD_BATCHES))
    async def test_an_invalid_batch_leaves_nothing(
        self, backend: BaseBackend, stream: str, records: list[Record]
    ) -> None:
        await backend.append(stream, texts("before"))
        with pytest.raises(InvalidRecordError):
            await backend.append(stream, records)

        await backend.append(stream, texts("after"), match_seq_num=1, fencing_token="")
        assert bodies(await read_all(backend, stream)) == ["before", "after"]

    async def test_concurrent_appends_are_applied_whole_and_once(self, backend: BaseBackend, stream: str) -> None:
        batches = [[f"{number}"] * (1 + number % 5) for number in range(40)]
        acks = await asyncio.gather(*(backend.append(stream, texts(*batch)) for batch in batches))

        records = await read_all(backend, stream)
        for batch, ack in zip(batches, acks, strict=True):
            assert bodies(records[ack.start : ack.end]) == batch
        assert len(records) == sum(map(len, batches))
        assert len([*groupby(bodies(records))]) == len(batches)

    async def test_streams_know_nothing_of_each_other(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(f"{stream}/a", [Record("x"), Record.fence("owner")])
        ack = await backend.append(f"{stream}/b", texts("y"), match_seq_num=0, fencing_token="")

        assert (ack.start, ack.end) == (0, 1)

    async def test_timestamps_never_decrease(self, backend: BaseBackend, stream: str) -> None:
        for number in range(5):
            await backend.append(stream, texts(*[str(number)] * 3))

        timestamps = [record.timestamp for record in await read_all(backend, stream)]
        assert timestamps == sorted(timestamps)
        assert timestamps[0] > 0


class ConditionContract(Contract):
    """``match_seq_num``, fencing tokens, and who wins."""

    async def test_a_matching_position_is_accepted(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"), match_seq_num=0)
        assert (await backend.append(stream, texts("c"), match_seq_num=2)).start == 2

    @pytest.mark.parametrize("position", [0, 1, 3, 2**40])
    async def test_another_position_is_refused_with_the_right_one(
        self, backend: BaseBackend, stream: str, position: int
    ) -> None:
        await backend.append(stream, texts("a", "b"))
        with pytest.raises(SeqNumMismatchError) as caught:
            await backend.append(stream, [Record("c"), Record.fence("thief")], match_seq_num=position)

        assert caught.value.expected == 2
        await _expect(backend, stream, ["a", "b"], token="")

    async def test_a_matching_token_is_accepted(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("owner")], fencing_token="")
        await backend.append(stream, texts("a"), fencing_token="owner")
        await _expect(backend, stream, ["a"], token="owner")

    @pytest.mark.parametrize("token", ["", "other", "owne", "owner ", "OWNER"])
    async def test_another_token_is_refused_with_the_right_one(
        self, backend: BaseBackend, stream: str, token: str
    ) -> None:
        await backend.append(stream, [Record.fence("owner")])
        with pytest.raises(FencingTokenMismatchError) as caught:
            await backend.append(stream, [Record("a"), Record.fence("thief")], fencing_token=token)

        assert caught.value.actual == "owner"
        await _expect(backend, stream, [], token="owner")

    async def test_the_token_is_told_if_both_conditions_fail(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("owner")])
        with pytest.raises(FencingTokenMismatchError) as caught:
            await backend.append(stream, texts("a"), fencing_token="other", match_seq_num=7)
        assert caught.value.actual == "owner"

    async def test_the_position_is_told_if_only_it_fails(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("owner")])
        with pytest.raises(SeqNumMismatchError) as caught:
            await backend.append(stream, texts("a"), fencing_token="owner", match_seq_num=7)
        assert caught.value.expected == 1

    async def test_a_new_stream_has_the_empty_token(self, backend: BaseBackend, stream: str) -> None:
        with pytest.raises(FencingTokenMismatchError) as caught:
            await backend.append(stream, texts("a"), fencing_token="owner")
        assert caught.value.actual == ""
        with pytest.raises(SeqNumMismatchError) as conflict:
            await backend.append(stream, texts("a"), match_seq_num=3)
        assert conflict.value.expected == 0

        assert (await backend.append(stream, texts("a"), fencing_token="", match_seq_num=0)).start == 0

    async def test_an_append_without_a_token_ignores_fences(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("owner")])
        await backend.append(stream, texts("a"))
        await _expect(backend, stream, ["a"], token="owner")

    async def test_conditions_are_checked_before_the_fences_of_their_own_append(
        self, backend: BaseBackend, stream: str
    ) -> None:
        await backend.append(stream, [Record.fence("old")])
        await backend.append(stream, [Record("a"), Record.fence("new"), Record("b")], fencing_token="old")
        await _expect(backend, stream, ["a", "b"], token="new")

    async def test_the_last_of_several_fences_holds(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("one"), Record.fence("two"), Record.fence("three")])
        await _expect(backend, stream, [], token="three")

    @pytest.mark.parametrize("token", ["x" * 36, "é" * 18, "👍" * 9, "\0\n\u2028"], ids=ascii)
    async def test_any_token_of_up_to_36_bytes_holds(self, backend: BaseBackend, stream: str, token: str) -> None:
        await backend.append(stream, [Record.fence(token)])
        await _expect(backend, stream, [], token=token)
        await backend.append(stream, texts("a"), fencing_token=token)

    async def test_a_token_of_37_bytes_is_refused(self, backend: BaseBackend, stream: str) -> None:
        with pytest.raises(InvalidRecordError):
            await backend.append(stream, texts("a"), fencing_token="é" * 18 + "x")

    async def test_an_empty_fence_clears_the_token(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record.fence("owner")])
        await backend.append(stream, [Record.fence("")], fencing_token="owner")
        await _expect(backend, stream, [], token="")

    async def test_of_several_claims_exactly_one_wins(self, backend: BaseBackend, stream: str) -> None:
        async def claim(token: str) -> str | None:
            claim = backend.append(stream, [Record.fence(token), Record(token)], fencing_token="")
            error = await error_of(claim, FencingTokenMismatchError)
            assert error is None or error.actual != token
            return error.actual if error else None

        outcomes = await asyncio.gather(*(claim(f"owner-{number}") for number in range(8)))

        (winner,) = bodies(await read_all(backend, stream))
        assert sorted(outcomes, key=str) == sorted([None, *[winner] * 7], key=str)

    async def test_two_writers_at_one_position_do_not_both_win(self, backend: BaseBackend, stream: str) -> None:
        won: list[tuple[int, str]] = []

        async def write(name: str) -> None:
            position = 0
            while position < 30:
                append = backend.append(stream, texts(name), match_seq_num=position)
                error = await error_of(append, SeqNumMismatchError)
                if error is None:
                    won.append((position, name))
                assert error is None or error.expected > position
                position = error.expected if error else position + 1

        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.gather(write("a"), write("b"))
        assert sorted(won) == [(record.seq_num, record.body) for record in await read_all(backend, stream)]


async def _expect(backend: BaseBackend, stream: str, contents: list[str], *, token: str) -> None:
    """Check what the stream holds, and its token by the refusal of an append."""
    assert bodies(await read_all(backend, stream)) == contents
    with pytest.raises(AppendConditionError) as caught:
        await backend.append(stream, texts("never"), fencing_token="no owner has this name")
    assert isinstance(caught.value, FencingTokenMismatchError)
    assert caught.value.actual == token


async def _tail_or_zero(backend: BaseBackend, stream: str) -> int:
    missing = await error_of(backend.tail(stream), StreamNotFoundError)
    return 0 if missing else (await backend.tail(stream)).seq_num
