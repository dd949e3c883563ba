"""Every status and shape by which S2 refuses, as the caller of the backend sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import httpx
import pytest

from resumable_stream.backends.s2.errors import retry_after
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    FencingTokenMismatchError,
    InvalidBackendError,
    InvalidRecordError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    ResumableStreamError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from resumable_stream.records import Record

from ..support.virtual_time import in_virtual_time
from .s2_tools import ack, mocked, refusal, row

ENDPOINT = {"account_endpoint": "http://127.0.0.1:1", "basin_endpoint": "http://127.0.0.1:1"}
RECORDS = [Record("x")]


class Server:
    """Gives its answers in turn, the last one for ever, and counts the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = answers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses between tries instead of taking them."""
    recorded: list[float] = []

    async def sleep(seconds: float) -> None:
        recorded.append(seconds)

    monkeypatch.setattr("resumable_stream.backends.s2.backoff.asyncio.sleep", sleep)
    return recorded


async def append_error(server: Server) -> ResumableStreamError:
    with pytest.raises(ResumableStreamError) as caught:
        await mocked(server, **ENDPOINT).append("s", RECORDS, fencing_token="t", match_seq_num=3)
    return caught.value


async def read_error(server: Server) -> ResumableStreamError:
    with pytest.raises(ResumableStreamError) as caught:
        await mocked(server, **ENDPOINT).read("s", 3)
    return caught.value


@pytest.mark.parametrize("code", ["bad_header", "bad_path", "bad_query", "bad_json", "bad_proto", "bad_frame"])
@in_virtual_time
async def test_what_s2_cannot_parse_is_an_invalid_append_with_its_words(code: str) -> None:
    server = Server(refusal(400, code, "body must be\n  a string"))
    error = await append_error(server)
    assert isinstance(error, InvalidRecordError)
    assert f"400 {code}: body must be a string" in str(error)
    assert len(server.requests) == 1


@in_virtual_time
async def test_what_breaks_s2s_rules_is_an_invalid_append() -> None:
    assert isinstance(await append_error(Server(refusal(422, "invalid"))), InvalidRecordError)


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (refusal(401, "authn"), "S2_ACCESS_TOKEN"),
        (httpx.Response(401), "S2_ACCESS_TOKEN"),
        (refusal(404, "access_token_not_found"), "S2_ACCESS_TOKEN"),
        (refusal(403, "permission_denied"), "S2_ACCESS_TOKEN"),
        (refusal(404, "basin_not_found"), "S2_BASIN"),
        (refusal(409, "basin_deletion_pending"), "S2_BASIN"),
        (httpx.Response(404), "S2_BASIN_ENDPOINT"),
        (httpx.Response(301, headers={"location": "https://elsewhere"}), "S2_BASIN_ENDPOINT"),
        (httpx.Response(403, text="<html>blocked</html>"), "S2_BASIN_ENDPOINT"),
        (httpx.Response(413, text="too large for this proxy"), "S2_BASIN_ENDPOINT"),
    ],
    ids=lambda value: str(value.status_code) if isinstance(value, httpx.Response) else value,
)
@pytest.mark.parametrize("fails", [append_error, read_error], ids=["append", "read"])
@in_virtual_time
async def test_a_wrong_setting_is_named_at_once(
    fails: Callable[[Server], Any], answer: httpx.Response, setting: str
) -> None:
    server = Server(answer)
    error = await fails(server)
    assert isinstance(error, InvalidBackendError)
    assert f"environment variable {setting}." in str(error)
    assert len(server.requests) == 1


@in_virtual_time
async def test_an_exceeded_quota_is_no_fault_of_the_token() -> None:
    error = await append_error(Server(refusal(403, "quota_exhausted", "over the limit")))
    assert isinstance(error, BackendUnavailableError)
    assert "over the limit" in str(error)


@in_virtual_time
async def test_a_refused_condition_carries_the_truth() -> None:
    error = await append_error(Server(httpx.Response(412, json={"fencing_token_mismatch": "other"})))
    assert isinstance(error, FencingTokenMismatchError)
    assert error.actual == "other"
    error = await append_error(Server(httpx.Response(412, json={"seq_num_mismatch": 7})))
    assert isinstance(error, SeqNumMismatchError)
    assert error.expected == 7


UNKNOWN = [
    refusal(408, "request_timeout"),
    refusal(499, "client_hangup"),
    refusal(500, "other"),
    refusal(500, "storage"),
    refusal(503, "unavailable"),
    refusal(504, "upstream_timeout"),
    httpx.Response(500),
    httpx.Response(502, text="Bad Gateway"),
    httpx.Response(503, text="a proxy's page"),
    httpx.Response(504),
    httpx.Response(200, text="<html>no acknowledgement</html>"),
    httpx.Response(200, json={"start": {}}),
    httpx.ReadTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("closed"),
    ConnectionResetError(),
]


@pytest.mark.parametrize("answer", UNKNOWN, ids=repr)
@in_virtual_time
async def test_an_append_without_a_definite_answer_is_sent_once_and_called_unknown(
    answer: httpx.Response | Exception,
) -> None:
    server = Server(answer, ack(3, 4))
    error = await append_error(server)
    assert isinstance(error, AppendOutcomeUnknownError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", UNKNOWN[:10] + UNKNOWN[12:], ids=repr)
@in_virtual_time
async def test_a_read_without_a_definite_answer_is_repeated(answer: httpx.Response | Exception) -> None:
    server = Server(answer, httpx.Response(200, json={"records": [row(3, "x")]}))
    batch = await mocked(server).read("s", 3)
    assert [record.body for record in batch.records] == ["x"]
    assert len(server.requests) == 2


NOT_APPLIED = [
    refusal(409, "transaction_conflict"),
    refusal(409, "stream_deletion_pending"),
    refusal(429, "rate_limited"),
    httpx.Response(429),
    refusal(502, "hot_server"),
    refusal(503, "server_draining"),
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("no route"),
    httpx.PoolTimeout("all busy"),
]


@pytest.mark.parametrize("answer", NOT_APPLIED, ids=repr)
@in_virtual_time
async def test_an_append_that_was_surely_not_applied_is_sent_again_as_it_was(
    answer: httpx.Response | Exception,
) -> None:
    server = Server(answer, answer, ack(3, 4))
    found = await mocked(server).append("s", RECORDS, fencing_token="t", match_seq_num=3)
    assert (found.start, found.end) == (3, 4)
    first, second, third = server.requests
    assert first.content == second.content == third.content


@pytest.mark.parametrize("answer", NOT_APPLIED, ids=repr)
@in_virtual_time
async def test_retries_of_an_append_end_in_an_error_that_says_that_nothing_was_applied(
    answer: httpx.Response | Exception,
) -> None:
    server = Server(answer)
    assert isinstance(await append_error(server), BackendUnavailableError)
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    "cause",
    [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(104, "Connection reset by peer")],
    ids=repr,
)
@in_virtual_time
async def test_a_lost_connection_is_not_taken_for_one_that_never_was(cause: Exception) -> None:
    # What httpx-aiohttp, which a user may bring, makes of each of these causes.
    error = httpx.ConnectTimeout("")
    error.__cause__ = cause
    assert isinstance(await append_error(Server(error)), AppendOutcomeUnknownError)


@in_virtual_time
async def test_an_unreachable_server_is_named_with_the_setting_that_says_where_it_is() -> None:
    error = await append_error(Server(httpx.ConnectError("Connection refused")))
    assert "http://127.0.0.1:1/v1" in str(error)
    assert "S2_BASIN_ENDPOINT" in str(error)


@in_virtual_time
async def test_too_many_open_files_are_no_fault_of_the_server() -> None:
    error = await append_error(Server(OSError(24, "Too many open files")))
    assert "raise its limit" in str(error)


@in_virtual_time
async def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(AppendOutcomeUnknownError):
        await mocked(handler, timeout=0.01).append("s", RECORDS)
    with pytest.raises(BackendUnavailableError):
        await mocked(handler, timeout=0.01).read("s", 0)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "700", "retry-after": "1"}, 0.7),
    ],
    ids=str,
)
@in_virtual_time
async def test_the_pause_that_s2_asks_for_is_made_even_if_it_is_longer_than_our_patience(
    waits: list[float], headers: dict[str, str], wait: float
) -> None:
    server = Server(refusal(429, "rate_limited", **headers), ack(3, 4))
    await mocked(server).append("s", RECORDS)
    assert waits == [wait]


@in_virtual_time
async def test_a_pause_that_is_too_long_to_make_is_left_to_the_caller(waits: list[float]) -> None:
    server = Server(httpx.Response(429, headers={"retry-after": "3600"}))
    assert isinstance(await append_error(server), BackendUnavailableError)
    assert waits == []


def test_a_retry_date_is_turned_into_seconds_and_nonsense_ignored() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    asked = retry_after({"retry-after": date})
    assert asked is not None
    assert 0 < asked <= 100
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({}) is None


@in_virtual_time
async def test_an_append_to_a_basin_that_creates_no_streams_names_the_cure() -> None:
    error = await append_error(Server(refusal(404, "stream_not_found")))
    assert isinstance(error, InvalidBackendError)
    assert "manage.py resumable_stream setup" in str(error)


@in_virtual_time
async def test_an_append_outlives_a_stream_that_another_one_is_just_creating() -> None:
    found = await mocked(Server(refusal(404, "stream_not_found"), ack(3, 4))).append("s", RECORDS)
    assert found.end == 4


@pytest.mark.parametrize("code", ["stream_not_found", "stream_deletion_pending"])
@in_virtual_time
async def test_a_stream_that_is_gone_or_going_is_not_found_by_readers(code: str) -> None:
    error = await read_error(Server(refusal(404 if code == "stream_not_found" else 409, code)))
    assert isinstance(error, StreamNotFoundError)
    assert error.stream_name == "s"


@in_virtual_time
async def test_a_read_beyond_the_tail_says_where_that_is_and_one_at_the_tail_is_empty() -> None:
    unwritten = httpx.Response(416, json={"tail": {"seq_num": 2, "timestamp": 1}})
    error = await read_error(Server(unwritten))
    assert isinstance(error, ReadUnwrittenError)
    assert error.tail == 2
    assert (await mocked(Server(unwritten)).read("s", 2)).records == ()


@in_virtual_time
async def test_a_read_that_begins_later_than_asked_says_what_is_kept() -> None:
    error = await read_error(Server(httpx.Response(200, json={"records": [row(8), row(9)]})))
    assert isinstance(error, RecordsTrimmedError)
    assert error.first_seq_num == 8


@in_virtual_time
async def test_a_read_of_an_emptied_stream_says_that_nothing_below_the_tail_is_kept() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/tail"):
            return httpx.Response(200, json={"tail": {"seq_num": 9, "timestamp": 5}}, headers={"date": DATE})
        return httpx.Response(200, json={"records": []})

    with pytest.raises(RecordsTrimmedError) as caught:
        await mocked(handler).read("s", 3)
    assert caught.value.first_seq_num == 9


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


def tail_answers(*, tail: int, batches: Iterator[list[int]]) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/tail"):
            return httpx.Response(200, json={"tail": {"seq_num": tail, "timestamp": 5}}, headers={"date": DATE})
        return httpx.Response(200, json={"records": [row(at) for at in next(batches)]}, headers={"date": DATE})

    return handler


@in_virtual_time
async def test_the_last_records_are_completed_when_one_answer_did_not_hold_them() -> None:
    found = await mocked(tail_answers(tail=6, batches=iter([[2, 3], [2, 3, 4], [5]]))).tail("s", last=4)
    assert found.seq_num == 6
    assert [record.seq_num for record in found.records] == [2, 3, 4, 5]
    assert found.server_time == 1445412480000


@in_virtual_time
async def test_the_tail_of_an_emptied_stream_has_no_records() -> None:
    found = await mocked(tail_answers(tail=6, batches=iter([[], []]))).tail("s", last=2)
    assert (found.seq_num, found.records) == (6, ())


@in_virtual_time
async def test_an_answer_without_a_date_tells_no_time() -> None:
    answer = httpx.Response(200, json={"tail": {"seq_num": 1, "timestamp": 5}})
    with pytest.raises(BackendUnavailableError, match="no Date header"):
        await mocked(Server(answer)).tail("s")


@in_virtual_time
async def test_a_delete_whose_first_answer_was_lost_is_not_failed_by_its_own_success() -> None:
    await mocked(Server(httpx.ReadError("reset"), refusal(404, "stream_not_found"))).delete_stream("s")
    with pytest.raises(StreamNotFoundError):
        await mocked(Server(refusal(404, "stream_not_found"))).delete_stream("s")


@in_virtual_time
async def test_a_listing_goes_on_behind_streams_that_are_being_deleted() -> None:
    created = "2026-01-01T00:00:00.5Z"
    gone = {"name": "a", "created_at": created, "deleted_at": created}
    kept = {"name": "b", "created_at": created, "deleted_at": None}
    server = Server(
        httpx.Response(200, json={"streams": [gone], "has_more": True}),
        httpx.Response(200, json={"streams": [kept], "has_more": False}),
    )
    found = await mocked(server).list_streams(limit=1)
    assert [(stream.name, stream.created_at) for stream in found.streams] == [("b", 1767225600500)]
    assert not found.has_more
    assert server.requests[1].url.params["start_after"] == "a"
