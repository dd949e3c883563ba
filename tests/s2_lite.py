"""A real s2-lite server for tests: a process of its own on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable_stream.backends.s2 import S2Backend

from .support.patience import PATIENCE_SECONDS
from .support.ports import free_port

BASIN = "test-basin"
TOKEN = "secret-token-that-nobody-may-see"

# Acknowledgements within 2 ms, and a start within a tenth of a second.
FAST = {"SL8_FLUSH_INTERVAL": "1ms", "SL8_MANIFEST_POLL_INTERVAL": "50ms", "RUST_LOG": "error"}


class S2Lite:
    """A server process. Records live in its memory, or in ``local_root`` and then survive :meth:`kill`.

    With ``tls`` it speaks TLS, under a certificate that nobody has signed.
    """

    def __init__(self, binary: Path, *, local_root: Path | None = None, tls: bool = False) -> None:
        self._binary = binary
        self._local_root = local_root
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()  # s2-lite tells nobody which one port 0 gave it.

    @property
    def url(self) -> str:
        """Its origin; both endpoints of S2 at once."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def options(self, **more: Any) -> dict[str, Any]:
        """Make the backend's ``OPTIONS``: for a server that is there, and slow where the machine is busy."""
        endpoints = {"account_endpoint": self.url, "basin_endpoint": self.url}
        patience = {"timeout": PATIENCE_SECONDS, "connect_timeout": PATIENCE_SECONDS}
        return {"basin": BASIN, "access_token": TOKEN, **endpoints, **patience, **more}

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment for S2 to be its log."""
        endpoints = {"S2_ACCOUNT_ENDPOINT": self.url, "S2_BASIN_ENDPOINT": self.url}
        return {"S2_BASIN": BASIN, "S2_ACCESS_TOKEN": TOKEN, **endpoints}

    def make_basin(self) -> None:
        """Make the basin as ``manage.py resumable_stream setup`` does."""
        asyncio.run(S2Backend("default", self.options()).ensure_basin())

    def start(self) -> None:
        """Start the process and return once it accepts connections, always on the same port."""
        command = [str(self._binary), "--port", str(self.port), "--no-cors", "--no-dashboard"]
        if self._local_root is not None:
            command += ["--local-root", str(self._local_root)]
        if self._tls:
            command += ["--tls-self"]
        self._process = subprocess.Popen(
            command, env={**os.environ, **FAST}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"s2-lite did not start (exit status {self._process.poll()}).")
            time.sleep(0.01)

    def kill(self) -> None:
        """End the process with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def running(server: S2Lite) -> Iterator[S2Lite]:
    """Start ``server``, make its basin, and kill it at the end."""
    try:
        server.start()
        server.make_basin()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def s2_server(s2_lite: Path) -> Iterator[S2Lite]:
    """One server for the whole run, in memory, with its basin. Tests keep apart by the names of their streams."""
    with running(S2Lite(s2_lite)) as server:
        yield server


@pytest.fixture
def durable_s2_server(s2_lite: Path, tmp_path: Path) -> Iterator[S2Lite]:
    """A server of the test's own, which may be killed and started again: its records are on disk."""
    with running(S2Lite(s2_lite, local_root=tmp_path / "s2-lite")) as server:
        yield server
