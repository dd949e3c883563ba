"""Resumable LLM chat streams for Django, on a durable log.

The names below are loaded when they are first used, so that the package can be imported before Django is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chat import ResumableChat
    from .context import ResumableStreamContext, ResumableStreamMixin
    from .owners import owner_of
    from .views import ResumableChatView

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
    "ResumableChat": ".chat",
    "ResumableChatView": ".views",
    "ResumableStreamContext": ".context",
    "ResumableStreamMixin": ".context",
    "owner_of": ".owners",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
