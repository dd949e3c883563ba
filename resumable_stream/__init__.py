"""Resumable LLM chat streams for Django, on a durable log.

The names below are loaded when they are first used, so that the package can be imported before Django is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat.api import ResumableChat
    from .chat.owners import owner_of
    from .string_streams import ResumableStreamContext, ResumableStreamMixin
    from .views.chat_view import ResumableChatView

__version__ = "0.1.0"
__all__ = [
    "ResumableChat",
    "ResumableChatView",
    "ResumableStreamContext",
    "ResumableStreamMixin",
    "__version__",
    "owner_of",
]

_MODULES = {
    "ResumableChat": ".chat.api",
    "ResumableChatView": ".views.chat_view",
    "ResumableStreamContext": ".string_streams",
    "ResumableStreamMixin": ".string_streams",
    "owner_of": ".chat.owners",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
