"""A websocket's client that speaks ASGI to an application by hand, and reads as slowly as a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Self

from .virtual_time import VirtualTimeLoop

Message = dict[str, Any]


class Socket:
    """One socket of ``application``; use it as a context, which ends with the client's disconnect.

    With ``room`` the server takes that many frames from the application before it makes it wait, as uvicorn does when
    its client does not read.
    """

    def __init__(
        self,
        application: Any,
        *,
        path: str = "/socket",
        headers: Mapping[str, str] | None = None,
        subprotocols: tuple[str, ...] = (),
        room: int | None = None,
        **scope: Any,
    ) -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "subprotocols": list(subprotocols),
            **scope,
        }
        self.subprotocol: str | None = None
        self.close_code: int | None = None
        self.gone = False
        """Whether sending fails from now on, as servers let it when the client has gone."""
        self.gone_error: Exception = OSError("The client has gone.")
        self._application = application
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue(room or 0)
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def connect(self) -> bool:
        """Shake hands; tell whether the socket is open."""
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(self._application(self.scope, self._incoming.get, self._send))
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            loop.farewells.append(self.disconnect)
        message = await self._next()
        self.subprotocol, self.close_code = message.get("subprotocol"), message.get("code")
        return bool(message["type"] == "websocket.accept")

    def say(self, kind: str, stream: str | None = None, **fields: Any) -> None:
        """Send a frame of our own dialect."""
        named = {} if stream is None else {"stream": stream}
        self.send({"type": kind, **named, **fields})

    def send(self, frame: Any) -> None:
        self.send_text(json.dumps(frame))

    def send_text(self, text: str) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, content: bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": content, "text": None})

    async def hear(self) -> Message:
        """Return the next frame."""
        message = await self._next()
        assert message["type"] == "websocket.send", message
        found: Message = json.loads(message["text"])
        return found

    async def hear_until(self, condition: str | Callable[[Message], bool]) -> list[Message]:
        """Return the frames up to the first that fulfils ``condition``, or is of that type."""
        is_last = condition if callable(condition) else lambda frame: frame.get("type") == condition
        heard = [await self.hear()]
        while not is_last(heard[-1]):
            heard.append(await self.hear())
        return heard

    async def hear_close(self) -> int:
        """Read until the server closes; return the code."""
        while (message := await self._next())["type"] != "websocket.close":
            pass
        code: int = message["code"]
        return code

    @property
    def unheard(self) -> int:
        """How many frames wait to be read."""
        return self._outgoing.qsize()

    async def disconnect(self, code: int = 1001) -> None:
        """Go away, and wait until the application has noticed."""
        self.gone = True
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code})
        if self.task is not None:
            await asyncio.wait({self.task})
            if not self.task.cancelled():
                self.task.result()

    async def _send(self, message: Message) -> None:
        if self.gone:
            raise self.gone_error
        await self._outgoing.put(message)

    async def _next(self) -> Message:
        assert self.task is not None
        coming = asyncio.ensure_future(self._outgoing.get())
        await asyncio.wait({coming, self.task}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            coming.cancel()
            self.task.result()
            raise AssertionError("The application has ended.")
        return coming.result()


def chunks_of(frames: list[Message], stream: str | None = None) -> list[Any]:
    """Return the chunks among frames of our own dialect."""
    chunks = [frame for frame in frames if frame["type"] == "chunk"]
    return [frame["chunk"] for frame in chunks if stream in (None, frame["stream"])]
