"""Server processes under load: started on a free port, measured from outside, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

REPOSITORY = Path(__file__).parents[1]
PATIENCE_SECONDS = 30
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads so far, user and system."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """Return the memory that this process alone holds."""
        return int(self.process.memory_full_info().uss)


@dataclass(frozen=True, slots=True)
class Pair:
    """The product and its bare peer, side by side under the same server program."""

    product: Server
    bare: Server


@contextmanager
def serve_pair(*, counts: bool = False) -> Iterator[Pair]:
    """Serve both, the product with a new log."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark"))
        environment = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.project.settings",
            "BENCHMARK_LOG": f"{directory}/log.sqlite3",
            "BENCHMARK_COUNTS": "1" if counts else "",
        }
        product = stack.enter_context(_serve("benchmarks.project.asgi:application", **environment))
        bare = stack.enter_context(_serve("benchmarks.bare:application"))
        yield Pair(product, bare)


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
