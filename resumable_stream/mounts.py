"""Where a project's URLconf mounts chats; for system checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.urls import URLResolver, get_resolver

from .chat.owners import OwnerHooks
from .views.chat_view import ResumableChatView


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One place where a view is mounted."""

    view: type[ResumableChatView]
    path: str
    """Its prefix, as the URLconf writes it."""
    captured: frozenset[str]
    """The parameters that the prefix captures."""
    extras: tuple[tuple[str, str], ...]
    """The parameters that the URLconf adds."""

    @property
    def chats(self) -> tuple[object, ...] | None:
        """What is the same for two mounts if their streams have the same names; ``None`` if the app names them."""
        if self.view.get_stream_name is not OwnerHooks.get_stream_name:
            return None
        return self.view.backend, self.view.chat_name(), self.captured, self.extras


def mounts() -> Iterator[Mount]:
    """Yield every place where the project's URLconf mounts a chat."""
    if getattr(django_settings, "ROOT_URLCONF", None):
        yield from _below(get_resolver().url_patterns, "/", frozenset(), {})


def _below(patterns: Any, path: str, captured: frozenset[str], extras: dict[str, Any]) -> Iterator[Mount]:
    for one in patterns:
        inside = captured.union(one.pattern.regex.groupindex)
        if isinstance(one, URLResolver):
            yield from _below(one.url_patterns, path + str(one.pattern), inside, {**extras, **one.default_kwargs})
            continue
        view = getattr(one.callback, "view_class", None)
        if not (isinstance(view, type) and issubclass(view, ResumableChatView)):
            continue
        if one.callback.view_initkwargs.get("action") == "chat":
            added = {**extras, **one.default_args}
            told = tuple(sorted((key, repr(value)) for key, value in added.items()))
            yield Mount(view=view, path=path, captured=inside, extras=told)
