"""The HTTP client beneath the S2 backend: httpx's types, aiohttp's connections, one per event loop.

httpx's own connection pool does work quadratic in its connections, at every request: fifty writers take five times the
processor that one takes each, and a thousand follows are out of reach. The httpx-aiohttp transport has no such pool, so
requests are built as ``httpx.Request`` and handed to it directly, unless the user brings a client or transport.
Appends, which are most of all requests, do without even these objects where the connections are our own.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from .s2_config import S2Config, is_loopback
from .s2_doubts import Doubts

ClientOption: TypeAlias = httpx.AsyncClient | Callable[[], httpx.AsyncClient]
TransportOption: TypeAlias = httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport]

KEEPALIVE_SECONDS = 30.0
"""How long an idle connection is kept: below the 60 s after which load balancers commonly drop theirs."""

REQUEST_ERRORS = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, TimeoutError)
"""What sending a request or reading its response raises. Not every error of aiohttp comes translated."""


class Reply(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Post: TypeAlias = Callable[[URL, Mapping[str, str], bytes], Awaitable[Reply]]


class S2Client:
    """Sends requests on one event loop."""

    def __init__(self, config: S2Config) -> None:
        self.append_slots = asyncio.Semaphore(config.max_concurrent_appends)
        """Bounds the appends under way: more at once only make each of them slower."""
        self.doubts = Doubts()
        """The read sessions, which are opened again where other requests fail."""
        self.send: Callable[[httpx.Request], Awaitable[httpx.Response]]
        """Send a request and return its response as soon as the head is there; the caller must close it."""
        self.post: Post | None = None
        """Send a small body past httpx, whose objects cost as much as the request itself; ``None`` where it is the
        user's client, transport or proxy that carries every request."""
        self._close: Callable[[], Awaitable[None]] | None
        if config.client is not None:
            client = config.client() if callable(config.client) else config.client
            self.send = functools.partial(client.send, stream=True)
            self._close = client.aclose if callable(config.client) else None
        elif config.transport is not None:
            brought = config.transport() if callable(config.transport) else config.transport
            self.send = brought.handle_async_request
            self._close = brought.aclose if callable(config.transport) else None
        else:
            tls = config.ssl_context or _default_tls()
            session = _session(config.max_connections, tls)
            proxy = environment_proxy(config.basin_endpoint)
            own = AiohttpTransport(verify=tls, proxy=proxy, client=session)
            self.send, self._close = own.handle_async_request, own.aclose
            if proxy is None:
                limits = aiohttp.ClientTimeout(connect=config.connect_timeout, sock_connect=config.connect_timeout)
                self.post = functools.partial(_post, session, limits)

    async def close(self) -> None:
        """Close the connections, unless the user brought an open client or transport: that stays the user's."""
        if self._close is not None:
            await self._close()
            # The loop closes the sockets of aborted connections in its next turn, which may be its last.
            await asyncio.sleep(0)


def _session(max_connections: int, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=max_connections, ssl=tls, keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=_Response)


class _Response(aiohttp.ClientResponse):
    """A response that takes its connection with it at once where it is left before its end, as read sessions are.

    aiohttp would close it in TLS's polite way, which goes on for up to 30 s while nobody knows of it any more: where
    the loop ends meanwhile, the socket is left to the collector.
    """

    def close(self) -> None:
        """See aiohttp."""
        self._abort()
        super().close()

    def release(self) -> Any:
        """See aiohttp; a response that came to its end has given back its connection before."""
        self._abort()
        return super().release()

    def _abort(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()


async def _post(
    session: aiohttp.ClientSession, limits: aiohttp.ClientTimeout, url: URL, headers: Mapping[str, str], content: bytes
) -> Reply:
    async with session.post(url, data=content, headers=headers, allow_redirects=False, timeout=limits) as response:
        return Reply(response.status, response.headers, await response.read())


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Load the trusted certificates once per process: that takes as long as a dozen requests."""
    return httpx.create_ssl_context()


def environment_proxy(endpoint: str) -> httpx.Proxy | None:
    """Return the HTTP proxy that the environment names for ``endpoint``, as httpx's own clients would use it."""
    url = urlsplit(endpoint)
    host = url.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    return httpx.Proxy(proxy) if proxy.startswith(("http://", "https://")) else None


def was_never_sent(error: Exception) -> bool:
    """Tell whether the request surely did not reach the server: no connection for it came about.

    httpx-aiohttp turns aiohttp's errors about lost connections into ``httpx.ConnectTimeout`` too, also where the
    request was sent before; only the error's cause tells these apart.
    """
    cause = _cause(error)
    if isinstance(cause, aiohttp.ClientError):
        return isinstance(
            cause, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
        )
    return isinstance(
        error,
        (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol),
    )


def has_no_files_left(error: Exception) -> bool:
    """Tell whether it is this process, or its machine, that may open no more connections."""
    return getattr(_cause(error), "errno", None) in (errno.EMFILE, errno.ENFILE)


def describe(error: Exception) -> str:
    """Describe a failed request for a message; the fix is named where it lies in this process."""
    cause = _cause(error)
    if has_no_files_left(error):
        return "this process may open no more files: raise its limit, each follow keeps a connection open"
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


def _cause(error: Exception) -> BaseException:
    return error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
