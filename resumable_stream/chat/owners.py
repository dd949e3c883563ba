"""Whose a chat is, and what its stream is called: the part of a view's hooks that keeps people's chats apart."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest

from ..backends import backends
from ..limits import address_key
from ..utils.app_code import call, stays_in_loop
from ..utils.request_user import know_user
from .guests import follow_guest, visitors_of
from .hook_values import checked_stream_name, owner_text
from .sessions import OWNER_SESSION_KEY
from .stream_names import check_name, default_name, place_segments, stream_name, url_parameters

FromHook = Any
"""A ``str``, an ``int`` or a UUID, or a coroutine that gives one.

No union, so that type checkers accept ``await super().limit_key(request)`` in a subclass. What an app's hook returns is
checked where it is used."""
_USER = "user-"
_VISITOR = "visitor-"


async def owner_of(request: HttpRequest) -> str:
    """Name who is asking, for names of your own: ``user-<primary key>`` or ``visitor-<random id>``, never nobody.

    An anonymous visitor's id is kept in the session, and begins with a POST, or with a start over a websocket.

    Raises:
        ImproperlyConfigured: There is neither a user nor a session.
    """
    return await default_owner(request, begins=may_begin_to_own(request))


_MAY_BEGIN = "_resumable_stream_may_begin_to_own"


def let_begin_to_own(request: HttpRequest) -> None:
    """Say that the request may begin to own a chat, though it is no POST: a start over a websocket."""
    setattr(request, _MAY_BEGIN, True)


def may_begin_to_own(request: HttpRequest) -> bool:
    """Return whether the request may begin to own a chat, so that its visitor must be known again after it."""
    return request.method == "POST" or getattr(request, _MAY_BEGIN, False)


async def default_owner(request: HttpRequest, *, begins: bool) -> str:
    """Name the signed-in user or the visitor; a visitor's new id is kept only if it ``begins`` to own something."""
    user = await know_user(request)
    if user is not None:
        return f"{_USER}{user.pk}"
    session = getattr(request, "session", None)
    if session is None:
        raise ImproperlyConfigured(
            "resumable_stream keeps anonymous visitors' chats apart by their session. Add "
            "django.contrib.sessions.middleware.SessionMiddleware to MIDDLEWARE (for websockets, wrap their "
            "URLRouter in AuthMiddlewareStack), or override get_owner()."
        )
    visitor = await session.aget(OWNER_SESSION_KEY)
    if not isinstance(visitor, str):
        visitor = secrets.token_urlsafe(15)
        if begins:
            await session.aset(OWNER_SESSION_KEY, visitor)
    return f"{_VISITOR}{visitor}"


async def visitor_before(request: HttpRequest) -> str | None:
    """Return who the signed-in user was in this session before signing in, as an owner."""
    session = getattr(request, "session", None)
    visitor = await session.aget(OWNER_SESSION_KEY) if session is not None else None
    if session is None or not isinstance(visitor, str) or session.session_key is None:
        return None
    # A session in a cookie is nowhere else: whoever has copied that cookie would read on what the user writes now.
    return f"{_VISITOR}{visitor}" if await session.aexists(session.session_key) else None


class OwnerHooks:
    """The hooks that say whose a chat is; see :class:`~resumable_stream.chat.hooks.ChatHooks`."""

    name = ""
    """Names this kind of chat in the names of its streams and its URLs: up to 64 letters, digits, ``.``, ``_``, ``-``.

    Default: the app's label and the class's name, ``"support.SupportChat"``. Chats are found under it, so declare it
    before you rename the class."""
    backend = "default"
    """Alias of the log in the ``BACKENDS`` setting."""
    follows_guests = True
    """Whether a user owns, after signing in, what the same visitor began before (:mod:`~resumable_stream.chat.guests`).

    Not where sessions live in cookies, which stay valid when they are copied, nor where ``get_owner`` is overridden."""
    kwargs: Mapping[str, Any] = {}
    """The parameters of the URL, also over a websocket: for ``path("projects/<int:project_id>/chat", …)``,
    ``self.kwargs["project_id"]``."""

    @stays_in_loop
    def get_stream_name(self, request: HttpRequest, chat_id: str) -> FromHook:
        """Name the stream of a chat: ``chat/<view>/<URL parameters>/<owner>/<chat id>``.

        So somebody else's id leads nowhere, nor does that of another kind of chat, or of another project's page.
        """
        return self._default_stream_name(request, chat_id)

    async def _default_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        parameters = url_parameters(request, self.kwargs)

        def name_of(owner: str) -> str:
            return stream_name(self.chat_name(), parameters, owner, chat_id)

        owner = await self.owner_of(request)
        if not self._may_have_been_a_guest(owner):
            return name_of(owner)
        return await follow_guest(backends[self.backend], owner, await visitor_before(request), name_of)

    def _may_have_been_a_guest(self, owner: str) -> bool:
        names_owners = type(self).get_owner is not OwnerHooks.get_owner
        return self.follows_guests and not names_owners and owner.startswith(_USER)

    @stays_in_loop
    def get_owner(self, request: HttpRequest) -> FromHook:
        """Name who is asking: the signed-in user, or a random id kept in the visitor's session.

        Limits count per owner. The session's own key would not do: it changes at login, and with signed cookies it is
        the data itself.
        """
        return default_owner(request, begins=self.begins_to_own(request))

    @stays_in_loop
    def limit_key(self, request: HttpRequest) -> FromHook:
        """Name for whom a request counts against the limits of each owner; ``""`` for nobody.

        By default it counts for its owner, but as long as an anonymous visitor has no session, for the client's
        address, or with IPv6 for its network of 64 bits. An address that is not public is most often a proxy's and
        says nothing: have the server take the client's from the proxy (uvicorn: ``--proxy-headers``).
        """
        return self._default_limit_key(request)

    async def _default_limit_key(self, request: HttpRequest) -> str:
        names_owners = type(self).get_owner is not OwnerHooks.get_owner
        session = getattr(request, "session", None)
        if names_owners or (session is not None and session.session_key is not None) or await know_user(request):
            return await self.owner_of(request)
        address = address_key(request.META.get("REMOTE_ADDR", ""))
        return address or (await self.owner_of(request) if session is not None else "")

    def begins_to_own(self, request: HttpRequest) -> bool:
        """Return whether an anonymous visitor is to be known again after this request."""
        return may_begin_to_own(request)

    async def remember_visitor(self, request: HttpRequest) -> None:
        """Give an anonymous visitor an id now, in the view of a page whose chats start over a websocket.

        A start over HTTP does so by itself; a websocket cannot set the cookie.
        """
        await default_owner(request, begins=True)

    # -- for doors -----------------------------------------------------------------------------------------------

    @classmethod
    def chat_name(cls) -> str:
        """Return the declared :attr:`name`, or the default.

        Raises:
            ImproperlyConfigured: The declared one cannot be a name.
        """
        return check_name(cls.name, cls) if cls.name else default_name(cls)

    @cached_property
    def _owners(self) -> weakref.WeakKeyDictionary[HttpRequest, str]:
        # A view serves one request, but that of a websocket serves all requests of its socket.
        return weakref.WeakKeyDictionary()

    async def owner_of(self, request: HttpRequest) -> str:
        """Return who is asking; ``get_owner`` is called once for a request, until :meth:`forget_owner`.

        Raises:
            ImproperlyConfigured: ``get_owner`` names nobody.
        """
        owner = self._owners.get(request)
        if owner is None:
            owner = self._owners[request] = owner_text(await call(self.get_owner, request), type(self))
        return owner

    def forget_owner(self, request: HttpRequest) -> None:
        """Have ``get_owner`` called again: ``authorize`` may have signed somebody in, or a session has got an id."""
        self._owners.pop(request, None)

    async def limit_key_of(self, request: HttpRequest) -> str:
        """Return for whom the request counts.

        Raises:
            ImproperlyConfigured: ``limit_key`` returns something else than a name.
        """
        key = await call(self.limit_key, request)
        if isinstance(key, (str, int, UUID)) and not isinstance(key, bool):
            return str(key)
        raise ImproperlyConfigured(
            f"{type(self).__name__}.limit_key() must return for whom the request counts, as a str, an int or a UUID "
            f"('' for nobody), not {type(key).__name__}."
        )

    async def owner_here(self, request: HttpRequest) -> str:
        """Name the owner together with this view and the place where it is mounted."""
        return self._here(request, await self.owner_of(request))

    async def guests_here(self, request: HttpRequest) -> list[str]:
        """Name the visitors that the owner has been, as :meth:`owner_here` does."""
        owner = await self.owner_of(request)
        if not self._may_have_been_a_guest(owner):
            return []
        visitors = await visitors_of(backends[self.backend], owner)
        return [self._here(request, visitor) for visitor in reversed(visitors)]

    def _here(self, request: HttpRequest, owner: str) -> str:
        place = place_segments(self.chat_name(), url_parameters(request, self.kwargs))
        return "/".join([*place, quote(owner, safe="@")])

    async def stream_of(self, request: HttpRequest, chat_id: str) -> str:
        """Name the chat's stream.

        Raises:
            ImproperlyConfigured: What ``get_stream_name`` returns can be no stream's name.
        """
        return checked_stream_name(await call(self.get_stream_name, request, chat_id), type(self))
