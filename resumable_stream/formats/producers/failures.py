"""Errors that servers send in place of an event, where their streams have no event for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import ProducerError


def refuse_failure(item: Any, *, is_apps_own: bool) -> None:
    """Raise if ``item`` says that the provider failed; its words are for :meth:`on_error`, not for people.

    What the app itself yields as a mapping is taken for a failure only if no app words its own events like that.

    Raises:
        ProducerError: It does.
    """
    if not isinstance(item, Mapping):
        return  # An object of the app's own.
    error = item.get("error")
    # As OpenAI and most others word it; and as vLLM does.
    is_failure = isinstance(error, Mapping) and isinstance(error.get("message"), str)
    is_failure |= item.get("object") == "error" and isinstance(item.get("message"), str)
    if not is_apps_own:
        # As few others word it; and as another server's AI SDK stream does.
        is_failure |= isinstance(error, Mapping) or (isinstance(error, str) and item.get("type") in (None, "error"))
        is_failure |= item.get("type") == "error" and isinstance(item.get("errorText"), str)
    if is_failure:
        raise ProducerError(f"The provider failed: {item!r:.500}")
