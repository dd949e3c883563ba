from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream import shutdown
from resumable_stream.engine import ChatEngine
from resumable_stream.shutdown import notice_signals

from .support.logs import FaultyLog, use_faulty_log
from .support.producers import Producer


class Server:
    """What an ASGI server does with signals: notes them."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.told = asyncio.Event()

    def handle(self, number: int, _frame: Any) -> None:
        self.got.append(number)
        self.told.set()


class Drain:
    """Stands in for what has to be drained."""

    def __init__(self) -> None:
        self.graces: list[float] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, grace: float) -> None:
        self.graces.append(grace)
        self.begun.set()
        await self.gate.wait()


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Leave the test runner's own handlers as they were."""
    settings.RESUMABLE_STREAM = {"HANDLE_SIGNALS": True, "SHUTDOWN_GRACE_SECONDS": 7}
    monkeypatch.setattr(shutdown, "_signals", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def serve() -> Server:
    server = Server()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle)
    return server


async def test_the_server_hears_of_the_signal_when_this_process_has_drained() -> None:
    server, drain = serve(), Drain()
    notice_signals(asyncio.get_running_loop(), drain)
    signal.raise_signal(signal.SIGTERM)
    await drain.begun.wait()
    assert server.got == []
    drain.gate.set()
    await server.told.wait()

    assert server.got == [signal.SIGTERM]
    assert drain.graces == [7]


async def test_ctrl_c_gives_no_time() -> None:
    server, drain = serve(), Drain()
    notice_signals(asyncio.get_running_loop(), drain)
    drain.gate.set()
    signal.raise_signal(signal.SIGINT)
    await server.told.wait()

    assert drain.graces == [0]


async def test_a_second_signal_is_passed_on_at_once() -> None:
    server, drain = serve(), Drain()
    notice_signals(asyncio.get_running_loop(), drain)
    signal.raise_signal(signal.SIGTERM)
    await drain.begun.wait()
    signal.raise_signal(signal.SIGINT)

    assert server.got == [signal.SIGINT]
    drain.gate.set()
    await asyncio.sleep(0)


async def test_a_drain_that_fails_does_not_keep_the_server_from_ending() -> None:
    server = serve()

    async def failing(grace: float) -> None:
        raise RuntimeError("cannot drain")

    notice_signals(asyncio.get_running_loop(), failing)
    signal.raise_signal(signal.SIGTERM)
    await server.told.wait()
    assert server.got == [signal.SIGTERM]

    noticed = shutdown._signals
    assert noticed is not None
    assert noticed._task is not None
    await asyncio.wait({noticed._task})
    assert isinstance(noticed._task.exception(), RuntimeError)


async def test_signals_are_noticed_once_for_one_loop() -> None:
    serve()
    notice_signals(asyncio.get_running_loop(), Drain())
    first = signal.getsignal(signal.SIGTERM)
    notice_signals(asyncio.get_running_loop(), Drain())

    assert signal.getsignal(signal.SIGTERM) == first


def test_the_next_loop_takes_over_from_one_that_is_closed() -> None:
    server = serve()

    async def main() -> None:
        drain = Drain()
        drain.gate.set()
        notice_signals(asyncio.get_running_loop(), drain)
        signal.raise_signal(signal.SIGTERM)
        while not drain.graces:
            await drain.begun.wait()
        await asyncio.sleep(0)

    asyncio.run(main())
    asyncio.run(main())

    assert server.got == [signal.SIGTERM] * 2


def test_after_its_loop_a_signal_goes_straight_to_the_server() -> None:
    server = serve()

    async def main() -> None:
        notice_signals(asyncio.get_running_loop(), Drain())

    asyncio.run(main())
    signal.raise_signal(signal.SIGTERM)

    assert server.got == [signal.SIGTERM]


async def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    notice_signals(asyncio.get_running_loop(), Drain())

    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("where", ["the setting", "another thread"])
async def test_signals_can_be_left_to_others(settings: Any, where: str) -> None:
    server = serve()
    loop = asyncio.get_running_loop()
    if where == "the setting":
        settings.RESUMABLE_STREAM = {"HANDLE_SIGNALS": False}
        notice_signals(loop, Drain())
    else:
        thread = threading.Thread(target=notice_signals, args=(loop, Drain()))
        thread.start()
        thread.join()

    assert signal.getsignal(signal.SIGTERM) == server.handle


async def test_a_signal_ends_what_runs_before_the_server_hears_of_it(settings: Any) -> None:
    log: FaultyLog = use_faulty_log(settings, HANDLE_SIGNALS=True, SHUTDOWN_GRACE_SECONDS=0)
    server = serve()
    await ChatEngine(format="text").start("s", Producer("1"))
    signal.raise_signal(signal.SIGTERM)
    await server.told.wait()

    assert log.ends("s") == ["interrupted"]
