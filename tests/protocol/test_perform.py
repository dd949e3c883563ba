from __future__ import annotations

import asyncio
from typing import Any

import pytest

from resumable_stream.exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    FencingTokenMismatchError,
    StreamNotFoundError,
)
from resumable_stream.protocol.effects import Append, Operation, Read, Tail
from resumable_stream.protocol.perform import Backoff, perform, read_patiently
from resumable_stream.records import AppendAck, ReadBatch, Record, StreamTail

from ..support.logs import FaultyLog, lost_before, never_answered, raising, unavailable
from ..support.virtual_time import in_virtual_time, settle


def append(text: str = "x", token: str | None = None) -> Operation[AppendAck]:
    ack: AppendAck = yield Append([Record(text)], token)
    return ack


@in_virtual_time
async def test_every_effect_is_carried_out_and_answered(log: FaultyLog) -> None:
    def operation() -> Operation[tuple[Any, Any, Any]]:
        return (yield Append([Record("x")], None)), (yield Read(0)), (yield Tail(1))

    ack, batch, tail = await perform(operation(), log, "s")

    assert isinstance(ack, AppendAck)
    assert isinstance(batch, ReadBatch)
    assert isinstance(tail, StreamTail)
    assert [record.body for record in batch.records] == ["x"]


@in_virtual_time
async def test_the_same_request_goes_again_while_the_log_is_unavailable(log: FaultyLog) -> None:
    log.then("append", unavailable, unavailable, unavailable)
    ack = await perform(append(), log, "s")

    assert ack.start == 0
    assert log.calls["append"] == 4
    assert len(log.records("s")) == 1


@in_virtual_time
async def test_an_unknown_outcome_is_left_to_the_operation(log: FaultyLog) -> None:
    def operation() -> Operation[str]:
        try:
            yield Append([Record("x")], None)
        except AppendOutcomeUnknownError:
            yield Append([Record("resolved")], None)
        return "done"

    log.then("append", lost_before)

    assert await perform(operation(), log, "s") == "done"
    assert [record.body for record in log.records("s")] == ["resolved"]


@in_virtual_time
async def test_a_refusal_is_thrown_where_the_operation_stands(log: FaultyLog) -> None:
    await log.append("s", [Record.fence("mine")])
    with pytest.raises(FencingTokenMismatchError) as refused:
        await perform(append(token="yours"), log, "s")

    assert refused.value.actual == "mine"


@pytest.mark.parametrize(
    ("fault", "error"), [(unavailable, BackendUnavailableError), (lost_before, AppendOutcomeUnknownError)]
)
@in_virtual_time
async def test_patience_ends(log: FaultyLog, fault: Any, error: type[Exception]) -> None:
    def stubborn() -> Operation[None]:
        while True:
            try:
                yield Append([Record("x")], None)
            except AppendOutcomeUnknownError:
                continue

    log.always("append", fault)
    clock = asyncio.get_running_loop().time
    with pytest.raises(error):
        await perform(stubborn(), log, "s", patience_seconds=20)

    assert 20 <= clock() <= 23


@in_virtual_time
async def test_patience_begins_anew_with_every_answer(log: FaultyLog) -> None:
    async def back_after_four_seconds(call: Any) -> Any:
        await asyncio.sleep(4)
        raise BackendUnavailableError("away")

    def operation() -> Operation[int]:
        for _ in range(3):
            try:
                yield Read(0)
            except StreamNotFoundError:
                log.then("read", back_after_four_seconds)
        return 3

    log.then("read", back_after_four_seconds)

    assert await perform(operation(), log, "s", patience_seconds=5) == 3


@in_virtual_time
async def test_a_bug_is_no_fault_of_the_log(log: FaultyLog) -> None:
    log.then("append", raising(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        await perform(append(), log, "s")


@in_virtual_time
async def test_a_cancelled_operation_is_closed(log: FaultyLog) -> None:
    is_closed = False

    def operation() -> Operation[None]:
        nonlocal is_closed
        try:
            yield Read(0)
        finally:
            is_closed = True

    log.then("read", never_answered)
    performing = asyncio.create_task(perform(operation(), log, "s"))
    await settle()
    performing.cancel()
    await asyncio.wait({performing})

    assert is_closed


@in_virtual_time
async def test_a_patient_read_waits_for_the_log_and_raises_what_it_says(log: FaultyLog) -> None:
    log.then("read", unavailable)
    with pytest.raises(StreamNotFoundError):
        await read_patiently(log, "s", 0, patience_seconds=5)
    await log.append("s", [Record("1"), Record("2")])
    log.then("read", unavailable)
    batch = await read_patiently(log, "s", 0, 1, patience_seconds=5)

    assert [record.body for record in batch.records] == ["1"]


def test_delays_double_up_to_a_bound_and_are_never_alike() -> None:
    backoff = Backoff()
    delays = [backoff.next() for _ in range(10)]

    assert all(0.025 <= delay <= 2 for delay in delays)
    assert delays[0] <= 0.05
    assert min(delays[6:]) >= 1
    assert len({Backoff().next() for _ in range(20)}) > 1
