"""The S2 backend on a real s2-lite server."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.exceptions import (
    FencingTokenMismatchError,
    InvalidBackendError,
    RecordsTrimmedError,
    StreamNotFoundError,
)
from resumable_stream.records import FollowBatch, Record, SequencedRecord

from ..s2_lite import TOKEN, S2Lite
from .s2_tools import following

NAMES = [
    "a/b/c",
    "/",
    "a%2Fb",
    "%",
    "%25",
    "50% & more = a+b?c#d;e",
    "../..",
    "a/../b",
    " ",
    "line\nbreak\ttab\x7f",
    "ünï-漢字-😀-\u2028",
    "'\"<>\\^`{|}[]()!*,:@$~",
    "long" * 128,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:30])
async def test_any_name_means_the_same_stream_in_every_request(s2: S2Backend, name: str) -> None:
    await s2.append(name, [Record("x")])
    assert (await s2.tail(name)).seq_num == 1
    assert (await s2.tail(name, last=1)).records[0].body == "x"
    assert (await s2.read(name, 0)).records[0].body == "x"
    async with following(s2, name, 0) as batches:
        assert (await anext(batches)).records[0].body == "x"
    assert [found.name for found in (await s2.list_streams(name)).streams] == [name]
    assert name not in [found.name for found in (await s2.list_streams(name, start_after=name)).streams]
    await s2.delete_stream(name)
    with pytest.raises(StreamNotFoundError):
        await s2.tail(name)


@pytest.mark.parametrize(
    "body",
    ["\0" * 1_000_000, '"' * 1_000_000, "漢" * 340_000, "\u2028" * 340_000, "😀" * 260_000],
    ids=["control", "quotes", "cjk", "separators", "emoji"],
)
async def test_a_record_of_a_mebibyte_comes_back_whatever_its_characters(s2: S2Backend, stream: str, body: str) -> None:
    await s2.append(stream, [Record(body, (("name\0", "välue\n"),))])
    (record,) = (await s2.read(stream, 0)).records
    assert record.body == body
    assert record.headers == (("name\0", "välue\n"),)
    async with following(s2, stream, 0) as batches:
        assert (await anext(batches)).records == (record,)


async def test_a_trim_to_any_position_trims_there(s2: S2Backend, stream: str) -> None:
    await s2.append(stream, [Record(str(number)) for number in range(300)])
    await s2.append(stream, [Record("ü"), Record.trim(200)])
    await trimmed_to(s2, stream, 200)
    assert (await s2.read(stream, 200, 1)).records[0].body == "200"
    assert (await s2.read(stream, 300, 1)).records[0].body == "ü"


async def trimmed_to(s2: S2Backend, stream: str, position: int) -> None:
    """Wait until S2 has dropped what is trimmed, which it does a moment after the acknowledgement."""
    while await is_kept(s2, stream, position - 1):  # noqa: ASYNC110 - S2 tells nobody when it has trimmed
        await asyncio.sleep(0.01)


async def is_kept(s2: S2Backend, stream: str, position: int) -> bool:
    try:
        await s2.read(stream, position, 1)
    except RecordsTrimmedError:
        return False
    return True


async def test_a_follow_of_an_emptied_stream_tells_that_the_records_are_gone(s2: S2Backend, stream: str) -> None:
    await s2.append(stream, [Record("x"), Record("y"), Record.trim(3), Record.fence("end-1")])
    await s2.append(stream, [Record.trim(5)])
    await trimmed_to(s2, stream, 5)
    async with following(s2, stream, 1) as batches:
        with pytest.raises(RecordsTrimmedError) as caught:
            await anext(batches)
    assert caught.value.first_seq_num == 5
    found = await s2.tail(stream, last=3)
    assert (found.seq_num, found.records) == (5, ())


async def test_a_long_history_is_followed_whole(s2: S2Backend, stream: str) -> None:
    for start in range(0, 20_000, 1000):
        await s2.append(stream, [Record(str(number)) for number in range(start, start + 1000)], match_seq_num=start)
    bodies: list[str] = []
    async with following(s2, stream, 0) as batches:
        async for batch in batches:
            bodies += [record.body for record in batch.records]
            if batch.caught_up:
                break
    assert bodies == [str(number) for number in range(20_000)]


async def test_the_last_records_are_found_where_one_answer_cannot_hold_them(s2: S2Backend, stream: str) -> None:
    for _ in range(3):
        await s2.append(stream, [Record("x" * 600_000)])
    found = await s2.tail(stream, last=3)
    assert [record.seq_num for record in found.records] == [0, 1, 2]
    assert [record.seq_num for record in (await s2.tail(stream, last=1)).records] == [2]
    assert [record.seq_num for record in (await s2.tail(stream, last=9)).records] == [0, 1, 2]


async def test_three_hundred_follows_are_open_at_once(s2: S2Backend) -> None:
    names = [f"many/{uuid4()}" for _ in range(300)]
    await asyncio.gather(*(s2.append(name, [Record("first")]) for name in names))
    follows = [s2.follow(name, 0) for name in names]

    async def until(body: str, batches: AsyncIterator[FollowBatch]) -> None:
        async for batch in batches:
            if any(record.body == body for record in batch.records):
                return

    await asyncio.gather(*(until("first", batches) for batches in follows))
    await asyncio.gather(*(s2.append(name, [Record("second")]) for name in names))
    await asyncio.gather(*(until("second", batches) for batches in follows))
    await asyncio.gather(*(batches.aclose() for batches in follows))


async def test_of_racing_claims_exactly_one_wins_and_the_others_learn_its_token(s2: S2Backend, stream: str) -> None:
    async def claim(number: int) -> str:
        try:
            await s2.append(stream, [Record.fence(f"owner-{number}")], fencing_token="")
        except FencingTokenMismatchError as error:
            return error.actual
        return f"owner-{number}"

    assert len(set(await asyncio.gather(*(claim(number) for number in range(8))))) == 1


async def test_the_name_of_a_large_deleted_stream_can_be_used_again(s2: S2Backend, stream: str) -> None:
    for _ in range(20):
        await s2.append(stream, [Record("x" * 100)] * 1000, fencing_token="")
    await s2.append(stream, [Record.fence("owner")])
    await s2.delete_stream(stream)
    assert stream not in [found.name for found in (await s2.list_streams(stream)).streams]
    ack = await s2.append(stream, [Record("anew")], fencing_token="", match_seq_num=0)
    assert ack.start == 0


async def test_a_listing_is_read_page_by_page(s2: S2Backend) -> None:
    prefix = f"list/{uuid4()}/"
    names = sorted((f"{prefix}{name}" for name in ("a", "b c", "ä", "😀", "\uffff")), key=str.encode)
    for name in names:
        await s2.append(name, [Record("x")])
    found: list[str] = []
    has_more = True
    while has_more:
        page = await s2.list_streams(prefix, start_after=found[-1] if found else "", limit=2)
        found += [one.name for one in page.streams]
        has_more = page.has_more
    assert found == names


def basin_options(server: S2Lite) -> dict[str, object]:
    return server.options(basin=f"basin-{uuid4().hex[:12]}")


async def test_a_basin_is_made_then_kept_then_updated(s2_server: S2Lite) -> None:
    backend_options = basin_options(s2_server)
    backend = S2Backend("default", backend_options)
    with pytest.raises(InvalidBackendError, match="resumable_stream setup"):
        await backend.basin_config()
    assert await backend.ensure_basin() == "created"
    assert await backend.ensure_basin() == "kept"
    assert await backend.ensure_basin(retention_seconds=86_400) == "updated"
    assert await backend.ensure_basin(retention_seconds=86_400) == "kept"
    stating = S2Backend("default", {**backend_options, "retention_seconds": 3600})
    assert await stating.prepare() == f"Basin {backend.config.basin!r}: updated."
    assert (await backend.basin_config())["default_stream_config"]["retention_policy"] == {"age": 3600}
    assert "updated" in await stating.prepare(retention_seconds=86_400)
    config = await backend.basin_config()
    assert (config["create_stream_on_append"], config["create_stream_on_read"]) == (True, False)
    assert config["default_stream_config"]["retention_policy"] == {"age": 86_400}


async def test_what_others_configured_in_the_basin_stays(s2_server: S2Lite) -> None:
    options = basin_options(s2_server)
    chosen = {"create_stream_on_read": True, "default_stream_config": {"delete_on_empty": {"min_age_secs": 600}}}
    async with httpx.AsyncClient() as client:
        answer = await client.put(f"{s2_server.url}/v1/basins/{options['basin']}", json={"config": chosen})
        answer.raise_for_status()
    backend = S2Backend("default", options)
    assert await backend.ensure_basin(retention_seconds=86_400) == "updated"
    config = await backend.basin_config()
    assert config["create_stream_on_read"] is False
    assert config["default_stream_config"]["delete_on_empty"] == {"min_age_secs": 600}
    assert config["default_stream_config"]["retention_policy"] == {"age": 86_400}


async def test_a_basin_that_creates_no_streams_is_told_from_one_that_is_missing(s2_server: S2Lite) -> None:
    options = basin_options(s2_server)
    backend = S2Backend("default", options)
    with pytest.raises(InvalidBackendError, match=f"basin '{options['basin']}' does not exist"):
        await backend.append("s", [Record("x")])
    async with httpx.AsyncClient() as client:
        (await client.put(f"{s2_server.url}/v1/basins/{options['basin']}")).raise_for_status()
    with pytest.raises(InvalidBackendError, match="does not create streams on append"):
        await backend.append("s", [Record("x")])
    await backend.close()


async def test_a_closed_backend_opens_again_when_it_is_used_again(s2: S2Backend, stream: str) -> None:
    await s2.append(stream, [Record("x")])
    await s2.close()
    await s2.append(stream, [Record("y")])
    assert [record.body for record in (await s2.read(stream, 0)).records] == ["x", "y"]


def test_one_backend_serves_one_loop_after_the_other(s2_server: S2Lite, stream: str) -> None:
    backend = S2Backend("default", s2_server.options())

    async def append_and_follow(number: int) -> tuple[SequencedRecord, ...]:
        await backend.append(stream, [Record("x")], match_seq_num=number)
        batches = backend.follow(stream, number)
        return (await anext(batches)).records  # The follow is left open: the end of the loop has to close it.

    for number in range(3):
        assert [record.seq_num for record in asyncio.run(append_and_follow(number))] == [number]
    gc.collect()


FORK = """
import asyncio, json, os, sys, threading
from resumable_stream.backends.s2 import S2Backend
from resumable_stream.records import Record

options, stream = json.loads(sys.argv[1])
backend = S2Backend("default", options)
following, forked = threading.Event(), threading.Event()
seen = []

async def parent():
    await backend.append(stream, [Record("parent")])
    async for batch in backend.follow(stream, 0):
        seen.extend(record.body for record in batch.records)
        if batch.caught_up:
            following.set()
            await asyncio.to_thread(forked.wait)
        if seen[-1] == "last":
            return

async def child():
    await backend.append(stream, [Record("child")])
    batch = await anext(backend.follow(stream, 0))
    assert [record.body for record in batch.records] == ["parent", "child"], batch

thread = threading.Thread(target=lambda: asyncio.run(parent()))
thread.start()
following.wait()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        asyncio.run(child())
        status = 0
    finally:
        os._exit(status)
status = os.waitpid(pid, 0)[1]
forked.set()

async def last():
    await backend.append(stream, [Record("last")])

asyncio.run(last())
thread.join()
sys.stdout.write(json.dumps([status, seen]))
"""


def test_a_forked_child_opens_its_own_connections_and_leaves_its_parents_alone(s2_server: S2Lite, stream: str) -> None:
    arguments = json.dumps([s2_server.options(), stream])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [0, ["parent", "child", "last"]]


class Recording(httpx.AsyncBaseTransport):
    """Hands requests on, as a proxy of the user's would."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport()
        self.paths: list[str] = []
        self.is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        self.is_closed = True
        await self.inner.aclose()


@pytest.mark.parametrize("option", ["transport", "client"])
@pytest.mark.parametrize("is_factory", [True, False], ids=["made per loop", "brought open"])
async def test_the_users_own_transport_or_client_carries_every_request(
    s2_server: S2Lite, stream: str, option: str, is_factory: bool
) -> None:
    transport = Recording()
    brought = transport if option == "transport" else httpx.AsyncClient(transport=transport)
    backend = S2Backend("default", s2_server.options(**{option: (lambda: brought) if is_factory else brought}))
    await backend.append(stream, [Record("x")])
    async with following(backend, stream, 0) as batches:
        assert (await anext(batches)).records[0].body == "x"
    await backend.close()
    assert len(transport.paths) == 2
    assert transport.is_closed is is_factory
    await transport.aclose()
