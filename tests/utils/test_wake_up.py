"""The wake-up signal that writers, readers and connections wait for."""

from __future__ import annotations

import asyncio

from resumable_stream.utils.wake_up import WakeUp


async def test_a_signal_wakes_the_task_that_waits_and_a_second_one_changes_nothing() -> None:
    signal = WakeUp()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    assert signal.is_awaited

    signal.send()
    signal.send()
    await waiting
    assert not signal.is_awaited


async def test_a_signal_that_comes_while_no_task_waits_is_not_kept() -> None:
    signal = WakeUp()
    signal.send()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    assert not waiting.done()

    signal.send()
    await waiting


async def test_a_signal_works_again_after_its_waiter_was_cancelled() -> None:
    signal = WakeUp()
    cancelled = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    assert not signal.is_awaited

    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.send()
    await waiting
