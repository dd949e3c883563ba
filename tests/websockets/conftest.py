"""What tests of sockets share."""

from __future__ import annotations

import pytest

from .chats import Chat


@pytest.fixture
def fresh_chats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "sources", {})
    monkeypatch.setattr(Chat, "forbidden", set())
