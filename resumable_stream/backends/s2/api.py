"""Requests to S2: built, sent, judged, and repeated where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import lru_cache, partial
from json import dumps
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpx

from ... import __version__
from ...exceptions import AppendOutcomeUnknownError, StreamNotFoundError
from ..frames import without_frames
from .backoff import RetryDelays
from .client import REQUEST_ERRORS, S2Client, describe, has_no_files_left, was_never_sent
from .client import Exchange as RawExchange
from .codec import AppendContent
from .config import S2Config
from .errors import ErrorAnswer, Fault, Judge, Kind
from .http_transport import Reply
from .loop_local import LoopLocal
from .read_session import ReadSession, body_of

T = TypeVar("T")
Exchange = Callable[[int], Awaitable[ErrorAnswer | Fault]]
"""Sends a request, for the so-many-th time."""

NOT_FOUND_TRIES = 3
"""A stream that an append is just creating is reported missing, now and then, to whoever else asks for it."""


class S2Http:
    """Speaks HTTP with one of S2's two endpoints.

    Every request carries the access token and the ``S2-Basin`` header, by which s2-lite tells basins apart.
    """

    def __init__(self, config: S2Config, endpoint_option: str = "basin_endpoint") -> None:
        self.config = config
        self.judge = Judge(config, endpoint_option)
        self._endpoint: str = getattr(config, endpoint_option)
        self._clients: LoopLocal[S2Client] = LoopLocal(lambda: S2Client(config, self._endpoint), S2Client.close)
        base = _headers(config, httpx.URL(self._endpoint))
        self._plain = _sealed(base)
        self._json = _sealed({**base, "Content-Type": "application/json"})
        self._base64 = _sealed({**base, "Content-Type": "application/json", "s2-format": "base64"})
        self._sse = _sealed({**base, "Accept": "text/event-stream", "Cache-Control": "no-store"})
        # No time for reading: the whole exchange has a limit, or a follow its own.
        self._timeout = {"connect": config.connect_timeout, "pool": config.connect_timeout}
        # Putting a head together costs as much as sending it.
        self._append_heads = lru_cache(maxsize=4096)(self._append_head)

    async def append(self, stream: str, append: AppendContent) -> ErrorAnswer:
        """Send an append, again only while it surely was not applied.

        Raises:
            AppendOutcomeUnknownError: It may have been applied.
            ResumableStreamError: What S2 says against it.
        """
        return await self._send(partial(self._append, stream, append), stream, (200,), is_append=True)

    async def call(
        self, method: str, path: str, *, stream: str = "", json: object = None, accept: Collection[int] = (200,)
    ) -> ErrorAnswer:
        """Send a request that may be repeated, and return the answer if its status is one of ``accept``.

        Raises:
            ResumableStreamError: What S2 says against it; :exc:`BackendUnavailableError` if repeating did not help.
        """
        if json is None:
            request = self._request(method, self._url(path), self._plain)
        else:
            request = self._request(method, self._url(path), self._json, dumps(json).encode())
        return await self._send(partial(self._exchange, request), stream, accept)

    async def open_session(self, stream: str, start: int) -> ReadSession | Fault:
        """Open a read session from ``start``, which the caller must close, or say why there is none."""
        request = self._request("GET", self._url(records_path(stream, seq_num=start)), self._sse)
        request.extensions["timeout"] = {**self._timeout, "read": self.config.stall_timeout}
        client = await self._clients.get()
        # Begun before it is sent: a failure at that time casts doubt on it, too.
        session = client.doubts.session(stream)
        try:
            fault = await self._begin(session, client, request)
        except BaseException:
            await session.close()
            raise
        if fault is None:
            return session
        await session.close()
        if fault.casts_doubt:
            client.doubts.arise(stream)
        return fault

    async def _begin(self, session: ReadSession, client: S2Client, request: httpx.Request) -> Fault | None:
        try:
            async with asyncio.timeout(self.config.timeout):
                response = await _guarded(client.send(request))
        except REQUEST_ERRORS as error:
            return self.fault(error)
        session.begin(response)
        if response.status_code != 200:
            return await self._refused(response, session.stream)
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "text/event-stream":
            return self.judge.malformed(f"Content-Type is {kind!r}, not text/event-stream")
        return None

    def fault(self, error: Exception) -> Fault:
        """Judge an error of the HTTP libraries."""
        judged = self.judge.unreachable if was_never_sent(error) else self.judge.unanswered
        return replace(judged(describe(error)), casts_doubt=not has_no_files_left(error))

    async def close(self) -> None:
        """Close all connections."""
        await self._clients.close()

    async def _send(
        self, exchange: Exchange, stream: str, accept: Collection[int], *, is_append: bool = False
    ) -> ErrorAnswer:
        backoff: RetryDelays | None = None
        attempt = 1
        while True:
            outcome = await exchange(attempt)
            if isinstance(outcome, ErrorAnswer):
                if outcome.status in accept:
                    return outcome
                outcome = self.judge.answer(outcome, stream=stream, reading=not is_append)
            if outcome.casts_doubt:
                (await self._clients.get()).doubts.arise(stream)
            if is_append and outcome.kind is Kind.UNKNOWN:
                raise AppendOutcomeUnknownError(f"The append may have been applied. {outcome.error}")
            may_be_coming = is_append and isinstance(outcome.error, StreamNotFoundError) and attempt < NOT_FOUND_TRIES
            is_final = outcome.kind is Kind.FINAL and not may_be_coming
            backoff = backoff or RetryDelays(self.config.retry_seconds)
            if is_final or not await backoff.wait(outcome.retry_after):
                raise outcome.error
            attempt += 1

    async def _append(self, stream: str, append: AppendContent, attempt: int) -> ErrorAnswer | Fault:
        client = await self._clients.get()
        async with client.append_slots:
            if client.exchange is None:
                return await self._exchange(self._append_request(stream, append), attempt)
            try:
                async with asyncio.timeout(self.config.timeout):
                    reply = await _guarded(self._post(client.exchange, stream, append))
            except REQUEST_ERRORS as error:
                return self.fault(error)
        return ErrorAnswer(*reply, attempt)

    async def _post(self, exchange: RawExchange, stream: str, append: AppendContent) -> Reply:
        head = self._append_heads(stream, append.is_base64)
        return await exchange(b"%b%d\r\n\r\n%b" % (head, len(append.content), append.content))

    async def _exchange(self, request: httpx.Request, attempt: int) -> ErrorAnswer | Fault:
        client = await self._clients.get()
        try:
            async with asyncio.timeout(self.config.timeout):
                response, content = await _guarded(_whole(client, request))
        except REQUEST_ERRORS as error:
            return self.fault(error)
        return ErrorAnswer(response.status_code, response.headers, content, attempt)

    async def _refused(self, response: httpx.Response, stream: str) -> Fault:
        try:
            async with asyncio.timeout(self.config.timeout):
                content = await _guarded(_content(response))
        except REQUEST_ERRORS as error:
            return self.fault(error)
        return self.judge.answer(
            ErrorAnswer(response.status_code, response.headers, content), stream=stream, reading=True
        )

    def _append_request(self, stream: str, append: AppendContent) -> httpx.Request:
        headers = self._base64 if append.is_base64 else self._json
        return self._request("POST", self._url(f"{stream_path(stream)}/records"), headers, append.content)

    def _request(self, method: str, url: httpx.URL, headers: httpx.Headers, content: bytes = b"") -> httpx.Request:
        """Build a request with ready headers, for which httpx would otherwise work as long as for sending it."""
        stream = httpx.ByteStream(content)
        request = httpx.Request(method, url, headers=headers, stream=stream, extensions={"timeout": self._timeout})
        request.headers.encoding = "ascii"
        if content:
            request.headers["Content-Length"] = str(len(content))
        return request

    def _url(self, path: str) -> httpx.URL:
        return httpx.URL(f"{self._endpoint}{path}")

    def _append_head(self, stream: str, is_base64: bool) -> bytes:
        """Return an append's request up to the value of its last header, ``Content-Length``."""
        path = self._url(f"{stream_path(stream)}/records").raw_path
        fields = (self._base64 if is_base64 else self._json).raw
        return b"POST %b HTTP/1.1\r\n%bContent-Length: " % (path, b"".join([b"%b: %b\r\n" % field for field in fields]))


def stream_path(stream: str) -> str:
    """Return the path of a stream; a name is one segment, whatever it holds."""
    return f"/streams/{quote(stream, safe='')}"


def records_path(stream: str, **query: int) -> str:
    """Return the path that reads a stream's records."""
    return f"{stream_path(stream)}/records?{urlencode(query)}"


async def _guarded(work: Awaitable[T]) -> T:
    """Await a request. If the caller is cancelled, the traceback holds no frame with the request's bytes."""
    return await without_frames(work, passing=REQUEST_ERRORS)


async def _whole(client: S2Client, request: httpx.Request) -> tuple[httpx.Response, bytes]:
    response = await client.send(request)
    try:
        return response, await _content(response)
    finally:
        await response.aclose()


async def _content(response: httpx.Response) -> bytes:
    return b"".join([part async for part in body_of(response)])


def _headers(config: S2Config, endpoint: httpx.URL) -> dict[str, str]:
    headers = {
        "Host": endpoint.netloc.decode("ascii"),
        "S2-Basin": config.basin,
        "Accept": "application/json",
        # Compressing would cost both sides more than the bytes do, next to a log.
        "Accept-Encoding": "identity",
        "User-Agent": f"django-resumable-stream/{__version__}",
    }
    if config.access_token:
        headers["Authorization"] = f"Bearer {config.access_token}"
    return headers


def _sealed(headers: dict[str, str]) -> httpx.Headers:
    """Keep headers in a form whose repr masks the access token."""
    return httpx.Headers(headers, encoding="ascii")
