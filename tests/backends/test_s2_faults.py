"""Real faults on the way to a real s2-lite: connections cut and stalled, the server killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.s2 import api as s2_http
from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from resumable_stream.records import Record
from resumable_stream.testing import Probe, read_all

from ..s2_lite import S2Lite
from .fault_proxy import Fault, FaultProxy, fault_proxy
from .s2_tools import ping

MakeBackend = Callable[..., S2Backend]


@pytest.fixture
async def proxy(s2_server: S2Lite) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(s2_server.port) as proxy:
        yield proxy


@pytest.fixture
async def make_backend(s2_server: S2Lite, proxy: FaultProxy) -> AsyncIterator[MakeBackend]:
    """Make backends that reach the server through the proxy."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> S2Backend:
            backend = S2Backend("default", s2_server.options(**proxy.options, **options))
            stack.push_async_callback(backend.close)
            return backend

        yield make


async def bodies(backend: S2Backend, stream: str) -> list[str]:
    return [record.body for record in await read_all(backend, stream)]


@pytest.mark.parametrize(("fault", "is_applied"), [(Fault.CUT_BEFORE, False), (Fault.CUT_AFTER, True)])
@pytest.mark.parametrize("is_first", [True, False], ids=["new connection", "kept connection"])
async def test_a_cut_append_is_unknown_and_resolved_by_sending_it_again(
    make_backend: MakeBackend,
    proxy: FaultProxy,
    s2: S2Backend,
    stream: str,
    fault: Fault,
    is_applied: bool,
    is_first: bool,
) -> None:
    await s2.append(stream, [Record("before")])
    backend = make_backend()
    if not is_first:
        await backend.tail(stream)
    proxy.fault = fault
    with pytest.raises(AppendOutcomeUnknownError):
        await backend.append(stream, [Record("a"), Record("b")], match_seq_num=1)
    proxy.fault = Fault.NONE
    assert (await s2.tail(stream)).seq_num == (3 if is_applied else 1)
    if is_applied:
        with pytest.raises(SeqNumMismatchError) as caught:
            await backend.append(stream, [Record("a"), Record("b")], match_seq_num=1)
        assert caught.value.expected == 3
    else:
        await backend.append(stream, [Record("a"), Record("b")], match_seq_num=1)
    assert await bodies(s2, stream) == ["before", "a", "b"]


@pytest.mark.parametrize("passed", [1, 20, 100, 200])
async def test_an_acknowledgement_that_comes_in_part_is_unknown(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str, passed: int
) -> None:
    proxy.answer_bytes = passed
    with pytest.raises(AppendOutcomeUnknownError):
        await make_backend().append(stream, [Record("x")])
    assert await bodies(s2, stream) == ["x"]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Timeout]:
    """The time limits of requests, so that a test can say when they are over; the last one is the newest."""
    found: list[asyncio.Timeout] = []

    def timeout(seconds: float) -> asyncio.Timeout:
        found.append(asyncio.timeout(seconds))
        return found[-1]

    monkeypatch.setattr(s2_http, "asyncio", SimpleNamespace(timeout=timeout))
    return found


async def test_an_append_without_an_answer_is_unknown_after_the_timeout(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str, limits: list[asyncio.Timeout]
) -> None:
    proxy.fault = Fault.STALL
    appending = asyncio.create_task(make_backend().append(stream, [Record("x")]))
    await proxy.hit.wait()
    limits[-1].reschedule(asyncio.get_running_loop().time())
    with pytest.raises(AppendOutcomeUnknownError):
        await appending
    assert await bodies(s2, stream) == ["x"]


async def test_a_large_append_that_is_cut_on_its_way_is_unknown_and_not_applied(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str
) -> None:
    proxy.fault = Fault.CUT_BEFORE
    with pytest.raises(AppendOutcomeUnknownError):
        await make_backend().append(stream, [Record("x" * 1_000_000)])
    with pytest.raises(StreamNotFoundError):
        await s2.tail(stream)


async def test_a_refused_connection_is_surely_not_applied_and_named(
    make_backend: MakeBackend, proxy: FaultProxy, stream: str
) -> None:
    await proxy.stop()
    backend = make_backend(retry_seconds=0.1)
    with pytest.raises(BackendUnavailableError, match="S2_BASIN_ENDPOINT"):
        await backend.append(stream, [Record("x")])
    with pytest.raises(BackendUnavailableError, match="S2_BASIN_ENDPOINT"):
        await backend.tail(stream)
    await proxy.start()


async def test_an_append_waits_for_a_server_that_is_back_soon(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str
) -> None:
    await proxy.stop()
    appending = asyncio.create_task(make_backend(retry_seconds=30).append(stream, [Record("x")]))
    await asyncio.sleep(0.05)
    await proxy.start()
    assert (await appending).end == 1
    assert await bodies(s2, stream) == ["x"]


@pytest.mark.parametrize("passed", [1, 100, 300])
async def test_a_read_that_is_cut_is_repeated(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str, passed: int
) -> None:
    await s2.append(stream, [Record("x" * 1000)])
    backend = make_backend()
    proxy.answer_bytes = passed
    assert await bodies(backend, stream) == ["x" * 1000]
    proxy.answer_bytes = passed
    assert (await backend.tail(stream, last=1)).records[0].body == "x" * 1000


@pytest.mark.parametrize("seed", range(5))
async def test_a_follow_that_is_cut_anywhere_brings_every_record_once(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str, seed: int
) -> None:
    draw = random.Random(seed)
    written = [f"{number} é😀\u2028" * draw.randint(1, 30) for number in range(200)]
    cuts = 0
    await s2.append(stream, [Record(written[0])])
    async with Probe(make_backend(), stream) as probe:
        for number, body in enumerate(written[1:], 1):
            if number % 10 == 0:
                proxy.hit.clear()
                proxy.answer_bytes = draw.randint(1, 3000)
                cuts += 1
            await s2.append(stream, [Record(body)], match_seq_num=number)
            if draw.random() < 0.3:
                await probe.until(number + 1)
        records = await probe.until(len(written))
    assert [record.body for record in records] == written
    assert cuts
    assert proxy.connections > 1


async def test_a_follow_that_falls_silent_is_opened_again(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str
) -> None:
    await s2.append(stream, [Record("a")])
    async with Probe(make_backend(stall_timeout=0.2), stream) as probe:
        await probe.until_caught_up()
        proxy.fault = Fault.STALL
        await s2.append(stream, [Record("b")])
        await proxy.hit.wait()  # The record is lost, and the connection stays open.
        proxy.fault = Fault.NONE
        assert [record.body for record in await probe.until(2)] == ["a", "b"]


@pytest.mark.parametrize("is_same_stream", [True, False], ids=["same stream", "another stream"])
async def test_a_follow_on_which_a_server_only_pings_is_opened_again_where_an_append_fails(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str, is_same_stream: bool
) -> None:
    written = stream if is_same_stream else f"{stream}/other"
    backend = make_backend()
    await s2.append(stream, [Record("a")])
    async with Probe(backend, stream) as probe:
        await probe.until_caught_up()
        await backend.append(written, [Record("b")])  # Leaves a connection that is used again.
        position = (await s2.tail(stream)).seq_num
        await probe.until(position)
        proxy.half_kill(ping(position))
        await s2.append(stream, [Record("c")])
        await proxy.hit.wait()  # The record is lost, and the connection stays open.
        reading = asyncio.create_task(probe.until(position + 2))

        with pytest.raises(AppendOutcomeUnknownError):
            await backend.append(written, [Record("never arrives")])
        await backend.append(stream, [Record("d")])

        assert [record.body for record in await reading] == await bodies(s2, stream)


async def test_a_follow_gives_up_on_a_server_that_stays_away(
    make_backend: MakeBackend, proxy: FaultProxy, s2: S2Backend, stream: str
) -> None:
    await s2.append(stream, [Record("a")])
    async with Probe(make_backend(follow_retry_seconds=0.2), stream) as probe:
        await probe.until_caught_up()
        await proxy.stop()
        with pytest.raises(BackendUnavailableError):
            await probe.next()
    await proxy.start()


async def test_a_killed_server_loses_nothing_that_was_acknowledged_and_the_follow_goes_on(
    durable_s2_server: S2Lite, stream: str
) -> None:
    backend = S2Backend("default", durable_s2_server.options())
    acknowledged: list[str] = []
    async with Probe(backend, stream) as probe:
        for round_ in range(3):
            writing = asyncio.create_task(write_until_it_fails(backend, stream, f"{round_}.", acknowledged))
            while len(acknowledged) < 20 * (round_ + 1):  # noqa: ASYNC110 - the writer has nothing else to say
                await asyncio.sleep(0.001)
            await asyncio.to_thread(durable_s2_server.kill)
            await writing
            await asyncio.to_thread(durable_s2_server.start)
            acknowledged += await resolved(backend, stream, len(acknowledged))
        followed = await probe.until(len(acknowledged))
    assert [record.body for record in followed] == acknowledged == await bodies(backend, stream)
    await backend.close()


async def write_until_it_fails(backend: S2Backend, stream: str, prefix: str, acknowledged: list[str]) -> None:
    try:
        while True:
            body = f"{prefix}{len(acknowledged)}"
            await backend.append(stream, [Record(body)], match_seq_num=len(acknowledged))
            acknowledged.append(body)
    except (AppendOutcomeUnknownError, BackendUnavailableError):
        return


async def resolved(backend: S2Backend, stream: str, position: int) -> list[str]:
    """Return what was applied without an acknowledgement: one append at most."""
    records = (await backend.read(stream, position)).records
    assert len(records) <= 1
    return [record.body for record in records]
