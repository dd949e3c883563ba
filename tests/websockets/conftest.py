"""What tests of sockets share."""

from __future__ import annotations

from typing import Any

import pytest

from .chats import Chat


@pytest.fixture
def fresh_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "sources", {})
    monkeypatch.setattr(Chat, "forbidden", set())


@pytest.fixture
def sessions(settings: Any) -> Any:
    """The class of sessions that live in the server."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    from django.contrib.sessions.backends.cache import SessionStore  # noqa: PLC0415 - of this setting

    return SessionStore
