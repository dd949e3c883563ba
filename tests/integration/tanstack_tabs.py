"""Browser sessions with tabs of TanStack AI's stock client, and with AG-UI's stock agent, in a Node process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.node_suites import CLIENT

from .node_host import NodeHost
from .visitor import Step, Visitor, new_id

CONNECTION = CLIENT / "tanstack.js"
"""Our connection, as pages get it."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TabState:
    """What a page would show."""

    status: str
    error: str | None
    text: str
    """Of the last answer."""
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class RunState:
    """What an agent has after a run."""

    events: list[str]
    messages: list[Message]
    error: str | None


class Tab:
    """One chat in one tab."""

    def __init__(self, host: NodeHost, name: str) -> None:
        self._host = host
        self._name = name

    async def send(self, *steps: Step) -> None:
        """Send a message and return at once; :meth:`settled` waits for the answer."""
        await self._host.call("send", tab=self._name, text=json.dumps(steps))

    async def reload(self) -> None:
        """Ask for another answer."""
        await self._host.call("reload", tab=self._name)

    async def stop(self) -> bool:
        """Stop the answer for everybody."""
        stopped: bool = await self._host.call("stop", tab=self._name)
        return stopped

    async def halt(self) -> None:
        """Do what the library's own ``stop()`` does."""
        await self._host.call("halt", tab=self._name)

    async def leave(self) -> None:
        await self._host.call("leave", tab=self._name)

    async def resubscribe(self) -> None:
        await self._host.call("resubscribe", tab=self._name)

    async def join(self, other: Tab) -> list[Any]:
        """Read the run that another tab is in, and return its chunks."""
        chunks: list[Any] = await self._host.call("join", tab=self._name, **{"from": other._name})
        return chunks

    async def shows(self, text: str) -> None:
        """Wait until the last answer shows ``text``."""
        await self._host.call("shows", tab=self._name, text=text)

    async def has(self, count: int) -> None:
        """Wait until ``count`` messages are there."""
        await self._host.call("has", tab=self._name, count=count)

    async def fails(self) -> TabState:
        """Wait until an error is shown."""
        return _state_of(await self._host.call("fails", tab=self._name))

    async def settled(self, count: int) -> TabState:
        """Wait until ``count`` messages are there and nothing is going on."""
        return _state_of(await self._host.call("settled", tab=self._name, count=count))


def _state_of(state: dict[str, Any]) -> TabState:
    problems = state.pop("problems")
    assert not problems, problems
    return TabState(**{**state, "messages": [_without_date(message) for message in state["messages"]]})


class Agent:
    """AG-UI's agent for one chat."""

    def __init__(self, host: NodeHost, name: str) -> None:
        self._host = host
        self._name = name

    async def run(self, *steps: Step, run_id: str | None = None) -> RunState:
        """Say something, or nothing, and run to the end."""
        text = json.dumps(steps) if steps else None
        return RunState(**await self._host.call("run", agent=self._name, text=text, runId=run_id))

    async def abort(self) -> None:
        """Leave the run, as the library's own ``abortRun()`` does."""
        await self._host.call("abort", agent=self._name)


class Browser:
    """One browser session on one server."""

    def __init__(self, host: NodeHost, base: str, prefix: str) -> None:
        self._host = host
        self._name = new_id()
        self._base = base
        self._prefix = prefix

    async def __aenter__(self) -> Self:
        """Take the cookies that the site gives to a new visitor."""
        await self._host.call("visit", visitor=self._name, base=self._base)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the tabs: they would look for their server for ever, and find another one at its port."""
        await self._host.call("depart", visitor=self._name)

    async def open(self, chat: str, *, way: str, client: str = "0.33", base: str | None = None, **options: Any) -> Tab:
        """Open a tab on ``chat``, connected in one of the ways that ``tanstack.mjs`` lists."""
        name = new_id()
        url = (base or self._base) + self._prefix
        await self._host.call(
            "open",
            tab=name,
            visitor=self._name,
            url=url,
            chat=chat,
            way=way,
            client=client,
            **{"messages": [], **options},
        )
        return Tab(self._host, name)

    async def agent(self, chat: str, *, messages: list[Message] | None = None, is_old: bool = False) -> Agent:
        """Make an agent for ``chat``; an old one is of version 0.0.59."""
        name = new_id()
        options = {"url": self._base + self._prefix, "chat": chat, "messages": messages or [], "isOld": is_old}
        await self._host.call("agent", agent=name, visitor=self._name, **options)
        return Agent(self._host, name)

    async def visitor(self) -> Visitor:
        """Return a plain HTTP client in the same session, as it is now."""
        visitor = Visitor(self._base, self._prefix)
        visitor.http.cookies.update(await self._host.call("cookies", visitor=self._name))
        await visitor.arrive()
        return visitor

    async def told(self, chat: str) -> list[Message]:
        """Return the chat's messages as the server tells them, without dates, which differ with every client."""
        async with await self.visitor() as visitor:
            messages: list[Message] = (await visitor.messages(chat))["messages"]
            return [_without_date(message) for message in messages]


def _without_date(message: Message) -> Message:
    kept = {name: value for name, value in message.items() if name != "createdAt"}
    # The client sends the date of what it has said there.
    if list(kept.get("metadata", {}).get("tanstack", {})) == ["createdAt"]:
        del kept["metadata"]
    return kept
