"""The HTTP client beneath the S2 backend, one per event loop.

Requests are ``httpx.Request`` whoever carries them: our own transport, or what the user brings. Appends, which are most
of all requests, do without even these objects where the connections are our own.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from .config import S2Config, is_loopback
from .http_transport import KEEPALIVE_SECONDS, OriginTransport, Reply
from .reopening import Doubts

ClientOption: TypeAlias = httpx.AsyncClient | Callable[[], httpx.AsyncClient]
TransportOption: TypeAlias = httpx.AsyncBaseTransport | Callable[[], httpx.AsyncBaseTransport]

REQUEST_ERRORS = (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError)
"""What sending a request or reading its response raises."""

Exchange: TypeAlias = Callable[[bytes], Awaitable[Reply]]


class S2Client:
    """Sends requests on one event loop."""

    def __init__(self, config: S2Config, endpoint: str) -> None:
        self.append_slots = asyncio.Semaphore(config.max_concurrent_appends)
        """Bounds the appends under way: more at once only make each of them slower."""
        self.doubts = Doubts()
        """The read sessions, which are opened again where other requests fail."""
        self.send: Callable[[httpx.Request], Awaitable[httpx.Response]]
        """Send a request and return its response as soon as the head is there; the caller must close it."""
        self.exchange: Exchange | None = None
        """Send a request in its bytes and return the whole response, past httpx, whose objects cost more than the
        exchange itself; ``None`` where it is the user's client, transport or proxy that carries every request."""
        self._close: Callable[[], Awaitable[None]] | None
        if config.client is not None:
            client = config.client() if callable(config.client) else config.client
            self.send = functools.partial(client.send, stream=True)
            self._close = client.aclose if callable(config.client) else None
            return
        brought = config.transport
        transport = brought() if callable(brought) else brought or _transport(config, endpoint)
        self.send = transport.handle_async_request
        self._close = transport.aclose if brought is None or callable(brought) else None
        if isinstance(transport, OriginTransport):
            self.exchange = transport.exchange

    async def close(self) -> None:
        """Close the connections, unless the user brought an open client or transport: that stays the user's."""
        if self._close is not None:
            await self._close()


def _transport(config: S2Config, endpoint: str) -> httpx.AsyncBaseTransport:
    tls = config.ssl_context or _default_tls()
    proxy = environment_proxy(endpoint)
    if proxy is None:
        return OriginTransport(
            endpoint, tls=tls, connect_timeout=config.connect_timeout, max_connections=config.max_connections
        )
    limits = httpx.Limits(max_connections=config.max_connections, keepalive_expiry=KEEPALIVE_SECONDS)
    return httpx.AsyncHTTPTransport(verify=tls, proxy=proxy, limits=limits)


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

    The transport of httpx-aiohttp, if the user brings it, turns aiohttp's errors about lost connections into
    ``httpx.ConnectTimeout`` too, also where the request was sent before: its word is not taken for it.
    """
    if type(error.__cause__).__module__.partition(".")[0] == "aiohttp":
        return False
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
