"""What clients are told of errors, for people to read; what they are not told is logged."""

from __future__ import annotations

import logging
from http import HTTPStatus

from .exceptions import (
    AccessDeniedError,
    GenerationActiveError,
    GenerationNotFoundError,
    InvalidRequestError,
    LimitExceededError,
    RecordsMissingError,
    ResumableStreamError,
    ServerBusyError,
    ShuttingDownError,
)
from .utils.log_once import warn_once

logger = logging.getLogger(__name__)

FORBIDDEN_TEXT = "You no longer have access to this chat."
UNAVAILABLE_TEXT = "The chat service cannot be reached. Try again in a moment."
NOT_FOUND_TEXT = "There is no such chat."
MISSING_TEXT = "A part of this chat is missing from the server's log, so it cannot be shown."
CHANGED_TEXT = "The chat has changed in the meantime. Load it again."

_FOR_CLIENTS = (
    AccessDeniedError,
    InvalidRequestError,
    GenerationActiveError,
    GenerationNotFoundError,
    LimitExceededError,
    ServerBusyError,
    ShuttingDownError,
)
"""Errors whose message is written for the people who read it; others name streams and tokens."""


def error_text(error: ResumableStreamError) -> str:
    """Word an error for people, and log what they are not told."""
    status = error.status_code
    if isinstance(error, _FOR_CLIENTS):
        return str(error)
    if isinstance(error, RecordsMissingError):
        warn_once(logger, "the log has a hole: %s", error, error=error)
        return MISSING_TEXT
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request failed status=%s error=%s", status, error, exc_info=error)
        return UNAVAILABLE_TEXT
    logger.warning("request met what it did not expect status=%s error=%s", status, error)
    return CHANGED_TEXT
