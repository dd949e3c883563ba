"""A read session: how long it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from resumable_stream.backends.s2.read_session import ReadSession, SessionInDoubtError

from ..support.virtual_time import in_virtual_time


class SilentBody(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


@in_virtual_time
async def test_session_that_is_already_timing_out_takes_an_earlier_time_limit() -> None:
    # uvloop's timers may fire up to a millisecond before they are due, so a limit of "now" can come after one that has
    # already fired.
    session = ReadSession("s", lambda _: None)
    session.begin(httpx.Response(200, stream=SilentBody()))
    loop = asyncio.get_running_loop()
    due = loop.time() + 10
    waiting = asyncio.ensure_future(session.next_event())
    await asyncio.sleep(0)

    session.end_by(due)
    loop.call_at(due, session.end_by, due - 0.001)

    with pytest.raises(SessionInDoubtError):
        await waiting
    await session.close()
