"""A follow over read sessions that the test scripts: what they send, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import httpx
import pytest

from resumable_stream.exceptions import (
    BackendUnavailableError,
    InvalidBackendError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    StreamNotFoundError,
)
from resumable_stream.records import FollowBatch

from ..support.virtual_time import in_virtual_time
from . import s2_tools
from .s2_tools import DONE, Open, Torn, batch, error_event, mocked, ping, refusal, row, session

Outcome = httpx.Response | Exception


class Sessions:
    """Answers each read session with the next outcome, the last one for ever; knows where each began."""

    def __init__(self, *outcomes: Outcome, kept: Outcome | None = None) -> None:
        self._outcomes = outcomes
        self._kept = kept
        self.starts: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] != "text/event-stream":
            outcome = self._kept
            assert outcome is not None
        else:
            outcome = self._outcomes[min(len(self.starts), len(self._outcomes) - 1)]
            self.starts.append(int(request.url.params["seq_num"]))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def following(
    sessions: Sessions, start: int = 0, **options: float
) -> AbstractAsyncContextManager[AsyncIterator[FollowBatch]]:
    return s2_tools.following(mocked(sessions, **options), "s", start)


async def take(batches: AsyncIterator[FollowBatch], count: int) -> list[tuple[list[int], bool]]:
    """Take ``count`` batches as positions and the caught-up sign."""
    found = [await anext(batches) for _ in range(count)]
    return [([record.seq_num for record in one.records], one.caught_up) for one in found]


def unwritten(tail: int) -> httpx.Response:
    return httpx.Response(416, json={"tail": {"seq_num": tail, "timestamp": 1}})


@in_virtual_time
async def test_history_then_the_caught_up_sign_then_new_records() -> None:
    body = Open(batch(row(0), row(1)), batch(row(2)), ping(3), batch(row(3), tail=4), ping(4))
    async with following(Sessions(session(body))) as batches:
        assert await take(batches, 4) == [([0, 1], False), ([2], False), ([], True), ([3], True)]
    assert body.is_closed


@in_virtual_time
async def test_an_empty_stream_is_caught_up_at_once_and_says_so_once() -> None:
    body = Open(ping(0), ping(0), ping(0), batch(row(0), tail=1))
    async with following(Sessions(session(body))) as batches:
        assert await take(batches, 2) == [([], True), ([0], True)]


@in_virtual_time
async def test_unicode_separators_stay_inside_the_record() -> None:
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"
    async with following(Sessions(session(Open(batch(row(0, text)))))) as batches:
        assert (await anext(batches)).records[0].body == text


def splits(data: bytes) -> Iterator[tuple[bytes, ...]]:
    yield tuple(data[at : at + 1] for at in range(len(data)))
    yield tuple(data[at : at + 7] for at in range(0, len(data), 7))
    yield (data,)


@pytest.mark.parametrize("parts", list(splits(batch(row(0, "é😀")) + ping(1))), ids=["bytes", "sevens", "whole"])
@in_virtual_time
async def test_an_event_may_come_in_any_pieces(parts: tuple[bytes, ...]) -> None:
    async with following(Sessions(session(Open(*parts)))) as batches:
        first = await anext(batches)
        assert first.records[0].body == "é😀"
        assert (await anext(batches)).caught_up


ENDS: list[tuple[str, Outcome]] = [
    ("torn", session(Torn(batch(row(5))))),
    ("torn inside an event", session(Torn(batch(row(5)), batch(row(6))[:-20]))),
    ("ended inside an event", session(batch(row(5)) + batch(row(6))[:-1])),
    ("clean end", session(batch(row(5)))),
    ("done", session(batch(row(5)) + DONE)),
    ("error event", session(batch(row(5)) + error_event("unavailable") + batch(row(6)))),
    ("unknown event", session(batch(row(5)) + b"event: new\ndata: {}\n\n")),
    ("malformed event", session(batch(row(5)) + b"event: batch\ndata: {\n\n")),
    ("event without records", session(batch(row(5)) + b"event: batch\ndata: {}\n\n")),
]


@pytest.mark.parametrize("end", [end for _, end in ENDS], ids=[name for name, _ in ENDS])
@in_virtual_time
async def test_whatever_ends_a_session_the_next_one_begins_where_it_stopped(end: Outcome) -> None:
    sessions = Sessions(end, session(Open(batch(row(6)), ping(7))))
    async with following(sessions, 5) as batches:
        assert await take(batches, 3) == [([5], False), ([6], False), ([], True)]
    assert sessions.starts == [5, 6]


PASSING: list[tuple[str, Outcome]] = [
    ("refused connection", httpx.ConnectError("refused")),
    ("reset", httpx.ReadError("reset")),
    ("silence", httpx.ReadTimeout("silent")),
    ("500", refusal(500, "storage")),
    ("503", refusal(503, "unavailable")),
    ("503 of a proxy", httpx.Response(503, text="starting")),
    ("429", refusal(429, "rate_limited")),
    ("conflict", refusal(409, "transaction_conflict")),
    ("stream still being made", refusal(404, "stream_not_found")),
]


@pytest.mark.parametrize("fault", [fault for _, fault in PASSING], ids=[name for name, _ in PASSING])
@in_virtual_time
async def test_a_session_that_does_not_open_is_tried_again(fault: Outcome) -> None:
    sessions = Sessions(fault, fault, session(Open(batch(row(5)))))
    async with following(sessions, 5, follow_retry_seconds=5) as batches:
        assert await take(batches, 1) == [([5], False)]
    assert sessions.starts == [5, 5, 5]


@in_virtual_time
async def test_a_session_after_a_quiet_one_repeats_no_caught_up_sign() -> None:
    sessions = Sessions(session(ping(5)), session(Open(ping(5), batch(row(5), tail=6))))
    async with following(sessions, 5) as batches:
        assert await take(batches, 2) == [([], True), ([5], True)]


@in_virtual_time
async def test_a_follow_gives_up_when_nothing_works_for_too_long() -> None:
    sessions = Sessions(session(batch(row(0))), httpx.ConnectError("refused"))
    async with following(sessions) as batches:
        await anext(batches)
        with pytest.raises(BackendUnavailableError, match="S2_BASIN_ENDPOINT"):
            await anext(batches)
    assert len(sessions.starts) > 2


@in_virtual_time
async def test_a_server_that_answers_without_events_is_not_taken_for_s2() -> None:
    async with following(Sessions(httpx.Response(200, text="<html>"))) as batches:
        with pytest.raises(BackendUnavailableError, match="S2_BASIN_ENDPOINT"):
            await anext(batches)


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (refusal(401, "authn"), "S2_ACCESS_TOKEN"),
        (refusal(404, "basin_not_found"), "S2_BASIN"),
        (httpx.Response(404), "S2_BASIN_ENDPOINT"),
    ],
    ids=["token", "basin", "endpoint"],
)
@in_virtual_time
async def test_a_wrong_setting_ends_the_follow_at_once(answer: httpx.Response, setting: str) -> None:
    sessions = Sessions(answer)
    async with following(sessions) as batches:
        with pytest.raises(InvalidBackendError, match=setting):
            await anext(batches)
    assert len(sessions.starts) == 1


@pytest.mark.parametrize("code", ["stream_not_found", "stream_deletion_pending"])
@in_virtual_time
async def test_a_stream_that_stays_missing_is_not_found(code: str) -> None:
    sessions = Sessions(session(batch(row(0)) + error_event("unavailable")), refusal(404, code))
    async with following(sessions, follow_retry_seconds=5) as batches:
        await anext(batches)
        with pytest.raises(StreamNotFoundError):
            await anext(batches)


@in_virtual_time
async def test_a_start_beyond_the_tail_is_refused() -> None:
    async with following(Sessions(unwritten(3)), 7) as batches:
        with pytest.raises(ReadUnwrittenError) as caught:
            await anext(batches)
    assert caught.value.tail == 3


@in_virtual_time
async def test_a_stream_that_was_made_anew_below_the_position_is_not_the_one_followed() -> None:
    sessions = Sessions(session(batch(row(5), row(6))), unwritten(3))
    async with following(sessions, 5) as batches:
        await anext(batches)
        with pytest.raises(StreamNotFoundError):
            await anext(batches)


@pytest.mark.parametrize(
    ("body", "first"),
    [
        (batch(row(0), row(1)) + batch(row(7)), 7),
        (batch(row(0), row(1)) + batch(row(2), row(9), row(10)), 9),
    ],
    ids=["between batches", "inside a batch"],
)
@in_virtual_time
async def test_a_gap_is_told_and_never_passed_over(body: bytes, first: int) -> None:
    async with following(Sessions(session(body))) as batches:
        assert await take(batches, 1) == [([0, 1], False)]
        with pytest.raises(RecordsTrimmedError) as caught:
            await anext(batches)
    assert caught.value.first_seq_num == first


@in_virtual_time
async def test_a_gap_on_reconnecting_is_told_too() -> None:
    async with following(Sessions(session(batch(row(0))), session(batch(row(4))))) as batches:
        await anext(batches)
        with pytest.raises(RecordsTrimmedError):
            await anext(batches)


@in_virtual_time
async def test_an_emptied_stream_is_told_by_the_ping_that_comes_without_its_records() -> None:
    kept = httpx.Response(200, json={"records": [row(9)]})
    async with following(Sessions(session(Open(ping(10))), kept=kept), 3) as batches:
        with pytest.raises(RecordsTrimmedError) as caught:
            await anext(batches)
    assert caught.value.first_seq_num == 9


@in_virtual_time
async def test_a_ping_that_overtakes_a_batch_is_no_gap() -> None:
    kept = httpx.Response(200, json={"records": [row(3)]})
    sessions = Sessions(session(Open(ping(5), batch(row(3), row(4)), ping(5))), kept=kept)
    async with following(sessions, 3) as batches:
        assert await take(batches, 2) == [([3, 4], False), ([], True)]


@in_virtual_time
async def test_nothing_is_opened_before_the_first_batch_is_asked_for() -> None:
    sessions = Sessions(session(Open(ping(0))))
    async with following(sessions):
        await asyncio.sleep(0)
    assert sessions.starts == []


@in_virtual_time
async def test_a_cancelled_follow_closes_its_session() -> None:
    body = Open(ping(0))
    async with following(Sessions(session(body))) as batches:
        await anext(batches)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert body.is_closed
