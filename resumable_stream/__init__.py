"""Resumable LLM chat streams for Django, on a durable log.

The names below are loaded when they are first used, so that the package can be imported before Django is configured.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asgi import DrainOnShutdown
    from .chat.api import ResumableChat
    from .chat.on_end import End
    from .chat.owners import owner_of
    from .chat.turn import Turn
    from .exceptions import (
        AccessDeniedError,
        GenerationActiveError,
        GenerationNotFoundError,
        IncompleteStreamError,
        InvalidRequestError,
        LimitExceededError,
        NotAuthenticatedError,
        ResumableStreamError,
        StreamNotFoundError,
    )
    from .formats.base import ChunkFormat
    from .formats.encoded import Encoded
    from .string_streams import ResumableStreamContext, ResumableStreamMixin
    from .types import EndReason
    from .views import ResumableChatView

__version__ = "0.1.0"
__all__ = [
    "AccessDeniedError",
    "ChunkFormat",
    "DrainOnShutdown",
    "Encoded",
    "End",
    "EndReason",
    "GenerationActiveError",
    "GenerationNotFoundError",
    "IncompleteStreamError",
    "InvalidRequestError",
    "LimitExceededError",
    "NotAuthenticatedError",
    "ResumableChat",
    "ResumableChatView",
    "ResumableStreamContext",
    "ResumableStreamError",
    "ResumableStreamMixin",
    "StreamNotFoundError",
    "Turn",
    "__version__",
    "owner_of",
]

_MODULES = {
    "AccessDeniedError": ".exceptions",
    "ChunkFormat": ".formats.base",
    "DrainOnShutdown": ".asgi",
    "Encoded": ".formats.encoded",
    "End": ".chat.on_end",
    "EndReason": ".types",
    "GenerationActiveError": ".exceptions",
    "GenerationNotFoundError": ".exceptions",
    "IncompleteStreamError": ".exceptions",
    "InvalidRequestError": ".exceptions",
    "LimitExceededError": ".exceptions",
    "NotAuthenticatedError": ".exceptions",
    "ResumableChat": ".chat.api",
    "ResumableChatView": ".views",
    "ResumableStreamContext": ".string_streams",
    "ResumableStreamError": ".exceptions",
    "ResumableStreamMixin": ".string_streams",
    "StreamNotFoundError": ".exceptions",
    "Turn": ".chat.turn",
    "owner_of": ".chat.owners",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
