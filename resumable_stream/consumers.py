"""Consumers for Django Channels: a view's chats over a websocket, and its event streams without Django's handler.

Both stand on the view's own hooks, so nothing is configured twice. They use no channel layer: the log is the only bus.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

try:
    from channels.consumer import AsyncConsumer, get_handler_name
    from channels.exceptions import StopConsumer
    from channels.generic.http import AsyncHttpConsumer
except ImportError as error:
    raise ImportError(
        "resumable_stream.consumers and resumable_stream.routing need Channels: "
        "pip install 'django-resumable-stream[channels]'."
    ) from error

from .exceptions import LimitExceededError
from .http.responses import EventStreamResponse, plain
from .utils.app_code import call
from .utils.threads import own_thread
from .views.chat_view import ResumableChatView, configured_view
from .websockets.connection import Connection
from .websockets.handshake import http_request, is_origin_allowed, url_kwargs
from .websockets.subprotocols.aisdk import AISDKDialect
from .websockets.subprotocols.base import SocketDialect
from .websockets.subprotocols.native import StreamDialect

logger = logging.getLogger(__name__)

BAD_HOST_TEXT = "The Host header names a host that this site does not answer for."
BODY_TEXT = "Event streams are asked for without a body."
CLOSE_FOREIGN_ORIGIN = 1008
CLOSE_NOT_SERVED = 4403
PRIVATE_CODES = 3000
"""Added to a close code that the server does not send: daphne closes with 4012 for 1012."""


class StreamConsumer(AsyncConsumer):
    """Many of a person's streams on one websocket.

    ``StreamConsumer.as_asgi(view=SupportChat)`` serves that view; without one, the ``CHAT_VIEW`` setting's. The client
    chooses among the dialects by subprotocol; without one it speaks the first.
    """

    dialects: Sequence[type[SocketDialect]] = (StreamDialect, AISDKDialect)
    # No layer, however many the project has: a socket would hold a place there for nothing.
    channel_layer_alias = ""

    def __init__(
        self,
        view: type[ResumableChatView] | None = None,
        dialects: Sequence[type[SocketDialect]] | None = None,
    ) -> None:
        self.view_class = view
        if dialects is not None:
            self.dialects = dialects
        self._connection: Connection | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket; whatever ends it, nothing of it stays."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._connection is not None:
                await self._connection.aclose()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler; these touch no database, so there is nothing to look after around them."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept the socket, if it comes from where it may."""
        request = http_request(self.scope)
        if not is_origin_allowed(request):
            logger.warning("websocket refused origin=%r path=%r", request.headers["Origin"], request.path)
            await self._deny(CLOSE_FOREIGN_ORIGIN)
        dialect = self._choose_dialect()
        view = (self.view_class or configured_view())()
        view.setup(request, **url_kwargs(self.scope))
        if dialect.formats is not None and view.chat.format.name not in dialect.formats:
            logger.warning("websocket refused: %s cannot speak for %s", dialect.__name__, type(view).__name__)
            await self._deny(CLOSE_NOT_SERVED)
        is_admitted, limit_key = True, ""
        async with own_thread():
            try:
                await call(view.limit, request, "connect")
                is_admitted = await view.admits(request)
                limit_key = await view.limit_key_of(request) if is_admitted else ""
            except LimitExceededError as error:
                logger.warning("websocket refused: %s path=%r", error, request.path)
                await view.tell_refused(request, "connect", error)
                await self._deny(error.close_code)
        if not is_admitted:
            logger.warning("websocket refused: %s does not let it in path=%r", type(view).__name__, request.path)
            await self._deny(CLOSE_NOT_SERVED)
        chosen = dialect.subprotocol if dialect.subprotocol in self._offered else None
        try:
            await self.send({"type": "websocket.accept", "subprotocol": chosen})
        except OSError:  # The client has gone already.
            raise StopConsumer from None
        self._connection = Connection(
            hooks=view,
            request=request,
            dialect=dialect(),
            limit_key=limit_key,
            send=self._send_text,
            close=self._close,
        )
        self._connection.open()

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Hand a frame over; never waits, so that a disconnect is always seen."""
        if self._connection is not None:
            self._connection.receive(message.get("text"))

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End."""
        raise StopConsumer

    def _choose_dialect(self) -> type[SocketDialect]:
        known = {dialect.subprotocol: dialect for dialect in self.dialects}
        return next((known[name] for name in self._offered if name in known), self.dialects[0])

    @property
    def _offered(self) -> list[str]:
        scope: Any = self.scope
        return list(scope.get("subprotocols") or ())

    def _send_text(self, text: str) -> Awaitable[None]:
        # Not a coroutine, nor by way of one: a thousand sockets may come through here with every chunk.
        message: Any = {"type": "websocket.send", "text": text}
        sent: Awaitable[None] = self.base_send(message)
        return sent

    async def _close(self, code: int) -> None:
        try:
            await self.send({"type": "websocket.close", "code": code})
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - daphne's websockets say no more than that
            # Autobahn lets applications send 1000 and what is theirs alone, 3000 to 4999.
            logger.debug("close code %s refused, sending %s error=%s", code, code + PRIVATE_CODES, error)
            await self.send({"type": "websocket.close", "code": code + PRIVATE_CODES})

    async def _deny(self, code: int) -> None:
        await self._close(code)
        raise StopConsumer


class EventStreamConsumer(AsyncHttpConsumer):
    """A view's event streams over HTTP, as the view itself would answer them, without Django's middleware.

    What that would do for a reader is done here: the host is checked, and the answer is marked as one person's own.

    Routes give ``action``, as a view's own do: ``"replay"`` or ``"stream"``.
    """

    channel_layer_alias = ""

    def __init__(self, view: type[ResumableChatView] | None = None, action: str = "replay") -> None:
        super().__init__()
        self.view_class = view
        self.action = action
        self._receive: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        # Channels hears of a disconnect only when no handler runs, and this one runs for as long as the stream.
        self._receive = receive
        await super().__call__(scope, receive, send)

    async def http_request(self, message: Any) -> None:
        """Answer as soon as the request's head is there: a body is refused, and none of it is kept."""
        try:
            await self._answer_or_leave(has_body=bool(message.get("body") or message.get("more_body")))
        finally:
            await self.disconnect()
        raise StopConsumer

    async def _answer_or_leave(self, *, has_body: bool) -> None:
        """Answer, until the answer is whole or the client has gone."""
        serving = asyncio.ensure_future(self._serve(has_body=has_body))
        leaving = asyncio.ensure_future(self._wait_for_disconnect())
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
            leaving.cancel()
            await asyncio.wait({serving, leaving})
        if not serving.cancelled():
            serving.result()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _serve(self, *, has_body: bool) -> None:
        request = http_request(self.scope)
        refusal = _refusal(request, has_body=has_body)
        if refusal is not None:
            await self._answer(refusal)
            return
        view = (self.view_class or configured_view())(action=self.action, http_method_names=["get", "options"])
        view.setup(request, **url_kwargs(self.scope))
        async with own_thread():
            await self._answer(await view.serve(request))

    async def _answer(self, response: HttpResponseBase) -> None:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        patch_vary_headers(response, ("Cookie",))
        headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        await self.send_headers(status=response.status_code, headers=headers)
        if isinstance(response, HttpResponse):
            await self.send_body(response.content)
        elif isinstance(response, EventStreamResponse):
            try:
                async with aclosing(response.body) as parts:
                    async for part in parts:
                        await self.send_body(part, more_body=True)
            finally:
                response.place.release()
            await self.send_body(b"")


def _refusal(request: HttpRequest, *, has_body: bool) -> HttpResponse | None:
    """Return the answer to a request that no view should see."""
    try:
        request.get_host()
    except DisallowedHost as error:
        logger.warning("event stream refused: %s", str(error).encode("unicode_escape").decode())
        return plain(HTTPStatus.BAD_REQUEST, BAD_HOST_TEXT)
    if not has_body:
        return None
    response = plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, BODY_TEXT)
    # What is left of the body is not worth reading.
    response.headers["Connection"] = "close"
    return response
