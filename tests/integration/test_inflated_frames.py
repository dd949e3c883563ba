"""What real servers do with large and inflated frames, as the manual says, with the flags that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ..support.ports import free_port
from .servers import wait_for

APPLICATION = "tests.integration.frame_sizes:application"
ROOT = Path(__file__).parents[2]
MIB = 2**20
FLAGS = re.search(r"\| uvicorn \| yes.*`(--ws-max-size.*)` \|", (ROOT / "docs" / "channels.md").read_text())

SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "--log-level", "critical"],
    "daphne": ["daphne", "-p", "{port}"],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"],
}


@contextmanager
def serving(kind: str, *flags: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", *(word.format(port=port) for word in SERVERS[kind]), *flags, APPLICATION]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            connect(f"ws://127.0.0.1:{port}/").close()
        except OSError:
            return False
        return True

    try:
        wait_for(f"{kind} serves", answers)
        yield f"ws://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def size_that_arrives(socket: ClientConnection, size: int) -> str:
    try:
        socket.send("a" * size)
        return str(socket.recv())
    except ConnectionClosed as closed:
        return f"closed {closed.rcvd.code if closed.rcvd is not None else None}"


@pytest.mark.parametrize(
    ("kind", "inflates", "largest", "end"),
    [
        ("uvicorn", True, 16 * MIB, "closed 1009"),
        ("daphne", False, MIB, "closed"),
        ("hypercorn", True, 16 * MIB, "closed 1009"),
        ("granian", False, 16 * MIB, "closed"),
    ],
)
def test_servers_bound_frames_as_the_manual_says(kind: str, inflates: bool, largest: int, end: str) -> None:
    with serving(kind) as url:
        for size, expected in [(largest - 100, str(largest - 100)), (largest + 100, end)]:
            with connect(url, max_size=None) as socket:
                assert bool(socket.protocol.extensions) is inflates
                assert size_that_arrives(socket, size).startswith(expected)


def test_uvicorn_inflates_nothing_with_the_manuals_flags() -> None:
    assert FLAGS is not None
    with serving("uvicorn", *FLAGS[1].split()) as url, connect(url) as socket:
        assert not socket.protocol.extensions
        assert size_that_arrives(socket, MIB) == str(MIB)
