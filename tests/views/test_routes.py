from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404
from django.test import AsyncRequestFactory
from django.urls import Resolver404, include, path
from django.urls.resolvers import RegexPattern, URLResolver

from resumable_stream.views import ResumableChatView
from resumable_stream.views.routes import require_boundary, routes


class Chat(ResumableChatView):
    pass


def import_urls() -> ModuleType:
    return import_module("resumable_stream.urls")


@pytest.fixture(autouse=True)
def fresh_module() -> Iterator[None]:
    """The URLconf looks at the setting when it is imported."""
    sys.modules.pop("resumable_stream.urls", None)
    yield
    sys.modules.pop("resumable_stream.urls", None)


def test_the_urlconf_serves_the_view_of_the_setting(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"CHAT_VIEW": "tests.views.test_routes.Chat"}
    module = import_urls()

    assert module.app_name == "resumable_stream"
    assert module.urlpatterns[0].callback.view_class.__name__ == "Chat"


def test_without_the_setting_the_error_says_what_to_set(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {}

    with pytest.raises(ImproperlyConfigured, match=r"\['CHAT_VIEW'\] must name your ResumableChatView subclass"):
        import_urls()


@pytest.mark.parametrize(
    ("view", "problem"),
    [("nowhere.Chat", "cannot be imported"), ("Chat", "cannot be imported"), ("builtins.dict", "is no subclass")],
)
def test_a_setting_that_leads_nowhere_is_named(settings: Any, view: str, problem: str) -> None:
    settings.RESUMABLE_STREAM = {"CHAT_VIEW": view}

    with pytest.raises(ImproperlyConfigured, match=f"CHAT_VIEW.*{view}.*{problem}"):
        import_urls()


def resolver(prefix: str) -> URLResolver:
    return URLResolver(RegexPattern("^"), [path(prefix, include((routes(Chat), "chat")))])


@pytest.mark.parametrize(
    ("prefix", "url", "action"),
    [
        ("api/chat", "api/chat", "chat"),
        ("api/chat", "api/chat/", "chat"),
        ("api/chat", "api/chat/replay", "replay"),
        ("api/chat", "api/chat//replay/", "replay"),
        ("api/chat", "api/chat/replay/stream", "stream"),
        ("api/chat", "api/chat/stop/stop", "stop"),
        ("api/chat", "api/chat/c/messages", "messages"),
        ("api/chat/", "api/chat/", "chat"),
        ("api/chat/", "api/chat/c/stream", "stream"),
        ("api/chat/", "api/chat//c/stream/", "stream"),
        ("", "", "chat"),
        ("", "c/stream", "stream"),
    ],
)
def test_a_path_leads_to_its_action(prefix: str, url: str, action: str) -> None:
    assert resolver(prefix).resolve(url).func.view_initkwargs["action"] == action


@pytest.mark.parametrize("url", ["api/chat/c", "api/chat/c/d/stream", "api/chat///c/stream", "api/cha", "api/chat/c/"])
def test_other_paths_lead_nowhere(url: str) -> None:
    with pytest.raises(Resolver404):
        resolver("api/chat").resolve(url)


@pytest.mark.parametrize(
    ("url", "action", "chat_id", "is_ours"),
    [
        ("/api/chat/c/stream", "stream", "c", True),
        ("/api/chat/c/stream/", "stream", "c", True),
        ("/api/chatc/stream", "stream", "c", False),
        ("/c/stream", "stream", "c", True),
        ("/api/chat/replay", "replay", None, True),
        ("/api/chatreplay", "replay", None, False),
        ("/api/my-replay", "chat", None, True),
    ],
)
def test_a_route_begins_with_a_whole_segment(url: str, action: str, chat_id: str | None, is_ours: bool) -> None:
    request = AsyncRequestFactory().get(url)
    if is_ours:
        require_boundary(request, action, chat_id)
    else:
        with pytest.raises(Http404):
            require_boundary(request, action, chat_id)
