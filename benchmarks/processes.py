"""Server processes under load: started on a free port, measured from outside, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from .logs import Log, OpenLog

REPOSITORY = Path(__file__).parents[1]
PRODUCT = "benchmarks.project.asgi:application"
BARE = "benchmarks.bare:application"
PATIENCE_SECONDS = 30
BACKLOG = 4096


class Cpu(NamedTuple):
    """Processor time in seconds, user and system."""

    app: float
    """Of the server process, with all its threads."""
    log: float
    """Of the log's own process, which is not the app's cost; 0 if there is none."""

    def since(self, earlier: Cpu) -> Cpu:
        """Return what was used since ``earlier``."""
        return Cpu(self.app - earlier.app, self.log - earlier.log)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    port: int
    process: psutil.Process
    log_process: psutil.Process | None = None
    """That of the log behind it, if it has its own."""

    def cpu(self) -> Cpu:
        """Return the processor time so far."""
        log = 0.0 if self.log_process is None else _cpu_seconds(self.log_process)
        return Cpu(_cpu_seconds(self.process), log)

    def memory_bytes(self) -> int:
        """Return the memory that this process alone holds."""
        return int(self.process.memory_full_info().uss)


@dataclass(frozen=True, slots=True)
class Pair:
    """The product and its bare peer, side by side under the same server program."""

    product: Server
    bare: Server


@contextmanager
def serve_pair(log: Log, *, counts: bool = False, product: str = PRODUCT, bare: str = BARE) -> Iterator[Pair]:
    """Serve both, the product with a new log; ``counts``: what is read from it is counted."""
    with (
        log.open() as opened,
        serve(log, opened, counts=counts, application=product) as product_server,
        _serve(bare) as bare_server,
    ):
        yield Pair(product_server, bare_server)


@contextmanager
def serve(
    log: Log,
    opened: OpenLog,
    *,
    counts: bool = False,
    settings: Mapping[str, float] | None = None,
    application: str = PRODUCT,
) -> Iterator[Server]:
    """Serve the product on a log that is open already, with these settings of the app changed."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
        "BENCHMARK_BACKEND": f"{'Counting' if counts else ''}{log.backend}Backend",
        "BENCHMARK_OPTIONS": json.dumps(opened.options),
        "BENCHMARK_SETTINGS": json.dumps(settings or {}),
    }
    with _serve(application, **environment) as server:
        yield replace(server, log_process=opened.process)


@contextmanager
def _serve(application: str, **environment: str) -> Iterator[Server]:
    # Bound here, so that no other process can take the port in between.
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        descriptor = listener.fileno()
        command = [sys.executable, "-m", "benchmarks.serve", application, str(descriptor)]
        process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, **environment}, pass_fds=[descriptor])
        try:
            server = Server(listener.getsockname()[1], psutil.Process(process.pid))
            _wait_for_answer(server, process)
            yield server
        finally:
            process.kill()
            process.wait()


def _wait_for_answer(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until a request is answered, if only with an error: then everything is imported."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(1)
        connection.sendall(b"GET /frames?count=1&size=20 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        while time.monotonic() < deadline and process.poll() is None:
            try:
                answered = connection.recv(1)
            except TimeoutError:
                continue
            if answered:
                return
            break
    raise RuntimeError("The server did not begin to answer; see its output above.")
