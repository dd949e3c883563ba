"""A visitor of the site: speaks ASGI to Django by hand, keeps cookies, and can go away after any byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

from django.core.handlers.asgi import ASGIHandler

from .event_source import Event, parse
from .virtual_time import VirtualTimeLoop


class Exchange:
    """One request and what came back."""

    def __init__(self, jar: dict[str, str], *, cut_after: int | None = None) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.sends = 0
        """How many pieces the body came in."""
        self.is_complete = False
        """Whether the server said that the body has ended."""
        self._jar = jar
        self._cut_after = cut_after
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        """The server's side."""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        return parse(self.body)

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def close(self) -> None:
        """Close the connection if it is still open, and wait until the server has noticed."""
        self.leave()
        if self.task is not None:
            await asyncio.wait({self.task})

    async def until(self, condition: Callable[[Exchange], bool]) -> Exchange:
        """Wait until what has come fulfils ``condition``."""
        assert self.task is not None
        while not condition(self):
            assert not self.task.done(), f"over, but not as expected: {self.status} {self.body[-500:]!r}"
            self._changed.clear()
            change = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({change, self.task}, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
        return self

    async def begun(self) -> Exchange:
        """Wait for the first bytes of the body."""
        return await self.until(lambda exchange: bool(exchange.body) or exchange.is_complete)

    async def done(self) -> Exchange:
        """Wait until the server is done with the request."""
        assert self.task is not None
        await asyncio.wait({self.task})
        if not self.task.cancelled():
            self.task.result()
        return self

    async def serve(self, scope: dict[str, Any], content: bytes) -> None:
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        await ASGIHandler()(scope, receive, self._send)

    async def _send(self, message: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)  # Like any server that writes to a socket.
        if message["type"] == "http.response.start":
            self.status = message["status"]
            for name, value in message["headers"]:
                if name.lower() == b"set-cookie":
                    self._jar |= {name: morsel.value for name, morsel in SimpleCookie(value.decode()).items()}
                else:
                    self.headers[name.decode().title()] = value.decode("latin-1")
        elif not self._gone.is_set():
            self._take(message.get("body", b""), is_last=not message.get("more_body", False))
        self._changed.set()

    def _take(self, received: bytes, *, is_last: bool) -> None:
        self.body += received
        self.sends += 1
        self.is_complete = is_last
        if self._cut_after is not None and len(self.body) >= self._cut_after:
            self.body = self.body[: self._cut_after]
            self.is_complete = False
            self.leave()


class Visitor:
    """Makes requests, with the cookies that it was given."""

    def __init__(
        self, *, csrf: bool = True, http_version: str = "1.1", client: str = "127.0.0.1", **headers: str
    ) -> None:
        self.http_version = http_version
        self.address = client
        token = "t" * 32
        self.cookies: dict[str, str] = {"csrftoken": token} if csrf else {}
        self.headers = {"X_CSRFToken": token, **headers} if csrf else headers

    def begin(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str | None = "application/json",
        cut_after: int | None = None,
        **headers: str,
    ) -> Exchange:
        """Send a request and return at once. Headers are named with underscores: ``Last_Event_ID="3"``."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        exchange = Exchange(self.cookies, cut_after=cut_after)
        scope = self._scope(method, path, content, content_type if content or body is not None else None, headers)
        loop = asyncio.get_running_loop()
        exchange.task = loop.create_task(exchange.serve(scope, content))
        if isinstance(loop, VirtualTimeLoop):
            loop.farewells.append(exchange.close)
        return exchange

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> Exchange:
        """Send a request and wait for the end of the answer."""
        return await self.begin(method, path, body, **options).done()

    async def get(self, path: str, **options: Any) -> Exchange:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Exchange:
        return await self.request("POST", path, body, **options)

    async def delete(self, path: str, body: Any = None, **options: Any) -> Exchange:
        return await self.request("DELETE", path, body, **options)

    def _scope(
        self, method: str, path: str, content: bytes, content_type: str | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        path, _, query = path.partition("?")
        named = {"Host": "testserver", **self.headers, **headers, "Content-Length": str(len(content))}
        if content_type is not None:
            named["Content-Type"] = content_type
        if self.cookies:
            named["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": self.http_version,
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in named.items()],
            "server": ("testserver", 80),
            "client": (self.address, 50000),
        }
