from __future__ import annotations

import pytest

from resumable_stream.backends import backoff
from resumable_stream.backends.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("resumable_stream.backends.backoff.time.monotonic", clock.monotonic)
    monkeypatch.setattr("resumable_stream.backends.backoff.asyncio.sleep", clock.sleep)
    monkeypatch.setattr("resumable_stream.backends.backoff.random.uniform", lambda low, high: high)
    return clock


async def test_waits_grow_up_to_the_longest_and_end_with_the_patience(clock: Clock) -> None:
    waits = Backoff(10, first=1, longest=4)
    while await waits.wait():
        pass
    assert clock.waits == [1, 2, 4, 4]


async def test_a_sign_of_life_renews_the_patience_but_not_the_haste(clock: Clock) -> None:
    waits = Backoff(4, first=1, longest=4)
    for _ in range(6):
        assert await waits.wait()
        waits.got_a_sign()
    assert clock.waits == [1, 2, 4, 4, 4, 4]


async def test_after_a_steady_while_a_failure_counts_as_the_first(clock: Clock) -> None:
    waits = Backoff(100, first=1, longest=4)
    await waits.wait()
    await waits.wait()
    waits.got_a_sign()
    clock.now += backoff.STEADY_SECONDS + 1
    await waits.wait()
    assert clock.waits == [1, 2, 1]


async def test_an_asked_wait_is_made_in_full_unless_it_is_too_long(clock: Clock) -> None:
    waits = Backoff(2, first=1, longest=4)
    assert await waits.wait(20)
    assert not await waits.wait(20)
    assert clock.waits == [20]
    assert not await Backoff(100).wait(backoff.LONGEST_ASKED_WAIT + 1)


async def test_after_something_was_achieved_a_failure_counts_as_the_first(clock: Clock) -> None:
    waits = Backoff(4, first=1, longest=4)
    for _ in range(6):
        assert await waits.wait()
        waits.got_on()
    assert clock.waits == [1, 1, 1, 1, 1, 1]
