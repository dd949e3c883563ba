"""Views that stream need a server that streams."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest


def require_asgi(request: HttpRequest) -> None:
    """Refuse a request that came by WSGI.

    Raises:
        ImproperlyConfigured: Always for such a request; the message names servers that will do.
    """
    if not isinstance(request, ASGIRequest):
        raise ImproperlyConfigured(
            "resumable_stream needs an ASGI server: under WSGI a response is collected before it is sent. Run uvicorn, "
            "daphne or another ASGI server (for development: put 'daphne' first in INSTALLED_APPS)."
        )
