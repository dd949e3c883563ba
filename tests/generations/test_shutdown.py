from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.generations import shutdown
from resumable_stream.generations.shutdown import notice_signals

from ..support.logs import FaultyLog, use_faulty_log
from ..support.producers import Producer

LOOPS = [pytest.param(asyncio.SelectorEventLoop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]


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


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_server_that_takes_signals_through_its_loop_hears_of_them_after_the_drain(make_loop: Any) -> None:
    """As granian and gunicorn's own ASGI worker do."""
    got: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def handle(number: int) -> None:
            got.append(number)
            told.set()

        for number in (signal.SIGTERM, signal.SIGUSR1):
            loop.add_signal_handler(number, handle, number)
        drain = Drain()
        notice_signals(loop, drain)
        signal.raise_signal(signal.SIGTERM)
        await drain.begun.wait()
        # What it does not wait for comes through meanwhile.
        signal.raise_signal(signal.SIGUSR1)
        await told.wait()
        assert got == [signal.SIGUSR1]
        told.clear()
        drain.gate.set()
        await told.wait()
        assert got == [signal.SIGUSR1, signal.SIGTERM]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_second_signal_reaches_a_loops_handler_at_once(make_loop: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, told.set)
        drain = Drain()
        notice_signals(loop, drain)
        signal.raise_signal(signal.SIGTERM)
        await drain.begun.wait()
        assert not told.is_set()
        signal.raise_signal(signal.SIGTERM)
        await told.wait()
        drain.gate.set()

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())


# What is tested does not exist on Windows: there, no process inherits signal handlers.
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
async def test_a_forked_child_takes_its_signals_itself() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: None)
    drain = Drain()
    notice_signals(loop, drain)
    child = os.fork()
    if not child:
        signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    await asyncio.sleep(0)

    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert drain.graces == []
    loop.remove_signal_handler(signal.SIGUSR1)


def test_nothing_is_left_open_of_loops_that_have_ended() -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        notice_signals(asyncio.get_running_loop(), Drain())

    asyncio.run(main())
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        asyncio.run(main())

    assert len(os.listdir("/dev/fd")) == before


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
