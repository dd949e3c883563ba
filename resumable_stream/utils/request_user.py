"""Who has made a request: what ``request.user`` says, known before asynchronous code asks for it."""

from __future__ import annotations

from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty


async def know_user(request: HttpRequest) -> Any:
    """Return the signed-in user, or ``None``; from then on the request knows its user without asking the database.

    ``request.user`` decides, whatever has set it: Django's own middleware, or one that looks at a token, a proxy's
    header or an impersonation. Only where it was never looked at does an ``auser`` of such a middleware's own decide.
    """
    user = getattr(request, "user", None)
    if user is None:
        if not hasattr(request, "auser"):
            return None
        user = await request.auser()
    elif _is_unknown(user):
        if _is_djangos(getattr(request, "auser", None)):
            # In a thread: whoever made the object may ask the database.
            await sync_to_async(_look_at)(user)
        else:
            user = await request.auser()
    name_user(request, user)
    return user if user.is_authenticated else None


def name_user(request: HttpRequest, user: Any) -> None:
    """Set who has made the request, for synchronous and asynchronous code alike."""
    request.user = user
    request.auser = partial(given, user)


async def given(value: Any) -> Any:
    """Return what is known already."""
    return value


def _is_unknown(user: Any) -> bool:
    return isinstance(user, LazyObject) and user._wrapped is empty


def _is_djangos(auser: Any) -> bool:
    # Not imported for a comparison: that module needs an installed django.contrib.auth.
    return auser is None or getattr(getattr(auser, "func", None), "__module__", "") == "django.contrib.auth.middleware"


def _look_at(user: Any) -> None:
    bool(user.is_authenticated)
