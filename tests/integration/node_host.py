"""A Node process that runs one of the scripts in ``tests/node`` and is asked for operations."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

from ..support.patience import PATIENCE_SECONDS


class NodeError(Exception):
    """An operation threw; the message is JavaScript's stack."""


class NodeHost:
    """Calls operations of a script that serves them with ``rpc.mjs``; usable from any event loop."""

    def __init__(self, command: list[str], *, directory: Path) -> None:
        self._errors = (directory / "node.log").open("ab")
        self._process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self._calls: dict[int, Future[Any]] = {}
        self._numbers = itertools.count()
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Run an operation and return its result."""
        number = next(self._numbers)
        reply = self._calls[number] = Future()
        line = json.dumps({"call": number, "operation": operation, "arguments": arguments})
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asyncio.wrap_future(reply)

    def close(self) -> None:
        """End the process by closing its input; by force if that is not enough."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            future = self._calls.pop(reply["call"])
            if not future.set_running_or_notify_cancel():
                continue
            if "error" in reply:
                future.set_exception(NodeError(reply["error"]))
            else:
                future.set_result(reply["result"])
        for future in list(self._calls.values()):
            # Whoever has waited for too long has cancelled it.
            if future.set_running_or_notify_cancel():
                future.set_exception(NodeError("The Node process has ended."))
