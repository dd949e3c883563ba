"""Real server processes on loopback: started, killed, terminated, started again on the same port and the same log."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ..support.patience import PATIENCE_SECONDS
from ..support.ports import free_port
from .log import Log

REPOSITORY = Path(__file__).parents[2]
APPLICATION = "tests.integration.project.asgi:application"
KINDS = ("daphne", "uvicorn")
"""Servers on which nearly everything is tested."""

_LONG = str(2 * PATIENCE_SECONDS)
# Servers are as patient as the tests. By default they give up on a handshake or a client that is slow, or close an idle
# connection just when the client, which is to do so after the same 5 seconds, sends another request over it.
PATIENT = {
    "daphne": ["--websocket_connect_timeout", _LONG, "--ping-interval", _LONG, "--application-close-timeout", _LONG],
    "uvicorn": ["--timeout-keep-alive", _LONG, "--ws-ping-interval", _LONG],
}


def _command(kind: str, port: int) -> list[str]:
    """Return a module and its arguments, up to the application."""
    bind = f"127.0.0.1:{port}"
    uvicorn = ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "--no-access-log", *PATIENT["uvicorn"]]
    gunicorn = ["gunicorn", "-b", bind, "--no-control-socket", "--worker-tmp-dir", "/dev/shm"]
    return {
        "daphne": ["daphne", "-b", "127.0.0.1", "-p", str(port), "--no-server-name", *PATIENT["daphne"]],
        "uvicorn": uvicorn,
        "uvicorn-workers": [*uvicorn, "--workers", "2"],
        "gunicorn-uvicorn": [*gunicorn, "-k", "uvicorn_worker.UvicornWorker"],
        "gunicorn-asgi": [*gunicorn, "-k", "asgi"],
        # By itself it cuts the readers' connections after 3 s.
        "hypercorn": ["hypercorn", "-b", bind, "--graceful-timeout", _LONG],
        "granian": ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)],
    }[kind]


def wait_for(what: str, condition: Callable[[], object]) -> None:
    """Poll ``condition`` until it holds; fail with ``what`` if it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"In {PATIENCE_SECONDS} s it did not come true that {what}.")
        time.sleep(0.02)


class Server:
    """A server process, together with the port, the log and the files that outlive it.

    ``stream_settings`` are keys of ``RESUMABLE_STREAM``, for settings modules that take them from the environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        directory: Path,
        log: Log,
        environment: Mapping[str, str],
        **stream_settings: Any,
    ) -> None:
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        self.log = log
        self._command = command
        self._output = directory / "server.log"
        self._environment = {
            **os.environ,
            **log.environment,
            "TEST_PROJECT_SETTINGS": json.dumps({**log.settings, **stream_settings}),
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def output(self) -> str:
        """Everything that the processes have printed."""
        return self._output.read_text(errors="replace")

    def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, env=self._environment, stdout=output, stderr=output
            )
        wait_for(f"{self._command[2]} accepts connections", self._accepts)

    def terminate(self) -> None:
        """Send SIGTERM and return at once."""
        self._running().send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended and return its exit code."""
        return self._running().wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End the process with SIGKILL, if it still runs, and its workers."""
        if self._process is None:
            return
        workers: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            workers = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()

    def restart(self) -> None:
        """Start again on the same port and files, after the process has ended."""
        if self._running().poll() is None:
            raise RuntimeError("The server still runs.")
        self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("The server was never started.")
        return self._process

    def _accepts(self) -> bool:
        if self._running().poll() is not None:
            raise RuntimeError(f"The server ended with {self._running().returncode}:\n{self.output}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def scripted_server(
    kind: str,
    directory: Path,
    *,
    log: Log,
    settings_module: str = "settings",
    application: str = APPLICATION,
    options: Sequence[str] = (),
    **stream_settings: Any,
) -> Server:
    """Describe a server of the test project; ``stream_settings`` are keys of ``RESUMABLE_STREAM``."""
    port = free_port()
    command = [sys.executable, "-m", *_command(kind, port), *options, application]
    environment = {"DJANGO_SETTINGS_MODULE": f"tests.integration.project.{settings_module}"}
    return Server(command, port=port, directory=directory, log=log, environment=environment, **stream_settings)
