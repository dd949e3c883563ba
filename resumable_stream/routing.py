"""Routes for Channels: the websockets and the event streams of any view.

::

    path("api/chat/", URLRouter(websocket_urlpatterns))      # among the websocket routes
    re_path("^api/chat/", URLRouter(http_urlpatterns))       # among the HTTP routes, before Django's own application

These lists serve the chat that the ``CHAT_VIEW`` setting names. A project with several chats makes a list for each::

    path("api/support/", URLRouter(websocket_urls(SupportChat)))
    path("api/sales/", URLRouter(websocket_urls(SalesChat)))
"""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, re_path

from .consumers import EventStreamConsumer, StreamConsumer
from .views.chat_view import ResumableChatView
from .websockets.subprotocols.aisdk import AISDKDialect
from .websockets.subprotocols.tanstack import TanStackDialect


def websocket_urls(view: type[ResumableChatView] | None = None) -> list[URLPattern]:
    """Return the websocket routes of a view: its socket, and the paths of the AI SDK's and of TanStack AI's clients.

    Without ``view`` they serve the view of the ``CHAT_VIEW`` setting.
    """
    return [
        _route(r"^socket/?$", StreamConsumer.as_asgi(view=view)),
        _route(r"^socket/aisdk/?$", StreamConsumer.as_asgi(view=view, dialects=[AISDKDialect])),
        _route(r"^socket/tanstack/?$", StreamConsumer.as_asgi(view=view, dialects=[TanStackDialect])),
    ]


def http_urls(view: type[ResumableChatView] | None = None) -> list[URLPattern]:
    """Return the HTTP routes of a view's event streams, which bypass Django's middleware.

    Without ``view`` they serve the view of the ``CHAT_VIEW`` setting.
    """
    return [
        _route(r"^replay/?$", EventStreamConsumer.as_asgi(view=view, action="replay")),
        _route(r"^(?P<chat_id>[^/]+)/stream/?$", EventStreamConsumer.as_asgi(view=view, action="stream")),
    ]


def _route(pattern: str, application: Any) -> URLPattern:
    # Routes lead to views for Django, and to applications for Channels' URLRouter.
    found: URLPattern = re_path(pattern, application)
    return found


websocket_urlpatterns = websocket_urls()
http_urlpatterns = http_urls()
