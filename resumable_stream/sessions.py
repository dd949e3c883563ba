"""Who a request was made by, looked at again: connections outlive logins, and some cannot set a cookie."""

from __future__ import annotations

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, aget_user
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest

from .identity import know_user, name_user

OWNER_SESSION_KEY = "resumable_stream_owner"
"""Where an anonymous visitor's id stands in the session."""

_IDENTITY = (SESSION_KEY, HASH_SESSION_KEY, OWNER_SESSION_KEY)


def copy_of(request: HttpRequest) -> HttpRequest:
    """Return a request like this one, to which other things can be attached."""
    # Not copy.copy(), by which a request loses what cannot be pickled: its stream, and which route it came by.
    copied: HttpRequest = request.__class__.__new__(request.__class__)
    copied.__dict__.update(request.__dict__)
    return copied


async def as_of_now(request: HttpRequest) -> HttpRequest | None:
    """Return the request with its session, and the user that this names, as they are now.

    ``None`` where the session has ended or has become somebody else's: logged out, expired, or after a login or a new
    password, which all give the browser another session. What is not kept in a session (a token in a header) cannot be
    looked at again here; that is for ``authorize``.
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
        return None
    if before[0] is None:
        return now
    # The session names the user, and says whether that user still has the same password and may still log in.
    user = await aget_user(now)
    if not user.is_authenticated:
        return None
    known = await know_user(request)
    # Otherwise somebody else than the session has said who asks: a token, or an impersonation.
    if known is None or known.pk == user.pk:
        name_user(now, user)
    return now


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
