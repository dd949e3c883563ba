"""What tests of views share."""

from __future__ import annotations

from typing import Any

import pytest

from ..support.producers import Producer, of
from .chats import Answer, Chat


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Set what the views generate: a source, or a function of the turn."""

    def set_source(source: Any) -> None:
        made = (lambda turn: source()) if isinstance(source, Producer) else source
        monkeypatch.setattr(Chat, "source", staticmethod(made))

    return set_source


@pytest.fixture
def default_answer(answer_with: Answer) -> None:
    answer_with(lambda turn: of("Hello", " world")())
