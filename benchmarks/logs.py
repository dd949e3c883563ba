"""The logs that are measured: the embedded one, and a real s2-lite in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from resumable_stream.backends.s2 import S2Backend

from .aims import EMBEDDED, S2_LITE, Aims

PATIENCE_SECONDS = 30
BASIN = "benchmark"


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A new log, and how an app process gets at it."""

    options: dict[str, Any]
    """Of the backend."""
    process: psutil.Process | None = None
    """Where the log has one of its own."""


@dataclass(frozen=True, slots=True)
class Log:
    """A kind of log."""

    name: str
    backend: str
    """Which of the project's backends speaks to it."""
    aims: Aims
    open: Callable[[], AbstractContextManager[OpenLog]]
    """Start a new one."""
    is_apart: bool
    """Whether it has a process of its own, whose processor time is told apart."""


@contextmanager
def _sqlite() -> Iterator[OpenLog]:
    with tempfile.TemporaryDirectory(prefix="benchmark") as directory:
        yield OpenLog({"path": f"{directory}/log.sqlite3"})


@contextmanager
def _s2_lite() -> Iterator[OpenLog]:
    """Run s2-lite as it is by default (it gathers appends for 5 ms), with its records in memory."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    options = {"basin": BASIN, "account_endpoint": url, "basin_endpoint": url}
    command = [str(find_s2_lite()), "--port", str(port), "--no-cors", "--no-dashboard"]
    # Only to start quickly.
    environment = {**os.environ, "SL8_MANIFEST_POLL_INTERVAL": "50ms", "RUST_LOG": "error"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_accepts(port, process)
        _make_basin(options)
        yield OpenLog(options, psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


def find_s2_lite() -> Path:
    """Find the server where ``S2_LITE_BIN`` says, or where the tests' set-up puts it.

    Raises:
        SystemExit: It is not there; the message says how to get it.
    """
    named = os.environ.get("S2_LITE_BIN")
    binary = Path(named) if named else Path.home() / ".cache/resumable_stream/s2-lite/bin/server"
    if not binary.is_file():
        sys.exit(f"There is no s2-lite server at {binary}. CONTRIBUTING.md says how to get it.")
    return binary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_it_accepts(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"s2-lite did not start (exit status {process.poll()}).")


def _make_basin(options: dict[str, Any]) -> None:
    # Scenarios run in an event loop, which cannot be waited in: hence the thread, and its own loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, S2Backend("default", options).ensure_basin()).result()


LOGS = {
    log.name: log
    for log in (
        Log("sqlite", "SQLite", EMBEDDED, _sqlite, is_apart=False),
        Log("s2-lite", "S2", S2_LITE, _s2_lite, is_apart=True),
    )
}
