"""What clients send, checked before anything is read or created: bodies, ids, cursors."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest
from django.http.request import RawPostDataException

from ..conf import settings
from ..exceptions import InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError
from ..utils.off_loop import off_loop
from ..validation import CURSOR, MAX_CURSOR, check_idempotency_key, parse_object, parse_offset, parse_run_id

TOO_LARGE_TEXT = "The request is too large. Send less, for instance smaller attachments."
_MOST_OPEN_RUNS = 10
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?\Z", re.ASCII)
MAX_WAIT_SECONDS = 60.0
"""How long a long poll may wait; who asks for more waits this long. Proxies commonly cut what is silent for longer."""


async def parse_body(request: HttpRequest, *, required: bool = True) -> dict[str, Any]:
    """Read the request's body as a JSON object, a large one in a thread; an empty one is ``{}`` unless it is required.

    Raises:
        UnsupportedMediaTypeError: Its content type is not JSON.
        RequestTooLargeError: It is larger than ``MAX_BODY_BYTES``.
        InvalidRequestError: It is not a JSON object, or nested too deeply.
    """
    raw = _read_body(request)
    if not raw and not required:
        return {}
    if request.content_type != "application/json" and not (request.content_type or "").endswith("+json"):
        raise UnsupportedMediaTypeError("Send the request as JSON, with the content type application/json.")
    return await off_loop(len(raw), parse_object, raw, "The request's body")


def _read_body(request: HttpRequest) -> bytes:
    """Read the body up to our own limit; Django's ``DATA_UPLOAD_MAX_MEMORY_SIZE`` is for forms."""
    limit = settings.max_body_bytes
    if not hasattr(request, "_body") and not getattr(request, "_read_started", False):
        # What was really sent counts: a Content-Length may be missing, or not true. The server has put the body into a
        # temporary file, so one byte too many is all that is read of a body that is too large.
        raw = request.read(limit + 1)
        if len(raw) > limit:
            raise RequestTooLargeError(TOO_LARGE_TEXT)
        request._body = raw  # For hooks that look at ``request.body``.
        return raw
    try:
        raw = request.body
    except RawPostDataException as error:
        raise InvalidRequestError("The request's body was already read as a form. Send JSON.") from error
    if len(raw) > limit:
        raise RequestTooLargeError(TOO_LARGE_TEXT)
    return raw


def parse_cursor(request: HttpRequest, *, is_lenient: bool = False) -> int | None:
    """Find where the client wants to go on: ``Last-Event-ID``, else ``?from=``, else ``?offset=``.

    The header wins: a client that reconnects to the same URL adds it. One that is no cursor of ours is passed over,
    since a browser cannot help what it sends; in the query it is a mistake, unless ``is_lenient``.

    Raises:
        InvalidRequestError: The query's cursor is not a whole number.
    """
    header = request.headers.get("Last-Event-ID", "")
    if CURSOR.match(header) and int(header) <= MAX_CURSOR:
        return int(header)
    for name in ("from", "offset"):
        value = request.GET.get(name)
        if value is None:
            continue
        if not CURSOR.match(value) or int(value) > MAX_CURSOR:
            if is_lenient:
                return None
            raise InvalidRequestError(f"'{name}' must be a cursor: the number that came as the id of an event.")
        return int(value)
    return None


def parse_wait(request: HttpRequest) -> float | None:
    """Read ``?wait=``, the seconds that a long poll may wait; ``None`` if it is none.

    Raises:
        InvalidRequestError: It is no number of seconds.
    """
    value = request.GET.get("wait")
    if value is None:
        return None
    if not _SECONDS.match(value):
        raise InvalidRequestError(f"'wait' must be a number of seconds, up to {MAX_WAIT_SECONDS:.0f}.")
    return min(float(value), MAX_WAIT_SECONDS)


def parse_flag(request: HttpRequest, name: str) -> bool:
    """Read a flag from the query: ``1`` or ``true`` is on."""
    return request.GET.get(name, "").lower() in ("1", "true")


def parse_idempotency_key(request: HttpRequest) -> str:
    """Read the ``Idempotency-Key`` header; empty if there is none.

    Raises:
        InvalidRequestError: It is too long.
    """
    return check_idempotency_key(request.headers.get("Idempotency-Key", ""))


def named_chat(request: HttpRequest) -> str | None:
    """Return the chat that the URL names, to clients that may call it a thread; not yet checked."""
    return request.GET.get("id") or request.GET.get("threadId")


def parse_open_runs(request: HttpRequest) -> list[str]:
    """Read ``?run=``, which may come several times: the runs whose end the client still waits for.

    Raises:
        InvalidRequestError: One cannot be the id of a run.
    """
    return [found for value in request.GET.getlist("run")[:_MOST_OPEN_RUNS] if (found := parse_run_id(value))]


def parse_run_cursor(request: HttpRequest) -> int | None:
    """Find where in its run a client wants to go on: ``Last-Event-ID``, else ``?offset=``; ``-1`` is its beginning.

    These clients keep what they were sent and give it back unchanged: anything else is a mistake.

    Raises:
        InvalidRequestError: It is no cursor.
    """
    return parse_offset(request.headers.get("Last-Event-ID") or request.GET.get("offset", "-1"))


def parse_limit(request: HttpRequest) -> int | None:
    """Read ``?limit=``, how many messages a client wants; ``None`` if it wants all.

    Raises:
        InvalidRequestError: It is no number from 1 on.
    """
    value = request.GET.get("limit")
    if value is None:
        return None
    if not CURSOR.match(value) or int(value) == 0:
        raise InvalidRequestError("'limit' must be a whole number from 1 on.")
    return int(value)


def wants_lines(request: HttpRequest) -> bool:
    """Tell whether the client asks for newline-delimited JSON by name."""
    return "application/x-ndjson" in request.headers.get("Accept", "").lower()


def wants_events(request: HttpRequest) -> bool:
    """Tell whether the request is an ``EventSource``'s: these say so, and fetch says nothing by itself."""
    return request.method == "GET" and "text/event-stream" in request.headers.get("Accept", "")
