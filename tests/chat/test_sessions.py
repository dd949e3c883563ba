"""Sessions that end, change hands or cannot be kept, as a connection sees them that outlives a request."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.core.cache import cache
from django.http import HttpRequest
from django.test import AsyncRequestFactory
from django.urls import ResolverMatch

from resumable_stream.chat.sessions import OWNER_SESSION_KEY, as_of_now, keep_session
from resumable_stream.readers.standing import Standing

USERS: dict[int, User] = {}


class Backend(BaseBackend):
    """Knows users without a database."""

    def get_user(self, user_id: int) -> User | None:
        return USERS.get(user_id)

    async def aget_user(self, user_id: int) -> User | None:
        return USERS.get(user_id)


@pytest.fixture(autouse=True)
def users(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Backend"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    cache.clear()
    USERS.clear()
    USERS[7] = User(pk=7, username="ann", password="one")


async def request_of(store: Any = CacheStore, **values: Any) -> HttpRequest:
    request = HttpRequest()
    request.session = store()
    for name, value in values.items():
        await request.session.aset(name, value)
    await request.session.asave()
    return request


async def signed_in(store: Any = CacheStore) -> HttpRequest:
    request = await request_of(store)
    await request.session.aset(SESSION_KEY, "7")
    await request.session.aset(BACKEND_SESSION_KEY, f"{__name__}.Backend")
    await request.session.aset(HASH_SESSION_KEY, USERS[7].get_session_auth_hash())
    await request.session.asave()
    return request


async def test_a_request_without_a_session_is_as_it_was() -> None:
    request = AsyncRequestFactory().post("/chat?a=b", data=b"{}", content_type="application/json")
    request.resolver_match = resolver_match = ResolverMatch(as_of_now, (), {"chat_id": "c"})
    now = await as_of_now(request)

    assert isinstance(now, HttpRequest)
    assert now is not request
    assert (now.path, now.GET, now.body) == ("/chat", request.GET, b"{}")
    assert now.resolver_match is resolver_match


@pytest.mark.parametrize("store", [CacheStore, CookieStore])
async def test_a_visitor_stays_the_same_visitor(store: Any) -> None:
    now = await as_of_now(await request_of(store, **{OWNER_SESSION_KEY: "v"}))

    assert isinstance(now, HttpRequest)
    assert await now.session.aget(OWNER_SESSION_KEY) == "v"


async def test_what_others_have_written_into_the_session_is_seen() -> None:
    request = await request_of(anything=1)
    assert await request.session.aget("anything") == 1
    other = CacheStore(request.session.session_key)
    await other.aset(OWNER_SESSION_KEY, "v")
    await other.asave()
    now = await as_of_now(request)

    assert isinstance(now, HttpRequest)
    assert await now.session.aget(OWNER_SESSION_KEY) == "v"


async def test_a_visitor_whose_session_is_gone_has_signed_in() -> None:
    request = await request_of(**{OWNER_SESSION_KEY: "v"})
    await CacheStore(request.session.session_key).acycle_key()

    assert await as_of_now(request) is Standing.RENEWED


async def test_a_visitor_whose_session_is_another_ones_is_nobody() -> None:
    request = await request_of(**{OWNER_SESSION_KEY: "v"})
    other = CacheStore(request.session.session_key)
    await other.aset(OWNER_SESSION_KEY, "w")
    await other.asave()

    assert await as_of_now(request) is Standing.ENDED


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_user_with_a_new_password_and_another_session_must_show_the_cookie(is_deleted: bool) -> None:
    request = await signed_in()
    # As update_session_auth_hash() does.
    await CacheStore(request.session.session_key).acycle_key()
    USERS[7] = User(pk=7, username="ann", password="two")
    if is_deleted:
        USERS.clear()

    assert await as_of_now(request) is (Standing.ENDED if is_deleted else Standing.RECONNECT)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_user_with_a_new_password_whose_session_lives_in_the_cookie_must_show_it(is_deleted: bool) -> None:
    request = await signed_in(CookieStore)
    USERS[7] = User(pk=7, username="ann", password="two")
    if is_deleted:
        USERS.clear()

    assert await as_of_now(request) is (Standing.ENDED if is_deleted else Standing.RECONNECT)


async def test_a_user_comes_as_the_database_has_it_now() -> None:
    request = await signed_in()
    USERS[7] = User(pk=7, username="ann", password="one", first_name="Ann")
    now = await as_of_now(request)

    assert isinstance(now, HttpRequest)
    assert now.user.first_name == "Ann"
    assert await now.auser() is now.user


@pytest.mark.parametrize("way", ["logged out", "new password", "deleted", "somebody else"])
async def test_a_user_who_has_left_is_nobody(way: str) -> None:
    request = await signed_in()
    other = CacheStore(request.session.session_key)
    if way == "logged out":
        await other.aflush()
    elif way == "new password":
        USERS[7] = User(pk=7, username="ann", password="two")
    elif way == "deleted":
        USERS.clear()
    else:
        await other.aset(SESSION_KEY, "8")
        await other.asave()

    assert await as_of_now(request) is Standing.ENDED


async def test_what_was_written_is_kept_where_there_is_a_session_on_the_server() -> None:
    request = await request_of(anything=1)
    assert await keep_session(request)
    await request.session.aset("more", 2)
    assert await keep_session(request)

    assert await CacheStore(request.session.session_key).aget("more") == 2


@pytest.mark.parametrize("way", ["new", "in the cookie", "gone"])
async def test_what_cannot_be_kept_is_known(way: str) -> None:
    request = HttpRequest()
    request.session = CacheStore()
    if way != "new":
        request = await request_of(CookieStore if way == "in the cookie" else CacheStore, anything=1)
    if way == "gone":
        await CacheStore(request.session.session_key).aflush()
    await request.session.aset("more", 2)

    assert not await keep_session(request)


async def test_nothing_to_keep_is_kept() -> None:
    assert await keep_session(HttpRequest())
