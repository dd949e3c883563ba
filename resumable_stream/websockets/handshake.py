"""A websocket's handshake as Django sees requests, and whether its page may make it."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.urls import ResolverMatch
from django.utils.http import is_same_domain

from ..conf import settings
from ..utils.request_user import name_user

_SCHEMES = {"ws": "http", "wss": "https"}


def http_request(scope: Mapping[str, Any]) -> ASGIRequest:
    """Make the request that hooks are asked with; session and user are what the middleware has put in the scope."""
    scheme = scope.get("scheme", "http")
    http_scope = {"method": "GET", **scope, "type": "http", "scheme": _SCHEMES.get(scheme, scheme)}
    request = ASGIRequest(http_scope, BytesIO())
    kwargs = url_kwargs(scope)
    request.resolver_match = ResolverMatch(http_request, (), kwargs)
    if "session" in scope:
        request.session = scope["session"]
    if "user" in scope:
        name_user(request, scope["user"])
    return request


def url_kwargs(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Channels' URLRouter has found in the path; there may be no such router."""
    return dict(scope.get("url_route", {}).get("kwargs", {}))


def is_origin_allowed(request: ASGIRequest) -> bool:
    """Tell whether the page that opens the socket may do so with its visitor's cookies.

    Browsers always name the origin, and nobody but browsers lends cookies to foreign pages: without an origin there is
    nothing to fear.
    """
    origin = request.headers.get("Origin")
    if origin is None or "*" in settings.allowed_origins:
        return True
    try:
        parts = urlsplit(origin)
        # The port belongs to the host here. A page without encryption may not open a socket of an encrypted site, since
        # anybody on the way can change such pages. Conversely, the proxy may just not tell of its TLS.
        schemes = ("https",) if request.is_secure() else ("http", "https")
        if parts.netloc and parts.netloc.lower() == request.get_host().lower() and parts.scheme in schemes:
            return True
    except (ValueError, DisallowedHost):
        return False
    trusted = [*settings.allowed_origins, *django_settings.CSRF_TRUSTED_ORIGINS]
    return any(_matches(parts.scheme, parts.netloc, pattern) for pattern in trusted)


def _matches(scheme: str, host: str, pattern: str) -> bool:
    """Compare as Django compares CSRF_TRUSTED_ORIGINS: exactly, or with any subdomain for ``https://*.example.com``."""
    wanted = urlsplit(pattern)
    return scheme == wanted.scheme and is_same_domain(host.lower(), wanted.netloc.lower().lstrip("*"))
