"""Browser sessions and tabs of the stock AI SDK client, which live in a Node process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from .node_host import NodeHost
from .visitor import Step, Visitor, new_id

AI_SDKS = ("ai5", "ai6", "ai7")
"""The versions that ``aisdk.mjs`` can speak for."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TabState:
    """What a page would show."""

    status: str
    """``ready`` or ``error``, once it has settled."""
    error: str | None
    messages: list[Message]

    @property
    def answer(self) -> Message:
        assert self.messages[-1]["role"] == "assistant"
        return self.messages[-1]

    @property
    def text(self) -> str:
        return "".join(part["text"] for part in self.answer["parts"] if part["type"] == "text")


class Tab:
    """One chat in one tab."""

    def __init__(self, host: NodeHost, name: str) -> None:
        self._host = host
        self._name = name

    async def send(self, *steps: Step, instead_of: str | None = None, body: dict[str, Any] | None = None) -> None:
        """Send a message and return at once; :meth:`settled` waits for the answer.

        ``instead_of`` is the id of an earlier message, which is edited; ``body`` is what the page adds to its request.
        """
        await self._host.call("send", tab=self._name, text=json.dumps(steps), messageId=instead_of, body=body or {})

    async def send_now(self, *steps: Step) -> None:
        """Queue a message and send it in the middle of the answer that is being streamed."""
        await self._host.call("sendNow", tab=self._name, text=json.dumps(steps))

    async def regenerate(self, message_id: str | None = None) -> None:
        """Have the last answer, or another one, made anew."""
        await self._host.call("regenerate", tab=self._name, messageId=message_id)

    async def go_offline(self) -> None:
        """Let requests fail until :meth:`go_online`."""
        await self._host.call("goOffline", tab=self._name, isOffline=True)

    async def go_online(self) -> None:
        await self._host.call("goOffline", tab=self._name, isOffline=False)

    async def forget(self, *message_ids: str) -> None:
        """Delete messages from the page."""
        await self._host.call("forget", tab=self._name, ids=message_ids)

    async def put_output(self, call: str, output: Any) -> None:
        """Give a tool call of the last answer its output, as a page's own tool would."""
        await self._host.call("putOutput", tab=self._name, toolCallId=call, output=output)

    async def approve(self, approval: str) -> None:
        """Approve a tool call of the last answer."""
        await self._host.call("approve", tab=self._name, id=approval)

    async def go_on(self) -> None:
        """Have the last answer continued."""
        await self._host.call("continue", tab=self._name)

    async def resume(self) -> None:
        """Resume, and wait until the server has said whether there is something."""
        await self._host.call("resume", tab=self._name)
        await self.responds()

    async def responds(self) -> None:
        """Wait until the server has answered the last request, be it with a stream; its cookies are set then."""
        await self._host.call("responds", tab=self._name)

    async def stop(self) -> None:
        """Do what the library's own ``stop()`` does: leave the response."""
        await self._host.call("stop", tab=self._name)

    async def stop_answer(self) -> bool:
        """Stop the answer on the server by our transport; return whether one was running."""
        was_running: bool = await self._host.call("stopAnswer", tab=self._name)
        return was_running

    async def shows(self, text: str) -> None:
        """Wait until the answer shows ``text``."""
        await self._host.call("shows", tab=self._name, text=text)

    async def settled(self) -> TabState:
        """Wait until no request runs, and return what the tab holds then."""
        state = await self._host.call("settled", tab=self._name)
        problems = state.pop("problems")
        assert not problems, problems
        return TabState(**state)


class Browser:
    """One browser session on one server."""

    def __init__(self, host: NodeHost, base: str, prefix: str = "/api/chat") -> None:
        self._host = host
        self._name = new_id()
        self._base = base
        self._prefix = prefix

    async def arrive(self) -> Self:
        """Take the cookies that the site gives to a new visitor."""
        await self._host.call("visit", visitor=self._name, base=self._base)
        return self

    async def open(
        self,
        chat: str,
        *,
        messages: list[Message] | None = None,
        base: str | None = None,
        way: str = "stock",
        queues: bool = False,
        options: str = "",
    ) -> Tab:
        """Open a tab on ``chat`` with the messages that the page was rendered with.

        ``way`` names the transport: ``stock``, ``socket`` for the stock one over websockets, ``resumable`` for ours.
        """
        name = new_id()
        api = (base or self._base) + self._prefix
        given = {"visitor": self._name, "api": api, "id": chat, "messages": messages or [], "way": way}
        given |= {"queues": queues, "options": options}
        await self._host.call("open", tab=name, **given)
        return Tab(self._host, name)

    async def visitor(self) -> Visitor:
        """Return a plain HTTP client in the same session, as it is now."""
        visitor = Visitor(self._base, self._prefix)
        visitor.http.cookies.update(await self._host.call("cookies", visitor=self._name))
        return visitor
