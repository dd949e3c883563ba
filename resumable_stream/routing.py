"""Routes for Channels, of the chat that the ``CHAT_VIEW`` setting names.

::

    path("api/chat/", URLRouter(websocket_urlpatterns))      # among the websocket routes
    re_path("^api/chat/", URLRouter(http_urlpatterns))       # among the HTTP routes, before Django's own application
"""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, re_path

from .consumers import EventStreamConsumer, StreamConsumer
from .websockets.subprotocols.aisdk import AISDKDialect
from .websockets.subprotocols.tanstack import TanStackDialect


def _route(pattern: str, application: Any) -> URLPattern:
    # Routes lead to views for Django, and to applications for Channels' URLRouter.
    found: URLPattern = re_path(pattern, application)
    return found


websocket_urlpatterns = [
    _route(r"^socket/?$", StreamConsumer.as_asgi()),
    _route(r"^socket/aisdk/?$", StreamConsumer.as_asgi(dialects=[AISDKDialect])),
    _route(r"^socket/tanstack/?$", StreamConsumer.as_asgi(dialects=[TanStackDialect])),
]
http_urlpatterns = [
    _route(r"^replay/?$", EventStreamConsumer.as_asgi(action="replay")),
    _route(r"^(?P<chat_id>[^/]+)/stream/?$", EventStreamConsumer.as_asgi(action="stream")),
]
