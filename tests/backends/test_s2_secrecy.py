"""The access token never leaves the process but in the Authorization header."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable

import httpx
import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.exceptions import ResumableStreamError
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
    assert TOKEN not in caplog.text


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
