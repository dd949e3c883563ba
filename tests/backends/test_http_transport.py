"""Our HTTP/1.1 client: against a server that says, byte for byte, what a test wants it to say."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.backends.s2 import http_transport
from resumable_stream.backends.s2.http_connection import HIGH_WATER_BYTES, HttpConnection
from resumable_stream.backends.s2.http_transport import OriginTransport, Reply

from ..support.patience import PATIENCE_SECONDS
from ..support.ports import free_port
from ..support.tcp import TcpServer, tcp_server
from ..support.virtual_time import in_virtual_time

TLS = ssl.create_default_context()
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(*parts: bytes, then_close: bool = False) -> Answer:
    """Send ``parts`` one by one; ``then_close`` ends the connection in an orderly way."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        if then_close:
            writer.close()

    return answer


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def is_silent(writer: asyncio.StreamWriter) -> None:
    pass


class ScriptedServer:
    """Answers the first request with the first of ``answers``, and so on; with the last one from then on."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.is_asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                self.is_asked.set()
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                await answer(writer)


@asynccontextmanager
async def talking_to(*answers: Answer, **options: Any) -> AsyncIterator[tuple[OriginTransport, ScriptedServer]]:
    scripted = ScriptedServer(*answers)
    async with tcp_server(scripted.serve) as server:
        transport = transport_to(server, **options)
        yield transport, scripted
        await transport.aclose()


def transport_to(server: TcpServer, *, scheme: str = "http", **options: Any) -> OriginTransport:
    defaults = {"tls": TLS, "connect_timeout": PATIENCE_SECONDS, "max_connections": 10}
    return OriginTransport(f"{scheme}://127.0.0.1:{server.port}", **{**defaults, **options})


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop go on until something holds that has no event of its own."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


BODIES = st.binary(max_size=300)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=10)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([200, 201, 404, 412, 500, 503]),
    st.lists(st.tuples(st.sampled_from(["X-A", "x-b", "Date"]), VALUES), max_size=4),
    st.lists(BODIES.filter(bool), max_size=4),
    st.sampled_from(["length", "chunked", "close"]),
    st.lists(st.integers(1, 400), max_size=6),
)
def test_a_response_is_what_httpx_itself_makes_of_it(
    status: int, fields: list[tuple[str, str]], pieces: list[bytes], framing: str, cuts: list[int]
) -> None:
    head = f"HTTP/1.1 {status} Why\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
    body = b"".join(pieces)
    if framing == "length":
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    elif framing == "chunked":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        sent = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
    else:
        sent = f"{head}\r\n".encode() + body
    borders = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    parts = [sent[start:stop] for start, stop in pairwise(borders)]

    async def compare() -> None:
        async with talking_to(says(*parts, then_close=framing == "close")) as (transport, _):
            reply = await transport.exchange(REQUEST)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                response = await client.get("/")
        async with (
            talking_to(says(*parts, then_close=framing == "close")) as (other, _),
            httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as stock,
        ):
            expected = await stock.get(f"http://127.0.0.1:{other._port}")
        assert (reply.status, reply.content) == (expected.status_code, expected.content) == (status, body)
        assert dict(reply.headers) == dict(expected.headers)
        assert (response.status_code, dict(response.headers), response.content) == (status, reply.headers, body)

    asyncio.run(compare())


async def test_a_request_is_sent_as_httpx_made_it() -> None:
    async with (
        talking_to(says(OK)) as (transport, server),
        httpx.AsyncClient(transport=transport, base_url="http://x.example:81") as client,
    ):
        assert (await client.post("/a%2Fb?c=%20", content=b"body", headers={"X-Y": "z"})).text == "ok"
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a%2Fb?c=%20 HTTP/1.1\r\nHost: x.example:81\r\n")
    assert {b"X-Y: z", b"Content-Length: 4"} <= set(head.split(b"\r\n"))
    assert body == b"body"


async def test_a_connection_carries_one_exchange_after_the_other() -> None:
    async with talking_to(says(OK)) as (transport, server):
        for _ in range(3):
            assert await transport.exchange(REQUEST) == Reply(200, {"content-length": "2"}, b"ok")
    assert server.connections == 1


async def test_exchanges_at_the_same_time_have_connections_of_their_own() -> None:
    async with talking_to(says(OK)) as (transport, server):
        await asyncio.gather(*[transport.exchange(REQUEST) for _ in range(5)])
        await asyncio.gather(*[transport.exchange(REQUEST) for _ in range(5)])
    assert server.connections == 5


@pytest.mark.parametrize(
    "answer",
    [
        says(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        says(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        says(OK + OK),
        says(OK, then_close=True),
    ],
    ids=["is to be closed", "HTTP/1.0", "says more than it was asked", "is closed"],
)
async def test_a_connection_that_may_not_be_used_again_is_not(answer: Answer) -> None:
    async with talking_to(answer) as (transport, server):
        for _ in range(3):
            assert (await transport.exchange(REQUEST)).content == b"ok"
            await until(lambda: not transport._open)  # An end of the server's is here a moment later.
    assert server.connections == 3


async def test_what_an_idle_connection_says_is_no_answer_to_the_next_request() -> None:
    told = asyncio.Event()

    async def says_more_later(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.wait_for(told.wait(), PATIENCE_SECONDS)
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    async with talking_to(says_more_later, says(OK)) as (transport, server):
        await transport.exchange(REQUEST)
        (_, idle), *_ = transport._idle
        told.set()
        await until(lambda: not idle.is_idle)
        assert (await transport.exchange(REQUEST)).status == 200
    assert server.connections == 2


async def test_a_head_that_only_announces_the_response_is_passed_over() -> None:
    announced = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with talking_to(says(announced, OK)) as (transport, server):
        for _ in range(2):
            assert await transport.exchange(REQUEST) == Reply(200, {"content-length": "2"}, b"ok")
    assert server.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_needs_no_length(status: int) -> None:
    async with talking_to(says(b"HTTP/1.1 %d Fine\r\n\r\n" % status)) as (transport, server):
        for _ in range(2):
            assert await transport.exchange(REQUEST) == Reply(status, {}, b"")
    assert server.connections == 1


BROKEN = {
    "reset": resets,
    "closed": says(then_close=True),
    "closed in the head": says(b"HTTP/1.1 200 OK\r\nContent-", then_close=True),
    "closed in the body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", then_close=True),
    "closed in a chunk": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", then_close=True),
    "closed before the last chunk": says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", then_close=True
    ),
    "not HTTP": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "wrong length": says(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"),
    "another protocol": says(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_a_response_that_breaks_off_is_an_error_that_leaves_open_whether_the_request_came_through(
    answer: Answer,
) -> None:
    async with talking_to(answer, says(OK)) as (transport, _):
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await transport.exchange(REQUEST)
        assert (await transport.exchange(REQUEST)).content == b"ok"


async def test_a_refused_connection_and_an_unknown_host_are_errors_of_connecting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with tcp_server(ScriptedServer(is_silent).serve) as server:
        transport = transport_to(server)
    with pytest.raises(httpx.ConnectError, match="Connect call failed"):
        await transport.exchange(REQUEST)

    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    nowhere = OriginTransport("http://nowhere.invalid", tls=TLS, connect_timeout=PATIENCE_SECONDS, max_connections=1)
    with pytest.raises(httpx.ConnectError, match="not known"):
        await nowhere.exchange(REQUEST)


async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    async with tcp_server(ScriptedServer(is_silent).serve) as server:
        transport = transport_to(server, scheme="https", connect_timeout=0.05)
        with pytest.raises(httpx.ConnectTimeout):
            await transport.exchange(REQUEST)


async def test_who_finds_all_connections_in_use_waits_for_one() -> None:
    async with talking_to(says(OK), max_connections=2) as (transport, server):
        await asyncio.gather(*[transport.exchange(REQUEST) for _ in range(10)])
        assert server.connections == 2
    async with talking_to(is_silent, max_connections=1) as (transport, server):
        first = asyncio.create_task(transport.exchange(REQUEST))
        await server.is_asked.wait()
        transport._connect_timeout = 0.05
        with pytest.raises(httpx.PoolTimeout):
            await transport.exchange(REQUEST)
        first.cancel()
        await asyncio.wait([first])


@pytest.mark.parametrize("steps", range(12))
async def test_whoever_gives_up_at_any_point_takes_the_connection_with_it(steps: int) -> None:
    async with talking_to(is_silent, says(OK), max_connections=1) as (transport, server):
        given_up = asyncio.create_task(transport.exchange(REQUEST))
        for _ in range(steps):
            await asyncio.sleep(0)
        if steps == 11:
            await server.is_asked.wait()
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        if not server.requests:  # It had not come so far.
            server._answers.pop(0)
        assert (await transport.exchange(REQUEST)).content == b"ok"


async def test_a_body_is_not_read_faster_than_it_is_taken() -> None:
    part, count = b"x" * 65536, 1000
    sent = 0

    async def floods(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(part) * count))
        for _ in range(count):
            writer.write(part)
            await writer.drain()
            sent += len(part)

    async with talking_to(floods) as (transport, _):
        response = await transport.handle_async_request(httpx.Request("GET", "http://x/"))
        parts = aiter(response.stream)
        taken = len(await anext(parts))
        (connection,) = transport._open
        await until(lambda: connection._buffered >= HIGH_WATER_BYTES)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert connection._buffered < HIGH_WATER_BYTES * 2
        assert sent < len(part) * count
        async for part_of_it in parts:
            taken += len(part_of_it)
        await response.aclose()
    assert taken == len(part) * count


def reading(silence: float) -> httpx.Request:
    return httpx.Request("GET", "http://x/", extensions={"timeout": {"read": silence}})


class Wire(asyncio.Transport):
    """The client's end of a connection; a test says by hand what comes over it."""

    def __init__(self, connection: HttpConnection) -> None:
        super().__init__()
        self._connection = connection
        self._is_closed = False

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self._is_closed

    def abort(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)


class TransportByHand(OriginTransport):
    """Its connections lead nowhere."""

    connection: HttpConnection
    """The newest."""

    def __init__(self) -> None:
        super().__init__("http://x", tls=TLS, connect_timeout=1, max_connections=10)

    async def _connect(self) -> HttpConnection:
        self.connection = HttpConnection(asyncio.get_running_loop())
        self.connection.connection_made(Wire(self.connection))
        return self.connection


@in_virtual_time
async def test_a_response_that_falls_silent_is_given_up() -> None:
    transport = TransportByHand()
    with pytest.raises(httpx.ReadTimeout):
        await transport.handle_async_request(reading(5))
    answered = asyncio.create_task(transport.handle_async_request(reading(5)))
    await asyncio.sleep(4)
    transport.connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    response = await answered
    await asyncio.sleep(4)
    transport.connection.data_received(b"1\r\na\r\n")
    assert await anext(aiter(response.stream)) == b"a"
    with pytest.raises(httpx.ReadTimeout):
        await anext(aiter(response.stream))
    await response.aclose()


@in_virtual_time
async def test_a_reader_that_takes_its_time_is_not_taken_for_a_silent_server() -> None:
    transport = TransportByHand()
    answered = asyncio.create_task(transport.handle_async_request(reading(5)))
    await asyncio.sleep(4)
    transport.connection.data_received(OK)
    response = await answered
    await asyncio.sleep(100)
    assert await response.aread() == b"ok"
    await response.aclose()


async def test_a_response_that_was_left_early_takes_its_connection_with_it() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"
    async with talking_to(says(long), says(OK), max_connections=1) as (transport, server):
        response = await transport.handle_async_request(httpx.Request("GET", "http://x/"))
        assert await anext(aiter(response.stream)) == b"some"
        await response.aclose()
        await response.aclose()
        assert (await transport.exchange(REQUEST)).content == b"ok"
    assert server.connections == 2


async def test_closing_ends_whatever_is_under_way_and_leaves_no_socket() -> None:
    async with talking_to(says(OK), is_silent) as (transport, server):
        await transport.exchange(REQUEST)
        server.is_asked.clear()
        waiting = asyncio.create_task(transport.exchange(REQUEST))
        await server.is_asked.wait()

        await transport.aclose()

        assert not transport._open
        with pytest.raises(httpx.ReadError):
            await waiting
        with pytest.raises(httpx.ConnectError, match="closed"):
            await transport.exchange(REQUEST)


async def test_a_connection_that_nobody_needs_for_a_while_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "KEEPALIVE_SECONDS", 0.02)
    async with talking_to(says(OK)) as (transport, server):
        await asyncio.gather(*[transport.exchange(REQUEST) for _ in range(3)])
        await until(lambda: not transport._open)
        assert (await transport.exchange(REQUEST)).content == b"ok"
    assert server.connections == 4


async def test_many_connections_that_open_at_once_look_up_their_host_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    lookups = 0
    look_up = loop.getaddrinfo

    async def counted(*given: Any, **options: Any) -> Any:
        nonlocal lookups
        lookups += 1
        return await look_up(*given, **options)

    monkeypatch.setattr(loop, "getaddrinfo", counted)
    async with talking_to(says(OK), max_connections=50) as (transport, server):
        await asyncio.gather(*[transport.exchange(REQUEST) for _ in range(50)])
        assert server.connections == 50
    assert lookups == 1


async def test_an_address_where_nobody_answers_is_looked_up_anew() -> None:
    scripted = ScriptedServer(says(OK))
    server = TcpServer(scripted.serve, free_port())
    await server.start()
    transport = transport_to(server)
    await transport.exchange(REQUEST)
    await server.stop()
    await until(lambda: not transport._open)
    with pytest.raises(httpx.ConnectError):
        await transport.exchange(REQUEST)
    assert not transport._addresses
    await server.start()
    assert (await transport.exchange(REQUEST)).content == b"ok"
    await transport.aclose()
    await server.stop()
