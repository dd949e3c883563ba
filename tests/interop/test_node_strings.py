"""Streams of strings that we share with a Node service which stores them as the npm package's generic context does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from resumable_stream import ResumableStreamContext
from resumable_stream.backends import backends
from resumable_stream.exceptions import IncompleteStreamError
from resumable_stream.records import Record
from resumable_stream.string_streams import StringStream
from resumable_stream.types import EndReason

from ..integration.node_host import NodeHost
from ..s2_lite import S2Lite
from ..support.producers import Producer, of

STRINGS = ['data: {"a":\n', "1}\n\n", "é\u2028\x85😀\0", "\r\n", '"', "x" * 900_000]


@pytest.fixture
async def streams(settings: Any, s2_server: S2Lite) -> AsyncIterator[ResumableStreamContext]:
    config = {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": s2_server.options()}
    settings.RESUMABLE_STREAM = {"HANDLE_SIGNALS": False, "BACKENDS": {"default": config}}
    yield ResumableStreamContext(prefix="")
    await backends.close_all()


async def read(stream: StringStream | None) -> str:
    assert stream is not None
    return "".join([string async for string in stream])


def never() -> Any:
    raise AssertionError("The source was begun twice.")


async def test_what_node_writes_is_joined_and_resumed_here(
    service: NodeHost, streams: ResumableStreamContext, stream: str
) -> None:
    assert "token" in await service.call("claim", name=stream, mode="session")
    await service.call("write", name=stream, chunks=STRINGS[:2])
    joined = asyncio.create_task(read(await streams.resumable_stream(stream, never)))
    await service.call("write", name=stream, chunks=STRINGS[2:])
    await service.call("finish", name=stream, mode="session")

    assert await joined == "".join(STRINGS)
    assert await streams.resumable_stream(stream, never) is None
    assert await read(await streams.resume_stream(stream)) == "".join(STRINGS)
    # Its stop writes an end, even on a stream that is over: that is no part of what was written.
    await service.call("stop", name=stream)
    assert await read(await streams.resume_stream(stream)) == "".join(STRINGS)


async def test_what_we_write_is_read_by_node(service: NodeHost, streams: ResumableStreamContext, stream: str) -> None:
    source = Producer(*STRINGS)
    await streams.resumable_stream(stream, source)
    assert "refused" in await service.call("claim", name=stream, mode="session")
    replaying = asyncio.create_task(service.call("replay", name=stream))
    source.finish()
    replayed = await replaying

    assert "".join(replayed["chunks"]) == "".join(STRINGS)
    # One record each, but for the last, which is too large for one.
    assert replayed["chunks"][: len(STRINGS) - 1] == STRINGS[:-1]
    assert replayed["terminal"].startswith("end-finished-")


async def test_an_error_that_node_records_is_one_here(
    service: NodeHost, streams: ResumableStreamContext, stream: str
) -> None:
    await service.call("claim", name=stream, mode="session")
    await service.call("write", name=stream, chunks=["half"])
    await backends["default"].append(stream, [Record.fence("error-k3x9a")])

    with pytest.raises(IncompleteStreamError) as raised:
        await read(await streams.resume_stream(stream))
    assert raised.value.reason is EndReason.FAILED


async def test_we_stop_what_node_writes_and_it_stops_what_we_write(
    service: NodeHost, streams: ResumableStreamContext, stream: str
) -> None:
    await service.call("claim", name=stream, mode="session")
    assert await streams.stop_stream(stream)
    assert "refused" in await service.call("write", name=stream, chunks=["late"])

    ours, source = f"{stream}/2", Producer("half")
    begun = await streams.resumable_stream(ours, source)
    assert begun is not None
    assert await anext(begun) == "half"
    await service.call("stop", name=ours)
    # The package's end says of itself that all is well: nobody can tell a stop from it.
    assert await read(begun) == ""
    assert await streams.resumable_stream(ours, of("again")) is None
