"""The access token never leaves the process but in the Authorization header."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any

import httpx
import pytest

from resumable_stream.backends import backends
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.exceptions import InvalidBackendError, ResumableStreamError
from resumable_stream.records import Record

from ..s2_lite import TOKEN, S2Lite
from .fault_proxy import Fault, fault_proxy
from .s2_tools import QUICK, mocked, refusal

ECHO = f"token Bearer {TOKEN} is not known"
PADDED = "x" * 290 + TOKEN  # Cut to a message's length, the token's beginning would remain.


async def follow(backend: S2Backend) -> None:
    await anext(backend.follow("s", 0))


CALLS: dict[str, Callable[[S2Backend], Awaitable[object]]] = {
    "append": lambda backend: backend.append("s", [Record("x")]),
    "read": lambda backend: backend.read("s", 0),
    "tail": lambda backend: backend.tail("s", last=1),
    "follow": follow,
    "list": lambda backend: backend.list_streams(),
    "delete": lambda backend: backend.delete_stream("s"),
    "setup": lambda backend: backend.ensure_basin(),
}
ANSWERS = {
    "authn": refusal(401, "authn", ECHO),
    "permission": refusal(403, "permission_denied", ECHO),
    "basin": refusal(404, "basin_not_found", ECHO),
    "invalid": refusal(422, "invalid", PADDED),
    "failed": refusal(500, "other", ECHO),
    "a code of its own": refusal(418, TOKEN, ECHO),
    "not S2": httpx.Response(404, text=ECHO),
    "not an error": httpx.Response(200, text=ECHO),
}


def assert_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    assert TOKEN not in f"{error!r} {error} {vars(error)}"
    # As a crash reporter shows it: the whole chain with every local variable.
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert TOKEN not in shown
    for frame in frames_of(error):
        for name, value in frame.f_locals.items():
            assert TOKEN not in shown_deeply(value), f"{name} in {frame.f_code.co_qualname}"
    assert TOKEN not in caplog.text


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames of an error and of all that led to it; those of the test, which knows the token, left out."""
    found, waiting = [], [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
            found += [frame for frame, _ in traceback.walk_tb(one.__traceback__)]
    return [frame for frame in found if frame.f_code.co_filename != __file__]


def shown_deeply(value: object, depth: int = 4) -> str:
    """Show a value as reporters do that look into collections, and read bytes as text."""
    if isinstance(value, (bytes, bytearray)):
        return value.decode("latin-1")
    # The handler makes backends when it is looked into.
    if depth and isinstance(value, Mapping) and value is not backends:
        return "".join(shown_deeply(one, depth - 1) for pair in value.items() for one in pair)
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return "".join(shown_deeply(one, depth - 1) for one in value)
    return repr(value)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_no_refusal_shows_it_even_if_the_server_repeats_it(
    call: Callable[[S2Backend], Awaitable[object]], answer: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ResumableStreamError) as caught:
        await call(mocked(lambda request: answer))
    assert_secret(caught.value, caplog)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.STALL, None], ids=str)
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_no_broken_connection_shows_it(
    s2_server: S2Lite,
    call: Callable[[S2Backend], Awaitable[object]],
    fault: Fault | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fault_proxy(s2_server.port) as proxy:
        backend = S2Backend("default", s2_server.options(**proxy.options, **QUICK, timeout=0.05))
        if fault is None:
            await proxy.stop()
        else:
            proxy.fault = fault
        with pytest.raises(ResumableStreamError) as caught:
            await call(backend)
        assert_secret(caught.value, caplog)
        await backend.close()


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-server\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad\0header\r\n\r\n"]
)
async def test_a_server_that_speaks_no_http_does_not_bring_it_out(
    s2_server: S2Lite, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with fault_proxy(s2_server.port) as proxy:
        proxy.reply = reply
        backend = S2Backend("default", s2_server.options(**proxy.options, **QUICK))
        with pytest.raises(ResumableStreamError) as caught:
            await backend.append("s", [Record("x")])
        assert_secret(caught.value, caplog)
        await backend.close()


CARRIERS: dict[str, Callable[[], dict[str, Any]]] = {
    "ours": dict,
    "httpx's transport": lambda: {"transport": httpx.AsyncHTTPTransport},
    "httpx's client": lambda: {"client": httpx.AsyncClient},
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=list(CARRIERS))
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_no_cancelled_request_shows_it(
    s2_server: S2Lite,
    call: Callable[[S2Backend], Awaitable[object]],
    carrier: Callable[[], dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fault_proxy(s2_server.port) as proxy:
        proxy.fault = Fault.STALL
        backend = S2Backend("default", s2_server.options(**proxy.options, **carrier()))
        task = asyncio.ensure_future(call(backend))
        await proxy.hit.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert_secret(caught.value, caplog)
        await backend.close()


async def test_no_cancelled_follow_shows_it_while_it_waits_for_records(
    s2_server: S2Lite, caplog: pytest.LogCaptureFixture
) -> None:
    backend = S2Backend("default", s2_server.options())
    await backend.append("waiting", [Record("x")])
    batches = backend.follow("waiting", 0)
    while not (await anext(batches)).caught_up:
        pass
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await anext(batches)
    assert_secret(caught.value, caplog)
    await batches.aclose()
    await backend.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_no_unexpected_error_of_a_transport_shows_it(
    call: Callable[[S2Backend], Awaitable[object]], caplog: pytest.LogCaptureFixture
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        header = request.headers["Authorization"]
        raise RuntimeError("the event loop is closed") from ValueError(header)

    with pytest.raises(RuntimeError, match="the event loop is closed") as caught:
        await call(mocked(handle))
    assert_secret(caught.value, caplog)
    # Where it was raised can be read all the same.
    assert "test_s2_secrecy.py" in caught.value.__notes__[0]


def configure(settings: Any, options: dict[str, Any]) -> None:
    backend = {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": options}
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": backend}}


@pytest.mark.parametrize(
    "wrong", [{"basin": "?"}, {"retry_seconds": "1"}, {"nonsense": 1}, {"basin_endpoint": "x://"}, {"transport": 1}]
)
def test_no_wrong_option_shows_it(settings: Any, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    configure(settings, {"basin": "test-basin", "access_token": TOKEN, "client": httpx.AsyncClient, **wrong})
    with pytest.raises(InvalidBackendError) as caught:
        backends["default"]
    assert_secret(caught.value, caplog)
