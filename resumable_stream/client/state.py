"""What a follower decides, whatever carries its bytes: where to go on, when to try again, when it is over."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from uuid import uuid4

import httpx
from httpx_sse import ServerSentEvent

from .events import End, EndOf, Event, Reason

FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0
"""A server that asks for a longer pause gets none: the caller is told, and decides."""
RETRIED_STATUSES = frozenset({408, 425, 429})
"""Beside all from 500 on: what may be different the next time."""
SHOWN_CHARACTERS = 300
_CURSOR = re.compile(r"[0-9]{1,19}\Z", re.ASCII)

Delay = Callable[[int, float | None], float]
"""Chooses how many seconds to wait, given the failures in a row and the seconds that the server asked for."""


class FollowError(Exception):
    """The stream cannot be followed any further, and is not known to be whole.

    The cause is chained where there is one. To try again, follow from :attr:`cursor`.
    """

    def __init__(
        self,
        message: str,
        *,
        cursor: int | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.cursor = cursor
        """After the last event that came; ``None`` if none did, or none had a number."""
        self.status = status
        """Of the response that was the last word; ``None`` if there was no response."""
        self.retry_after = retry_after
        """The seconds after which the server said that another try makes sense."""


def backoff(failures: int, asked: float | None) -> float:
    """Wait what the server asked for, and longer with each failure; never in step with others."""
    own = min(FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_DELAY_SECONDS)
    return (asked or 0.0) + own * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing


class Course:
    """The state of one follower. It is told what happens, and says what to do next."""

    def __init__(
        self,
        *,
        is_repeatable: bool,
        headers: Mapping[str, str] | None,
        cursor: int | None,
        max_attempts: int | None,
        delay: Delay,
        end_of: EndOf,
    ) -> None:
        self.cursor = cursor
        self.end: End | None = None
        self.generation_id: str | None = None
        self._headers = httpx.Headers({"Accept": "text/event-stream", "Cache-Control": "no-store"})
        if not is_repeatable:
            # A request that is repeated before any event came must attach to what the first one began.
            self._headers["Idempotency-Key"] = uuid4().hex
        self._headers.update(headers)
        self._max_attempts = max_attempts
        self._delay = delay
        self._end_of = end_of
        self._failures = 0
        """In a row; the first one may have broken a connection that brought something."""
        self._fruitless = 0
        """Attempts in a row that brought nothing."""
        self._brought = False
        self._cause: Exception | None = None
        self._problem = ""
        self._status: int | None = None
        self._retry_after: float | None = None
        self._retry: float | None = None
        self._resumed_from = cursor
        self._last: Event | None = None
        self._was_open = False
        self._unnumbered = 0
        """Events without a number that came on this connection before any with one."""
        self._seen_unnumbered = 0
        """The most of them that came on any connection before."""

    def headers(self) -> httpx.Headers:
        """Return the headers of the next request."""
        self._brought = False
        self._resumed_from = self.cursor
        self._seen_unnumbered, self._unnumbered = max(self._seen_unnumbered, self._unnumbered), 0
        headers = self._headers.copy()
        if self.cursor is not None:
            headers["Last-Event-ID"] = str(self.cursor)
        return headers

    def opens(self, response: httpx.Response) -> bool:
        """Tell whether the response has a body to follow; if not, hand it to :meth:`refused`."""
        self.generation_id = response.headers.get("X-Generation-Id", self.generation_id)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if response.status_code != HTTPStatus.OK or kind != "text/event-stream":
            return False
        response.encoding = "utf-8"  # The standard knows no other.
        self._was_open = True
        return True

    def take(self, event: ServerSentEvent) -> Event | None:
        """Take in what was received; return it if it is an event, and new."""
        if event.retry is not None and event.retry >= 0:
            self._retry = min(event.retry, LONGEST_ASKED_SECONDS * 1000) / 1000
        if not event.data:
            return None  # A comment, or a field that stands alone.
        cursor = int(event.id) if _CURSOR.match(event.id) else None
        if cursor is not None:
            if self._resumed_from is not None and cursor <= self._resumed_from:
                return None  # Something on the way has lost our cursor, and all comes again.
            self.cursor = cursor
        elif self.cursor is None and self._is_repeated():
            return None
        self._failures = self._fruitless = 0
        self._brought = True
        self._last = Event(data=event.data, name=event.event, cursor=cursor)
        return self._last

    def _is_repeated(self) -> bool:
        """Tell whether an event without a number came before: without a cursor, the server sends all of them again."""
        self._unnumbered += 1
        return self._unnumbered <= self._seen_unnumbered

    def closed(self) -> None:
        """Note that a body has ended as it should: it is the end if the last event says so."""
        self.end = self._told_end()
        if self.end is None:
            self._failed("The response ended before the answer did.")

    def broken(self, error: Exception) -> None:
        """Note that a request or its response broke.

        Raises:
            FollowError: The request can never succeed.
        """
        self._failed(f"The connection broke: {type(error).__name__}{f' ({error})' if str(error) else ''}.")
        self._cause = error
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
            raise self._error() from error

    def refused(self, response: httpx.Response) -> None:
        """Note a response that has no stream; its body must have been read.

        Raises:
            FollowError: There is no use in asking again.
        """
        status = response.status_code
        if status == HTTPStatus.NO_CONTENT:
            self._nothing_more()
            return
        self._failed(_describe(response))
        self._status, self._retry_after = status, _retry_after(response)
        is_final = status not in RETRIED_STATUSES and status < HTTPStatus.INTERNAL_SERVER_ERROR
        if is_final or (self._retry_after or 0) > LONGEST_ASKED_SECONDS:
            raise self._error()

    def pause(self) -> float:
        """Return for how many seconds to wait before the next try.

        Raises:
            FollowError: There have been ``max_attempts`` in a row that brought nothing.
        """
        if self._max_attempts is None or self._fruitless < self._max_attempts:
            asked = self._retry_after if self._retry_after is not None else self._retry
            return self._delay(self._failures, asked)
        # Only the confirmation is missing where the last event was one that ends an answer.
        self.end = self._told_end()
        if self.end is None:
            raise self._error() from self._cause
        return 0

    def _nothing_more(self) -> None:
        self.end = self._told_end()
        if self.end is None and self._was_open and self.cursor is None:
            self._failed("The answer ended while the connection was broken, before it could be told where to go on.")
            raise self._error()
        if self.end is None:
            self.end = End(reason=Reason.NOTHING if self._last is None else Reason.UNTOLD)

    def _told_end(self) -> End | None:
        return self._end_of(self._last) if self._last is not None else None

    def _failed(self, problem: str) -> None:
        self._failures += 1
        self._fruitless += not self._brought
        self._problem = problem
        self._cause = self._status = self._retry_after = None

    def _error(self) -> FollowError:
        tries = f" (tried {self._fruitless} times)" if self._fruitless > 1 else ""
        return FollowError(
            self._problem + tries, cursor=self.cursor, status=self._status, retry_after=self._retry_after
        )


def _describe(response: httpx.Response) -> str:
    request = f"{response.request.method} {response.request.url.copy_with(userinfo=b'')}"
    if response.status_code == HTTPStatus.ACCEPTED:
        return f"{request} was accepted, but another request streams the answer: follow the chat's stream instead."
    if response.status_code == HTTPStatus.OK:
        kind = response.headers.get("Content-Type", "nothing")
        return f"{request} answered {kind}, not text/event-stream."
    text = " ".join(response.text.split())[:SHOWN_CHARACTERS]
    return f"{request} answered {response.status_code}{f': {text}' if text else ''}"


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())
