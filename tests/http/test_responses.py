from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path

from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    FencingTokenMismatchError,
    GenerationActiveError,
    GenerationLostError,
    HTTPVersionError,
    InvalidBackendError,
    InvalidRecordError,
    InvalidRequestError,
    LimitExceededError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    RequestTooLargeError,
    ResumableStreamError,
    ShuttingDownError,
    StreamNotFoundError,
    UnsupportedMediaTypeError,
)
from resumable_stream.formats import get_format
from resumable_stream.http.responses import EventStreamResponse, error_response, event_stream, plain
from resumable_stream.limits import Places
from resumable_stream.protocol.layout import Cause, EndFacts, terminal_records
from resumable_stream.readers.hub import Hub
from resumable_stream.readers.reader import Reader
from resumable_stream.records import Record
from resumable_stream.types import EndReason

from ..support.event_source import parse
from ..support.logs import SECRET, FaultyLog, unavailable, use_faulty_log
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = [pytest.mark.urls("tests.http.test_responses"), pytest.mark.log_settings(REAUTHORIZE_SECONDS=60)]

View = Callable[[], HttpResponseBase]
served: list[View] = []


async def answer(request: HttpRequest) -> HttpResponseBase:
    return served[-1]()


urlpatterns = [path("", answer)]


def terminal(reason: EndReason = EndReason.FINISHED, text: str = "", cause: Cause | None = None) -> list[Record]:
    return terminal_records([], EndFacts(generation_id="g" * 20, reason=reason, text=text, cause=cause), back=None)


def response_for(log: FaultyLog, *, name: str = "text", check: Any = None, **options: Any) -> EventStreamResponse:
    reader = Reader(Hub(), log, "s", 0, **options)
    return event_stream(reader, get_format(name), Places("Full.").take("", limit=None, limit_per_key=None), check=check)


async def body_of(response: EventStreamResponse) -> bytes:
    return b"".join([part async for part in response])


# -- event streams -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "text", "cause", "data"),
    [
        (EndReason.FINISHED, "", None, '{"reason":"finished"}'),
        (EndReason.STOPPED, "", None, '{"reason":"stopped"}'),
        (EndReason.FAILED, "Sorry.", None, '{"reason":"failed","error":"Sorry."}'),
        (EndReason.INTERRUPTED, "Gone.", None, '{"reason":"interrupted","error":"Gone."}'),
        (EndReason.INTERRUPTED, "Gone.", Cause.SHUTDOWN, '{"reason":"interrupted","error":"Gone.","cause":"shutdown"}'),
    ],
)
@in_virtual_time
async def test_a_body_ends_with_how_it_ended_where_the_client_takes_that(
    log: FaultyLog, reason: EndReason, text: str, cause: Cause | None, data: str
) -> None:
    await log.append("s", [Record('"1"'), *terminal(reason, text, cause)])
    events = parse(await body_of(response_for(log)))

    assert events[-1] == ("end", data, "3")
    assert len(events) == 2


@in_virtual_time
async def test_a_body_ends_with_its_last_chunk_where_the_client_takes_that(log: FaultyLog) -> None:
    await log.append("s", [Record('{"type":"finish"}'), *terminal()])

    assert parse(await body_of(response_for(log, name="aisdk")))[-1].data == '{"type":"finish"}'


@in_virtual_time
async def test_a_long_replay_is_sent_in_few_pieces_and_live_chunks_one_by_one(
    log: FaultyLog,
) -> None:
    for _ in range(4):
        await log.append("s", [Record('"replayed"')] * 1000)
    served.append(lambda: response_for(log))
    exchange = Visitor().begin("GET", "/")
    await exchange.until(lambda it: it.body.count(b"replayed") == 4000)
    assert exchange.sends < 20
    before = exchange.sends
    for _ in range(5):
        await log.append("s", [Record('"live"')])
        await settle()
    assert exchange.sends == before + 5
    await log.append("s", terminal())
    await exchange.done()

    assert exchange.is_complete


@in_virtual_time
async def test_an_idle_reader_gets_comments(settings: Any) -> None:
    log = use_faulty_log(settings, KEEPALIVE_SECONDS=15)
    await log.append("s", [Record('"1"')])
    response = response_for(log)
    reading = asyncio.create_task(body_of(response))
    await asyncio.sleep(50)
    await log.append("s", terminal())

    assert (await reading).count(b": keep-alive\n\n") == 3


@pytest.mark.parametrize("after", [0, 1], ids=["before the first chunk", "in mid-answer"])
@in_virtual_time
async def test_a_log_that_stays_away_tears_the_connection_down(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    await log.append("s", [Record('"1"')])
    served.append(lambda: response_for(log))
    if after == 0:
        log.always("read", unavailable)
    log.always("follow", unavailable)
    exchange = await Visitor().get("/")

    assert exchange.status == 200
    assert not exchange.is_complete
    assert exchange.body.count(b'"1"') == after
    assert SECRET not in exchange.text
    assert "reader cut off" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@in_virtual_time
async def test_a_place_is_given_back_however_the_response_ends(log: FaultyLog) -> None:
    await log.append("s", [Record('"1"'), *terminal()])
    readers = Places("Full.")

    def make() -> EventStreamResponse:
        return event_stream(
            Reader(Hub(), log, "s", 0), get_format("text"), readers.take("ada", limit=None, limit_per_key=None)
        )

    finished = make()
    await body_of(finished)
    assert readers.taken == {}

    unread = make()
    unread.close()
    assert readers.taken == {}

    left = make()
    parts = aiter(left)
    await anext(parts)
    assert readers.taken == {"ada": 1}
    await parts.aclose()  # type: ignore[attr-defined]
    assert readers.taken == {}


@in_virtual_time
async def test_a_middleware_may_wrap_the_body(log: FaultyLog) -> None:
    await log.append("s", [Record('"1"'), *terminal()])
    response = response_for(log)
    inner = response.streaming_content

    async def shout() -> AsyncIterator[bytes]:
        async for part in inner:
            yield part.upper()

    response.streaming_content = shout()

    assert b"EVENT: END" in await body_of(response)


@pytest.mark.parametrize("name", ["text", "aisdk"])
@in_virtual_time
async def test_a_reader_that_loses_its_right_is_told_and_ends_cleanly(log: FaultyLog, name: str) -> None:
    await log.append("s", [Record('{"type":"start","messageId":"m"}')])
    checks = iter([True, False])

    async def check() -> bool:
        return next(checks)

    reading = asyncio.create_task(body_of(response_for(log, name=name, check=check, is_live=True)))
    await asyncio.sleep(61)
    assert not reading.done()
    await log.append("s", [Record('"still"')])
    await asyncio.sleep(61)
    await log.append("s", [Record('"not any more"')])
    body = await reading

    assert b"still" in body
    assert b"You no longer have access to this chat." in body
    assert parse(body)[-1].last_event_id != ""


@in_virtual_time
async def test_an_idle_reader_is_checked_too(log: FaultyLog) -> None:
    await log.append("s", [Record('"1"')])

    async def check() -> bool:
        return False

    clock = asyncio.get_running_loop().time
    await body_of(response_for(log, check=check))

    assert 60 <= clock() <= 80


# -- errors --------------------------------------------------------------------------------------------------------

FOR_CLIENTS: list[ResumableStreamError] = [
    InvalidRequestError("Say more."),
    RequestTooLargeError("Say less."),
    UnsupportedMediaTypeError("Say JSON."),
    GenerationActiveError("g1"),
    HTTPVersionError(),
    LimitExceededError("Slowly.", retry_after=9),
    ShuttingDownError(retry_after=3),
]
NOT_FOR_CLIENTS: list[ResumableStreamError] = [
    InvalidBackendError(SECRET),
    InvalidRecordError(SECRET),
    StreamNotFoundError(SECRET),
    FencingTokenMismatchError(SECRET),
    GenerationLostError(SECRET),
    AppendOutcomeUnknownError(SECRET),
    BackendUnavailableError(SECRET),
    ReadUnwrittenError(5),
    RecordsTrimmedError(5),
]


@pytest.mark.parametrize("error", FOR_CLIENTS, ids=lambda error: type(error).__name__)
def test_a_clients_own_mistake_is_told_and_not_logged(
    error: ResumableStreamError, caplog: pytest.LogCaptureFixture
) -> None:
    response = error_response(error)

    assert response.content.decode() == str(error)
    assert response.status_code == error.status_code
    assert response.headers["Cache-Control"] == "no-store"
    assert caplog.records == []


@pytest.mark.parametrize("error", NOT_FOR_CLIENTS, ids=lambda error: type(error).__name__)
def test_anything_else_tells_nothing_and_is_logged_once(
    error: ResumableStreamError, caplog: pytest.LogCaptureFixture
) -> None:
    response = error_response(error)
    (record,) = caplog.records

    assert response.status_code == error.status_code
    assert response.content
    assert SECRET not in response.content.decode() + str(response.headers)
    assert str(error) in record.getMessage()
    assert (record.levelno >= logging.ERROR) is (error.status_code >= 500)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (LimitExceededError("", retry_after=9), "9"),
        (ShuttingDownError(retry_after=3), "3"),
        (BackendUnavailableError(""), "2"),
        (AppendOutcomeUnknownError(""), "2"),
        (InvalidRequestError(""), None),
        (InvalidBackendError(""), None),
    ],
)
def test_clients_are_told_when_to_come_back(error: ResumableStreamError, seconds: str | None) -> None:
    assert error_response(error).headers.get("Retry-After") == seconds


def test_a_conflict_names_the_generation_if_it_is_known() -> None:
    assert error_response(GenerationActiveError("g1")).headers["X-Generation-Id"] == "g1"
    assert "X-Generation-Id" not in error_response(GenerationActiveError(None)).headers


def test_plain_answers_are_text_that_nobody_keeps() -> None:
    response = plain(202, "ä", generation_id="g1")

    assert (response.status_code, response.content) == (202, "ä".encode())
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Generation-Id"] == "g1"
