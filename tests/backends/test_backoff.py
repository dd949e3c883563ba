from __future__ import annotations

import asyncio

import pytest

from resumable_stream.backends.s2 import backoff
from resumable_stream.backends.s2.backoff import RetryDelays

from ..support.virtual_time import in_virtual_time


@pytest.fixture(autouse=True)
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resumable_stream.backends.s2.backoff.random.uniform", lambda low, high: high)


async def waited(waits: RetryDelays, asked: float | None = None) -> float | None:
    """Wait before the next try, and tell for how long; ``None`` if there should be none."""
    clock = asyncio.get_running_loop().time
    began = clock()
    return round(clock() - began, 3) if await waits.wait(asked) else None


@in_virtual_time
async def test_waits_grow_up_to_the_longest_and_end_with_the_patience() -> None:
    waits = RetryDelays(10, first=1, longest=4)
    assert [await waited(waits) for _ in range(5)] == [1, 2, 4, 4, None]


@in_virtual_time
async def test_a_sign_of_life_renews_the_patience_but_not_the_haste() -> None:
    waits = RetryDelays(4, first=1, longest=4)
    found = []
    for _ in range(6):
        found.append(await waited(waits))
        waits.got_a_sign()
    assert found == [1, 2, 4, 4, 4, 4]


@in_virtual_time
async def test_after_a_steady_while_a_failure_counts_as_the_first() -> None:
    waits = RetryDelays(100, first=1, longest=4)
    assert [await waited(waits) for _ in range(2)] == [1, 2]
    waits.got_a_sign()
    await asyncio.sleep(backoff.STEADY_SECONDS + 1)
    assert await waited(waits) == 1


@in_virtual_time
async def test_an_asked_wait_is_made_in_full_unless_it_is_too_long() -> None:
    waits = RetryDelays(2, first=1, longest=4)
    assert [await waited(waits, 20) for _ in range(2)] == [20, None]
    assert await waited(RetryDelays(100), backoff.LONGEST_ASKED_WAIT + 1) is None


@in_virtual_time
async def test_after_something_was_achieved_a_failure_counts_as_the_first() -> None:
    waits = RetryDelays(4, first=1, longest=4)
    found = []
    for _ in range(6):
        found.append(await waited(waits))
        waits.got_on()
    assert found == [1, 1, 1, 1, 1, 1]
