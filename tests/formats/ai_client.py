"""Stock clients under Node, asked for what they make of chunks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ..support.patience import PATIENCE_SECONDS


class ClientError(Exception):
    """The script threw; the message is JavaScript's stack."""


class NodeClient:
    """One Node process with one client; asked one thing after the other."""

    def __init__(self, node: Path, project: Path, script: str, *arguments: str) -> None:
        self._log = (project / f"{'-'.join([Path(script).stem, *arguments])}.log").open("wb")
        self._process = subprocess.Popen(
            [str(node), script, *arguments],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_SECONDS)
        self._process.stdout.close()
        self._log.close()

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Run an operation and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": 0, "operation": operation, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ClientError(f"The Node process has ended; see {self._log.name}.")
        # JavaScript knows one kind of number.
        reply = json.loads(line, parse_int=float)
        if "error" in reply:
            raise ClientError(reply["error"])
        return reply["result"]


class AIClient(NodeClient):
    """The client of the AI SDK, in one version."""

    def __init__(self, node: Path, project: Path, version: int) -> None:
        super().__init__(node, project, "fold/fold.mjs", f"ai{version}")
        self.version = version

    def chat(self, steps: list[dict[str, Any]], messages: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Play a chat and return its messages, the status after each step, the last error and the requests."""
        result: dict[str, Any] = self.ask("chat", steps=steps, messages=messages or [])
        return result

    def takes(self, chunks: list[Any]) -> list[bool]:
        """Tell which chunks pass the client's own schema."""
        result: list[bool] = self.ask("takes", chunks=chunks)
        return result

    def parse_partial(self, texts: list[str]) -> list[dict[str, Any]]:
        """Parse texts that break off: ``{"value": …}``, or ``{}`` for undefined."""
        result: list[dict[str, Any]] = self.ask("partial", texts=texts)
        return result
