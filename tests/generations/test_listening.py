from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from resumable_stream.generations.listening import watch_listening

from ..support.virtual_time import in_virtual_time


def listening(*, path: str | None = None) -> socket.socket:
    found = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    found.bind(path or ("127.0.0.1", 0))
    found.listen()
    return found


class Left:
    """Counts how often it was told that the server has left."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.mark.parametrize("family", ["TCP", "Unix"])
def test_a_server_that_listens_no_more_is_noticed_within_two_seconds(tmp_path: Path, family: str) -> None:
    path = str(tmp_path / "socket") if family == "Unix" else None

    @in_virtual_time
    async def test() -> None:
        left = Left()
        with listening(path=path) as server, listening():
            address: Any = (path, None) if path else server.getsockname()
            assert watch_listening(asyncio.get_running_loop(), address, left)
            await asyncio.sleep(10)
            assert left.times == 0
            server.close()
            await asyncio.sleep(2)
            assert left.times == 1
            await asyncio.sleep(10)
            assert left.times == 1

    test()


@in_virtual_time
async def test_another_file_in_the_sockets_place_does_not_pass_for_it() -> None:
    left = Left()
    server = listening()
    descriptor = server.fileno()
    assert watch_listening(asyncio.get_running_loop(), server.getsockname(), left)
    server.close()
    with socket.socket() as other:
        assert other.fileno() == descriptor
        await asyncio.sleep(2)

    assert left.times == 1


@in_virtual_time
async def test_of_two_sockets_at_one_address_both_must_be_closed() -> None:
    left = Left()
    first = listening()
    second = socket.socket(fileno=socket.dup(first.fileno()))
    assert watch_listening(asyncio.get_running_loop(), first.getsockname(), left)
    first.close()
    await asyncio.sleep(5)
    assert left.times == 0
    second.close()
    await asyncio.sleep(2)

    assert left.times == 1


@pytest.mark.parametrize("address", [None, ("testserver", "80"), ("127.0.0.1", 1), ("/no/such/socket", None), "odd"])
@in_virtual_time
async def test_an_address_at_which_nothing_listens_is_not_watched(address: Any) -> None:
    assert not watch_listening(asyncio.get_running_loop(), address, Left())


@in_virtual_time
async def test_a_default_timeout_of_the_app_changes_none_of_its_sockets() -> None:
    with listening() as server, socket.socket() as blocking:
        socket.setdefaulttimeout(5)
        try:
            watch_listening(asyncio.get_running_loop(), server.getsockname(), Left())
        finally:
            socket.setdefaulttimeout(None)
        assert blocking.getblocking()
        assert not _is_nonblocking(blocking)


def _is_nonblocking(one: socket.socket) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows
    import os  # noqa: PLC0415

    return bool(fcntl.fcntl(one, fcntl.F_GETFL) & os.O_NONBLOCK)
