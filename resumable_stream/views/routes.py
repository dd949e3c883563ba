"""The routes of a chat, for any prefix.

A URLconf may mount them at ``api/chat`` or at ``api/chat/``, and clients may or may not end a path with a slash
(``APPEND_SLASH`` cannot redirect a POST), so every route matches all of these; only the
bare ``api/chat`` never reaches a mount at ``api/chat/``. Reversing gives the form for a prefix
without a slash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404, HttpRequest
from django.urls import URLPattern, re_path

if TYPE_CHECKING:
    from .chat_view import ResumableChatView

_CHAT_ID = "(?P<chat_id>[^/]+)"
# Path below the prefix, name, methods.
_ROUTES = (
    ("", "chat", ("get", "post", "delete")),
    ("replay", "replay", ("get",)),
    (f"{_CHAT_ID}/stream", "stream", ("get",)),
    (f"{_CHAT_ID}/stop", "stop", ("post",)),
    (f"{_CHAT_ID}/messages", "messages", ("get",)),
)


def routes(view: type[ResumableChatView]) -> list[URLPattern]:
    """Make the URL patterns that serve ``view``."""
    patterns = []
    for path, action, methods in _ROUTES:
        handler = view.as_view(action=action, http_method_names=[*methods, "options"])
        # A group around the slash: a route that begins with a bare one makes Django's system check warn. Two, since
        # clients that are given "/api/chat/" add one of their own.
        lead = "(?:/){1,2}" if path else ""
        patterns.append(re_path(f"^{lead}{path}(?:/)?$", handler, name=action))
        if path:
            patterns.append(re_path(f"^{path}(?:/)?$", handler))
    return patterns


def require_boundary(request: HttpRequest, action: str, chat_id: str | None) -> None:
    """Refuse what a prefix without a slash matches by accident: ``api/chat`` followed by ``ter/stream``.

    Raises:
        Http404: The route does not begin with a whole segment of the path.
    """
    segments = request.path_info.rstrip("/").split("/")
    if chat_id is not None and (len(segments) < 2 or segments[-2] != chat_id):
        raise Http404
    if action == "replay" and segments[-1] != "replay":
        raise Http404
