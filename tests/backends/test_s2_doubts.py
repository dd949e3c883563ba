"""Sessions that only ping, on a log whose other requests fail: when they are opened again, and when they are left."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.s2.reopening import REOPENED_PER_SECOND, ROUND_SECONDS
from resumable_stream.exceptions import ResumableStreamError
from resumable_stream.records import Record

from ..support.virtual_time import in_virtual_time
from .s2_tools import batch, following, mocked, ping, refusal, row, session

Outcome = Callable[[], httpx.Response]


class OnlyPings(httpx.AsyncByteStream):
    """A body that delivers ``parts`` and then pings for ever."""

    def __init__(self, *parts: bytes, tail: int) -> None:
        self._parts = parts
        self._ping = ping(tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        while True:
            yield self._ping
            await asyncio.sleep(1)


class HalfDeadLog:
    """Delivers in each session what there is at that time, and then only pings; every other request meets ``fault``."""

    def __init__(self, fault: Outcome) -> None:
        self.fault = fault
        self.tail = 6
        self.opened: list[tuple[str, int, float]] = []
        """Stream, position and time of each session."""
        self.backend = mocked(self._answer, retry_seconds=0.01)
        self.may_open = asyncio.Event()
        self.may_open.set()

    @property
    def positions(self) -> list[int]:
        return [position for _, position, _ in self.opened]

    async def fail(self, stream: str) -> None:
        with pytest.raises(ResumableStreamError):
            await self.backend.append(stream, [Record("x")], match_seq_num=6)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] != "text/event-stream":
            return self.fault()
        stream, start = request.url.path.split("/")[3], int(request.url.params["seq_num"])
        self.opened.append((stream, start, asyncio.get_running_loop().time()))
        await self.may_open.wait()
        rows = [row(position) for position in range(start, self.tail)]
        return session(OnlyPings(*([batch(*rows)] if rows else []), tail=self.tail))


def raises(error: Exception) -> Outcome:
    def outcome() -> httpx.Response:
        raise error

    return outcome


def out_of_files() -> httpx.Response:
    raise httpx.ConnectError("no") from OSError(errno.EMFILE, "Too many open files")


FAILURES = {
    "refused connection": raises(httpx.ConnectError("refused")),
    "reset": raises(httpx.ReadError("reset")),
    "no answer": raises(TimeoutError()),
    "500": lambda: refusal(500, "storage"),
    "503": lambda: refusal(503, "unavailable"),
}
REFUSALS = {
    "another token": lambda: httpx.Response(412, json={"fencing_token_mismatch": "theirs"}),
    "too much": lambda: refusal(429, "rate_limited"),
    "invalid": lambda: refusal(422, "invalid"),
    "no files left here": out_of_files,
}


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("is_waiting", [True, False], ids=["waiting reader", "busy reader"])
@in_virtual_time
async def test_a_session_of_a_stream_whose_append_failed_is_opened_again_where_it_was(
    fault: Outcome, is_waiting: bool
) -> None:
    log = HalfDeadLog(fault)
    async with following(log.backend, "s", 5) as batches:
        assert (await anext(batches)).records[0].seq_num == 5
        assert (await anext(batches)).caught_up
        waiting = asyncio.ensure_future(anext(batches)) if is_waiting else None
        await asyncio.sleep(20)
        log.tail = 8

        await log.fail("s")

        found = await (waiting or anext(batches))
        assert [record.seq_num for record in found.records] == [6, 7]
    assert log.positions == [5, 6]


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
@in_virtual_time
async def test_a_log_that_refuses_works(fault: Outcome) -> None:
    log = HalfDeadLog(fault)
    async with following(log.backend, "s", 6) as batches:
        assert (await anext(batches)).caught_up
        waiting = asyncio.ensure_future(anext(batches))

        await log.fail("s")

        await asyncio.sleep(100)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert len(log.opened) == 1


@in_virtual_time
async def test_a_session_that_is_just_being_opened_when_a_request_fails_is_opened_again() -> None:
    log = HalfDeadLog(FAILURES["reset"])
    log.may_open.clear()
    async with following(log.backend, "s", 5) as batches:
        first = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(1)
        await log.fail("s")
        log.may_open.set()

        assert [record.seq_num for record in (await first).records] == [5]
        assert (await anext(batches)).caught_up
        log.tail = 7
        assert [record.seq_num for record in (await anext(batches)).records] == [6]
    assert log.positions == [5, 6]


async def idle_readers(stack: AsyncExitStack, backend: S2Backend, count: int) -> None:
    """Open a follow on each of ``count`` streams; all wait at their tails until the stack is left."""

    async def read(stream: str) -> None:
        async with following(backend, stream, 6) as batches:
            async for _ in batches:
                pass

    readers = [asyncio.create_task(read(f"s{number}")) for number in range(count)]

    async def end() -> None:
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)

    stack.push_async_callback(end)
    await asyncio.sleep(1)


@in_virtual_time
async def test_one_failure_reopens_the_sessions_of_all_streams_once_and_not_all_together() -> None:
    log, count = HalfDeadLog(FAILURES["reset"]), 3 * REOPENED_PER_SECOND
    async with AsyncExitStack() as stack:
        await idle_readers(stack, log.backend, count)
        began = [stream for stream, _, _ in log.opened]
        assert len(began) == count

        await log.fail("another")

        await asyncio.sleep(100)
        again = log.opened[count:]
        assert sorted(stream for stream, _, _ in again) == sorted(began)
        in_each_second = Counter(int(time) for _, _, time in again)
        assert max(in_each_second.values()) < 2 * REOPENED_PER_SECOND


@in_virtual_time
async def test_failures_that_go_on_reopen_the_sessions_of_other_streams_once_a_round() -> None:
    log = HalfDeadLog(FAILURES["503"])
    async with AsyncExitStack() as stack:
        await idle_readers(stack, log.backend, 1)
        began = asyncio.get_running_loop().time()

        for _ in range(100):
            await log.fail("another")
            await asyncio.sleep(ROUND_SECONDS / 20)

        times = [time - began for _, _, time in log.opened[1:]]
        rounds = [round(time / ROUND_SECONDS) for time in times]
        assert rounds == list(range(len(rounds)))
        assert len(rounds) >= 5
