"""A model that does what the user's message says, so that a test decides what is streamed and when.

The message is a JSON list of steps:

- ``"text"``: yield this text;
- ``{"type": …}``: yield this chunk as it is;
- ``{"gate": name}``: wait until the test opens the gate;
- ``{"count": n, "every_ms": m}``: yield the numbers 0 to n - 1, each with a blank, with pauses of m milliseconds;
- ``{"repeat": text, "times": n}``: yield the text n times as fast as it goes;
- ``{"fail": text}``: raise.

Where the newest message is an answer that is to be continued, the steps are those in the input of its last tool call.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any


class ScriptedError(Exception):
    """The failure that a script asked for."""


class Gate:
    """A point in a script where the model waits for the test, and the test for the model."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


gates: defaultdict[str, Gate] = defaultdict(Gate)


async def play(messages: list[dict[str, Any]]) -> AsyncIterator[str | dict[str, Any]]:
    """Yield what the newest message asks for."""
    for step in _steps_of(messages):
        if isinstance(step, str) or "type" in step:
            yield step
        elif "gate" in step:
            await gates[step["gate"]].pass_through()
        elif "count" in step:
            for number in range(step["count"]):
                yield f"{number} "
                await asyncio.sleep(step["every_ms"] / 1000)
        elif "repeat" in step:
            for _ in range(step["times"]):
                yield step["repeat"]
        else:
            raise ScriptedError(step["fail"])


def _steps_of(messages: list[dict[str, Any]]) -> list[Any]:
    if messages[-1]["role"] == "assistant":
        calls = [part for part in messages[-1]["parts"] if "toolCallId" in part]
        return list(calls[-1]["input"]["then"])
    return list(json.loads(newest_text(messages)))


def newest_text(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message: plain ``content``, or parts of the AI SDK or of TanStack AI."""
    newest = [message for message in messages if message["role"] == "user"][-1]
    if "content" in newest:
        return str(newest["content"])
    return "".join(part.get("text", part.get("content")) for part in newest["parts"] if part["type"] == "text")
