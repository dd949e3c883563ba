"""What the app's hooks answer, checked where it comes in: who may do what, whose a chat is, and what it is called."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ..exceptions import AccessDeniedError, InvalidRecordError, NotAuthenticatedError
from ..records import validate_stream_name
from ..utils.app_code import call

MAX_OWNER_CHARACTERS = 256
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


async def require_right(authorize: Callable[..., Any], request: HttpRequest, chat_id: str, action: str) -> None:
    """Ask the app's ``authorize``, however it says no.

    Raises:
        AccessDeniedError: The request has no right to ``action``.
    """
    try:
        answer = await call(authorize, request, chat_id, action)
    except AccessDeniedError:
        raise
    except Http404 as error:
        raise AccessDeniedError from error
    except PermissionDenied as error:
        raise AccessDeniedError(status=HTTPStatus.FORBIDDEN) from error
    except Exception as error:
        # Django REST framework, Django Ninja and others have exceptions of their own that say so.
        status = getattr(error, "status_code", None)
        if status not in _REFUSALS:
            raise
        raise _denied(status) from error
    if isinstance(answer, HttpResponseBase):
        raise _denied_by(answer)
    if not answer:
        raise AccessDeniedError


def _denied(status: int) -> AccessDeniedError:
    return NotAuthenticatedError() if status == HTTPStatus.UNAUTHORIZED else AccessDeniedError(status=status)


def _denied_by(response: HttpResponseBase) -> AccessDeniedError:
    status = response.status_code
    if status < HTTPStatus.MULTIPLE_CHOICES:
        raise ImproperlyConfigured(
            f"authorize() returned a response with the status {status}. Return True where the request may go on; a "
            "response must be a refusal."
        )
    # A redirect to a page for signing in means nothing to those who have no page.
    denied = _denied(status if status >= HTTPStatus.BAD_REQUEST else HTTPStatus.FORBIDDEN)
    denied.response = response
    if isinstance(response, HttpResponse) and response.headers.get("Content-Type", "").startswith("text/plain"):
        denied.args = (response.content.decode(response.charset, "replace"),)
    return denied


def owner_text(value: object, view: type) -> str:
    """Return what ``get_owner`` gave as text.

    Raises:
        ImproperlyConfigured: It names nobody; the message names the hook and what it must return.
    """
    is_name = isinstance(value, (str, int, uuid.UUID)) and not isinstance(value, bool)
    text = str(value) if is_name else ""
    if text and len(text) <= MAX_OWNER_CHARACTERS and text.isprintable():
        return text
    raise ImproperlyConfigured(
        f"{view.__name__}.get_owner() must return who asks, as a str, an int or a UUID of up to "
        f"{MAX_OWNER_CHARACTERS} printable characters, not {_shown(value)}. Whoever shares an owner shares all chats: "
        "for anonymous visitors return super().get_owner(request), or refuse them in authorize()."
    )


def checked_stream_name(value: object, view: type) -> str:
    """Return what ``get_stream_name`` gave.

    Raises:
        ImproperlyConfigured: It can be no stream's name; the message names the hook.
    """
    try:
        if not isinstance(value, str):
            raise InvalidRecordError(f"it is {_shown(value)}, not a str")
        validate_stream_name(value)
    except InvalidRecordError as error:
        raise ImproperlyConfigured(
            f"{view.__name__}.get_stream_name() must return the name of a stream, a str of 1 to 512 bytes: {error}"
        ) from error
    return value


def _shown(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}" if value is not None else "None"
