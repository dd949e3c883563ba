"""Followers: what carries the bytes, with and without asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, nullcontext
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_sse import EventSource

from .events import End, EndOf, Event, end_of
from .state import Course, Delay, backoff

SILENCE_SECONDS = 45.0
"""Three times the pause after which the server sends a sign of life."""
CONNECT_SECONDS = 10.0
MAX_ATTEMPTS = 10

Headers = Mapping[str, str]
Auth = httpx.Auth | tuple[str, str]

# Whatever else a request raises is a mistake of the caller's, or of ours.
_RETRIED = (httpx.TransportError, httpx.DecodingError)


class _Follower:
    """What followers of both kinds tell."""

    def __init__(self, course: Course) -> None:
        self._course = course

    @property
    def cursor(self) -> int | None:
        """Where to go on after the last event; ``None`` if no event had a number."""
        return self._course.cursor

    @property
    def end(self) -> End | None:
        """How the stream ended; ``None`` as long as it has not."""
        return self._course.end

    @property
    def generation_id(self) -> str | None:
        """The id of the answer, where the server tells it: what a request to stop it should name."""
        return self._course.generation_id


class AsyncFollower(_Follower, AsyncIterator[Event]):
    """Iterates over the events of a stream, over as many connections as it takes; made by :func:`follow`.

    Used as a context manager it closes its connection when it is left early; otherwise the loop does so some time
    later.
    """

    def __init__(
        self,
        course: Course,
        client: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]],
        request: Mapping[str, Any],
    ) -> None:
        super().__init__(course)
        self._client = client
        self._request = request
        self._events = self._follow()

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Follow no further."""
        await self._events.aclose()

    async def _follow(self) -> AsyncGenerator[Event, None]:
        async with self._client() as client:
            while self.end is None:
                try:
                    async with aclosing(self._connection(client)) as events:
                        async for event in events:
                            yield event
                except _RETRIED as error:
                    self._course.broken(error)
                if self.end is None:
                    await asyncio.sleep(self._course.pause())

    async def _connection(self, client: httpx.AsyncClient) -> AsyncGenerator[Event, None]:
        async with client.stream(headers=self._course.headers(), **self._request) as response:
            if not self._course.opens(response):
                await response.aread()
                self._course.refused(response)
                return
            async with aclosing(EventSource(response).aiter_sse()) as received:
                async for raw in received:
                    if (event := self._course.take(raw)) is not None:
                        yield event
            self._course.closed()


class Follower(_Follower, Iterator[Event]):
    """Iterates over the events of a stream as :class:`AsyncFollower` does; made by :func:`follow_sync`."""

    def __init__(
        self,
        course: Course,
        client: Callable[[], AbstractContextManager[httpx.Client]],
        request: Mapping[str, Any],
    ) -> None:
        super().__init__(course)
        self._client = client
        self._request = request
        self._events = self._follow()

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Follow no further."""
        self._events.close()

    def _follow(self) -> Generator[Event, None, None]:
        with self._client() as client:
            while self.end is None:
                try:
                    yield from self._connection(client)
                except _RETRIED as error:
                    self._course.broken(error)
                if self.end is None:
                    time.sleep(self._course.pause())

    def _connection(self, client: httpx.Client) -> Generator[Event, None, None]:
        with client.stream(headers=self._course.headers(), **self._request) as response:
            if not self._course.opens(response):
                response.read()
                self._course.refused(response)
                return
            for raw in EventSource(response).iter_sse():
                if (event := self._course.take(raw)) is not None:
                    yield event
            self._course.closed()


def follow(
    url: str,
    *,
    method: str = "GET",
    json: Any = None,
    headers: Headers | None = None,
    cookies: Mapping[str, str] | None = None,
    auth: Auth | None = None,
    cursor: int | None = None,
    client: httpx.AsyncClient | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    timeout: float | None = SILENCE_SECONDS,
    max_attempts: int | None = MAX_ATTEMPTS,
    delay: Delay = backoff,
    end_of: EndOf = end_of,
) -> AsyncFollower:
    """Follow an answer: yield its events, each once and in order, and reconnect by cursor whenever that is needed.

    ::

        answer = follow("https://example.org/api/chat/c1/stream", headers=headers)
        async for event in answer:
            print(event.json())
        print(answer.end.reason)

    Where iterating ends, the answer is over and all of it has come; :attr:`~AsyncFollower.end` says how. A response
    that breaks off is never taken for one that ends, however it breaks off.

    With ``method="POST"`` and ``json`` the request starts the answer. Should it have to be repeated, it attaches to
    what it began: it names an idempotency key (a random one, unless ``headers`` has one), and the cursor.

    Args:
        url: Of the chat's stream, with its query.
        method: ``"POST"`` to start an answer.
        json: The body of such a request.
        headers: Of every request.
        cookies: Of every request; to be given to the ``client`` if there is one.
        auth: As httpx takes it.
        cursor: Where to begin: the :attr:`~Event.cursor` of the last event that is known.
        client: Makes the requests, and stays open. By default a client of its own, which follows redirects.
        transport: Of a client of its own.
        timeout: Seconds without a byte after which a connection is taken for broken. The server says something every
            ``KEEPALIVE_SECONDS``.
        max_attempts: Attempts in a row that bring no event, after which to give up; ``None`` for never, 0 for not
            reconnecting at all.
        delay: Chooses the pause before the next attempt. The default obeys ``Retry-After`` and ``retry:``, grows
            exponentially, and has jitter.
        end_of: Reads the last event, for formats of your own.

    Iterating raises:
        FollowError: It cannot be followed any further, and is not known to be whole.
        httpx.HTTPError: The request cannot be made at all.
    """
    _require_own_client(client, cookies, transport)

    def opened() -> AbstractAsyncContextManager[httpx.AsyncClient]:
        if client is not None:
            return nullcontext(client)
        return httpx.AsyncClient(transport=transport, cookies=dict(cookies or {}), follow_redirects=True)

    course = _course(method, headers, cursor, max_attempts, delay, end_of)
    return AsyncFollower(course, opened, _request(method, url, json, auth, timeout))


def follow_sync(
    url: str,
    *,
    method: str = "GET",
    json: Any = None,
    headers: Headers | None = None,
    cookies: Mapping[str, str] | None = None,
    auth: Auth | None = None,
    cursor: int | None = None,
    client: httpx.Client | None = None,
    transport: httpx.BaseTransport | None = None,
    timeout: float | None = SILENCE_SECONDS,
    max_attempts: int | None = MAX_ATTEMPTS,
    delay: Delay = backoff,
    end_of: EndOf = end_of,
) -> Follower:
    """Follow an answer as :func:`follow` does, from code that is not asynchronous."""
    _require_own_client(client, cookies, transport)

    def opened() -> AbstractContextManager[httpx.Client]:
        if client is not None:
            return nullcontext(client)
        return httpx.Client(transport=transport, cookies=dict(cookies or {}), follow_redirects=True)

    course = _course(method, headers, cursor, max_attempts, delay, end_of)
    return Follower(course, opened, _request(method, url, json, auth, timeout))


def _require_own_client(client: object, cookies: object, transport: object) -> None:
    if client is not None and (cookies is not None or transport is not None):
        raise TypeError("cookies and transport belong to the client: give them to the one you bring along.")


def _course(
    method: str, headers: Headers | None, cursor: int | None, max_attempts: int | None, delay: Delay, end_of: EndOf
) -> Course:
    return Course(
        is_repeatable=method.upper() in ("GET", "HEAD"),
        headers=headers,
        cursor=cursor,
        max_attempts=max_attempts,
        delay=delay,
        end_of=end_of,
    )


def _request(method: str, url: str, json: Any, auth: Auth | None, timeout: float | None) -> dict[str, Any]:
    request = {"method": method, "url": url, "timeout": httpx.Timeout(CONNECT_SECONDS, read=timeout)}
    if json is not None:
        request["json"] = json
    if auth is not None:
        # Left out rather than None, which would take away the client's own.
        request["auth"] = auth
    return request
