"""Who a request was made by, looked at again: connections outlive logins, and some cannot set a cookie."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    aget_user,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.http import HttpRequest

from ..readers.standing import Standing
from ..utils.request_user import know_user, name_user

OWNER_SESSION_KEY = "resumable_stream_owner"
"""Where an anonymous visitor's id stands in the session."""

_IDENTITY = (SESSION_KEY, HASH_SESSION_KEY, OWNER_SESSION_KEY)


def copy_of(request: HttpRequest) -> HttpRequest:
    """Return a request like this one, to which other things can be attached."""
    # Not copy.copy(), by which a request loses what cannot be pickled: its stream, and which route it came by.
    copied: HttpRequest = request.__class__.__new__(request.__class__)
    copied.__dict__.update(request.__dict__)
    return copied


async def as_of_now(request: HttpRequest) -> HttpRequest | Standing:
    """Return the request with its session, and the user that this names, as they are now; or how it stands without.

    ``ENDED`` where the session has ended or has become somebody else's: logged out, expired, another login, a password
    that somebody else has changed. ``RENEWED`` where Django has given the same person another session: a visitor who
    has signed in. ``RECONNECT`` where it may have: a password was changed, and by whom is known by the cookie alone.
    What is not kept in a session (a token in a header) cannot be looked at again; that is for ``authorize``.
    """
    now = copy_of(request)
    session = getattr(request, "session", None)
    if session is None or session.session_key is None:
        return now
    before = [await session.aget(key) for key in _IDENTITY]
    now.session = fresh = session.__class__(session.session_key)
    after = [await fresh.aget(key) for key in _IDENTITY]
    # A visitor may get an id meanwhile; whoever had one keeps it.
    if any(old is not None and old != new for old, new in zip(before, after, strict=True)):
        return await _standing_of(session, before, after)
    if before[0] is None:
        return now
    # The session names the user, and says whether that user still has the same password and may still log in.
    user = await aget_user(now)
    if not user.is_authenticated:
        # A session in a cookie says for ever what it said then; whether the client has got another cookie, it shows.
        is_unknown = isinstance(session, CookieStore) and await _has_new_password(session, before)
        return Standing.RECONNECT if is_unknown else Standing.ENDED
    known = await know_user(request)
    # Otherwise somebody else than the session has said who asks: a token, or an impersonation.
    if known is None or known.pk == user.pk:
        name_user(now, user)
    return now


async def _standing_of(session: Any, before: list[Any], after: list[Any]) -> Standing:
    if any(value is not None for value in after) or await session.aexists(session.session_key):
        return Standing.ENDED
    if before[0] is None:
        # Visitors sign in, and nothing else takes their session from them but its age.
        return Standing.RENEWED
    # A logout leaves the password as it was.
    return Standing.RECONNECT if await _has_new_password(session, before) else Standing.ENDED


async def _has_new_password(session: Any, before: list[Any]) -> bool:
    user = await _user_before(session, before[0])
    has_hash = user is not None and hasattr(user, "get_session_auth_hash")
    return bool(has_hash and user.get_session_auth_hash() != before[1])


async def _user_before(session: Any, key: str) -> Any:
    path = await session.aget(BACKEND_SESSION_KEY)
    if path not in django_settings.AUTHENTICATION_BACKENDS:
        return None
    return await load_backend(path).aget_user(get_user_model()._meta.pk.to_python(key))


async def keep_session(request: HttpRequest) -> bool:
    """Save what was written into the session where no response will carry a cookie; tell whether it is kept.

    It is not where the visitor has no session yet, nor where sessions live in the cookie itself.
    """
    session = getattr(request, "session", None)
    if session is None or not session.modified:
        return True
    if session.session_key is None or not await session.aexists(session.session_key):
        return False
    try:
        await session.asave()
    except UpdateError:  # It ended just now.
        return False
    return True
