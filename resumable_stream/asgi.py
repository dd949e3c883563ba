"""Where the app meets the ASGI server: what it needs of requests, and what it does when the server ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from .exceptions import HTTPVersionError
from .runtime import begin_anew, drain, runtime

__all__ = ["DrainOnShutdown", "drain", "require_asgi", "require_framing"]

logger = logging.getLogger(__name__)

HTTP_1_0 = ("1.0", "1", "0.9")
"""As servers write it; granian without the zero."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class DrainOnShutdown:
    """An ASGI application around another one, which drains this process when the server announces its shutdown.

    In ``asgi.py``::

        application = DrainOnShutdown(get_asgi_application())

    Servers that send no signal to their workers (hypercorn), or end them after so many requests, say so by ASGI's
    lifespan alone, and wait until it is complete: answers whose readers have gone then have
    ``SHUTDOWN_GRACE_SECONDS`` to finish. An application with lifespan events of its own is not wrapped: it awaits
    :func:`drain` in its shutdown.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer the lifespan's events; leave everything else to the application."""
        if scope["type"] != "lifespan":
            runtime().watch_server(scope.get("server"))
            await self.application(scope, receive, send)
            return
        while (await receive())["type"] == "lifespan.startup":
            begin_anew()
            await send({"type": "lifespan.startup.complete"})
        await drain()
        await send({"type": "lifespan.shutdown.complete"})


def require_asgi(request: HttpRequest) -> None:
    """Refuse a request that came by WSGI; notice from now on when the server that it came by leaves.

    Raises:
        ImproperlyConfigured: Always for such a request; the message names servers that will do.
    """
    if not isinstance(request, ASGIRequest):
        raise ImproperlyConfigured(
            "resumable_stream needs an ASGI server: under WSGI a response is collected before it is sent. Run uvicorn, "
            "daphne or another ASGI server (for development: put 'daphne' first in INSTALLED_APPS)."
        )
    runtime().watch_server(request.scope.get("server"))


def require_framing(request: HttpRequest) -> None:
    """Refuse to stream an answer over HTTP/1.0, before anything is started.

    There the end of the connection is the end of the body: whatever breaks, clients take what they have for the whole
    answer. nginx before 1.29.7 speaks HTTP/1.0 to its upstreams unless it is told otherwise.

    Raises:
        HTTPVersionError: Always for such a request; the message says what to set.
    """
    scope: MutableMapping[str, Any] = getattr(request, "scope", {})
    if scope.get("http_version") in HTTP_1_0:
        logger.error("stream over HTTP/1.0 refused path=%r: set proxy_http_version 1.1 in nginx", request.path)
        raise HTTPVersionError
