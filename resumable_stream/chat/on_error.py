"""The app's words for a failure, which people read in the place of the answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.utils.functional import Promise

from ..exceptions import EmptyAnswerError, GenerationLimitError
from ..utils.app_code import call
from ..utils.threads import own_thread

logger = logging.getLogger(__name__)

DEFAULT_ERROR_TEXT = "An error occurred."
OnError = Callable[[Any, Exception], Awaitable[str] | str]


def default_error_text(error: Exception) -> str:
    """Word a failure for people: nothing of its insides, unless the error was written for them."""
    return str(error) if isinstance(error, (EmptyAnswerError, GenerationLimitError)) else DEFAULT_ERROR_TEXT


async def default_on_error(_context: Any, error: Exception) -> str:
    """Word a failure where the app does not."""
    return default_error_text(error)


async def describe(on_error: OnError, context: Any, error: Exception, *, stream: str, generation_id: str) -> str:
    """Ask the app's ``on_error`` for the words; where it fails, that is logged and the default words are used."""
    try:
        # With a database connection of its own, as on_end.
        async with own_thread():
            return _words(await call(on_error, context, error))
    except Exception:  # an app's hook; the generation must end all the same
        logger.exception("on_error failed stream=%s generation=%s", stream, generation_id)
        return DEFAULT_ERROR_TEXT


def _words(value: object) -> str:
    if isinstance(value, (str, Promise)):
        return str(value)
    raise TypeError(f"on_error() must return the words for people as str, not {type(value).__name__}.")
