"""How the S2 backend gets to its server: TLS, proxies of the environment, what it says about them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import uvloop

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.backends.s2.client import environment_proxy
from resumable_stream.exceptions import BackendUnavailableError
from resumable_stream.records import Record

from ..s2_lite import BASIN, TOKEN, S2Lite
from ..support.tcp import tcp_server
from .s2_tools import QUICK, following

ACK = b'{"start":{"seq_num":0},"end":{"seq_num":1},"tail":{"seq_num":1}}'


@pytest.fixture(scope="module")
def tls_server(s2_lite: Path) -> Iterator[S2Lite]:
    server = S2Lite(s2_lite, tls=True)
    server.start()
    yield server
    server.kill()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_certificate_that_nobody_signed_is_not_trusted(tls_server: S2Lite) -> None:
    backend = S2Backend("default", tls_server.options(**QUICK))
    with pytest.raises(BackendUnavailableError, match="certificate verify failed"):
        await backend.append("s", [Record("x")])
    await backend.close()


async def test_the_users_own_trust_decides(tls_server: S2Lite) -> None:
    backend = S2Backend("default", tls_server.options(ssl_context=trusting()))
    assert await backend.ensure_basin() == "created"
    await backend.append("s", [Record("x")])
    async with following(backend, "s") as batches:
        assert (await anext(batches)).records[0].body == "x"
    await backend.close()


def connections_to(server: S2Lite) -> list[object]:
    return [found for found in psutil.Process().net_connections() if found.raddr and found.raddr.port == server.port]


async def test_a_session_that_was_left_goes_with_its_connection(tls_server: S2Lite, stream: str) -> None:
    backend = S2Backend("default", tls_server.options(ssl_context=trusting()))
    await backend.ensure_basin()
    await backend.append(stream, [Record("x")])
    async with following(backend, stream) as batches:
        await anext(batches)
        assert connections_to(tls_server)
    await backend.close()
    assert not connections_to(tls_server)


def test_uvloops_transports_serve_as_well(tls_server: S2Lite) -> None:
    async def use() -> None:
        backend = S2Backend("default", tls_server.options(ssl_context=trusting()))
        await backend.ensure_basin()
        await backend.append("on uvloop", [Record("x")])
        async with following(backend, "on uvloop") as batches:
            assert (await anext(batches)).records[0].body == "x"
            assert connections_to(tls_server)
        await backend.delete_stream("on uvloop")
        await backend.close()

    uvloop.run(use())
    assert not connections_to(tls_server)


class HttpProxy:
    """Answers every request itself, and keeps their heads."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(request)
        await reader.readexactly(int(request.lower().split("content-length: ")[1].split("\r\n")[0]))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(ACK)}\r\n\r\n".encode() + ACK)
        # Kept open until the client closes it, as proxies do.
        await reader.read()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    proxy = HttpProxy()
    async with tcp_server(proxy) as server:
        monkeypatch.setenv(variable, server.url)
        endpoint = {"account_endpoint": "http://s2.example", "basin_endpoint": "http://s2.example"}
        backend = S2Backend("default", {"basin": BASIN, "access_token": TOKEN, **endpoint})
        await backend.append("s", [Record("x")])
        await backend.close()
    (head,) = proxy.heads
    assert head.startswith("POST http://s2.example/v1/streams/s/records HTTP/1.1\r\n")
    assert "\r\nhost: s2.example\r\n" in head.lower()


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_loopback_needs_no_proxy(
    monkeypatch: pytest.MonkeyPatch, s2: S2Backend, stream: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    await s2.append(stream, [Record("x")])


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://s2.example/v1", "http://secure.example:3128"),
        ("http://s2.example/v1", "http://plain.example:3128"),
        ("https://basin.s2.internal/v1", None),
        ("http://localhost:8080/v1", None),
        ("http://[::1]:8080/v1", None),
    ],
)
def test_the_environment_says_for_which_hosts_and_schemes_a_proxy_is(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, expected: str | None
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://plain.example:3128")
    monkeypatch.setenv("NO_PROXY", ".s2.internal")
    found = environment_proxy(endpoint)
    assert (found and str(found.url)) == expected


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_speaks_no_http_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    assert environment_proxy("https://s2.example/v1") is None
