"""The names of chats on the log: ``chat/<view>/<URL parameters>/<owner>/<chat id>``, so that no two chats meet in one.

The view, the place where it is mounted, and the owner each have a segment of their own; what an app or a client has
chosen cannot reach into another segment, since slashes are quoted there.
"""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest

CHAT_PARAMETER = "chat_id"
"""The parameter of our own routes."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_PLAIN = (str, int, float, decimal.Decimal, uuid.UUID, datetime.date, datetime.time)


def default_name(view: type) -> str:
    """Name a view that declares no name: by its app and its class, wherever in the app it stands."""
    app = apps.get_containing_app_config(view.__module__) if apps.apps_ready else None
    return f"{app.label if app is not None else view.__module__}.{view.__name__}"


def check_name(name: object, view: type) -> str:
    """Return a name that a view declares.

    Raises:
        ImproperlyConfigured: It cannot be a name.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise ImproperlyConfigured(
            f"{view.__name__}.name must be up to 64 letters, digits, '.', '_' or '-', not {name!r}."
        )
    return name


def url_parameters(request: HttpRequest, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells the places apart where one view is mounted: the URL's parameters, but for the chat's id.

    Values that a URLconf adds (``path(..., {"agent": agent})``) count where they are plain; those that the path holds
    always do.
    """
    match = getattr(request, "resolver_match", None)
    captured = getattr(match, "captured_kwargs", None)
    captured = kwargs if captured is None else captured
    return {
        key: value
        for key, value in kwargs.items()
        if key != CHAT_PARAMETER and (key in captured or isinstance(value, (*_PLAIN, Model)))
    }


def stream_name(view_name: str, parameters: Mapping[str, Any], owner: str, chat_id: str) -> str:
    """Name the stream of a chat."""
    return "/".join(["chat", *place_segments(view_name, parameters), quote(owner, safe="@"), chat_id])


def place_segments(view_name: str, parameters: Mapping[str, Any]) -> list[str]:
    """Name the view and the place where it is mounted."""
    segments = [f"{quote(key)}={_quoted(key, parameters[key])}" for key in sorted(parameters)]
    return [quote(view_name, safe=""), *segments]


def _quoted(key: str, value: Any) -> str:
    if isinstance(value, Model):
        value = value.pk
    if not isinstance(value, _PLAIN):
        raise ImproperlyConfigured(
            f"The URL parameter {key!r} is a {type(value).__name__}, which cannot stand in the name of a stream. "
            "Override get_stream_name()."
        )
    return quote(str(value), safe="@")
