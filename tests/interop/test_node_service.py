"""One basin, two services: ours, and one under Node that writes and reads with S2's own SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import get_args

import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.chat.chat_stream import Mode
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.protocol import head
from resumable_stream.protocol.layout import Ended, Entry
from resumable_stream.readers.reader import Reader
from resumable_stream.records import Record, SequencedRecord
from resumable_stream.runtime import runtime
from resumable_stream.testing import read_all

from ..faults.sites import Chat
from ..integration.node_host import NodeHost
from ..support.readers import bodies, ends, gather

MODES: tuple[Mode, ...] = get_args(Mode)
REUSED: tuple[Mode, ...] = ("shared", "session")
LONG_LEASE_SECONDS = 60
"""Longer than the package's five seconds in shared mode, where a test is about an owner that lives."""

# What breaks readers that take lines for something else than the standard does, or bytes for characters.
CHUNKS = [
    '{"type":"start","messageId":"m"}',
    '{"type":"text-start","id":"0"}',
    '{"type": "text-delta",  "id":"0", "delta":"é\u2028\u2029\x85😀 \\n \\u0000"}',
    '{"type":"text-delta","id":"0","delta":""}',
    '{"type":"text-end","id":"0"}',
    '{"type":"finish"}',
]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    mode: Mode = request.param
    return mode


@pytest.fixture
def chat(s2: S2Backend, mode: Mode) -> Chat:
    return Chat(s2, format="aisdk", mode=mode)


async def words(*, then: asyncio.Event | None = None) -> AsyncIterator[str]:
    for number in range(30):
        yield f"{number} é\u2028😀 "
    if then is not None:
        await then.wait()


async def claim(service: NodeHost, stream: str, mode: Mode) -> None:
    assert "token" in await service.call("claim", name=stream, mode=mode)


async def ended(chat: Chat, stream: str) -> None:
    """Wait until our generation is over."""
    generation = runtime().registry.get(chat.backend, stream)
    if generation is not None:
        await generation.is_over.wait()


async def reader_of(chat: Chat, stream: str, cursor: int | None = None) -> Reader:
    reader = await chat.locate(stream, cursor)
    assert reader is not None
    return reader


async def kept(chat: Chat, stream: str) -> Sequence[SequencedRecord]:
    """Read all records that there are; in shared mode a claim trims what is before it, be it nothing."""
    return await read_all(chat.backend, stream, start=1 if chat.mode == "shared" else 0)


async def test_what_node_writes_is_replayed_and_followed_to_its_end(
    service: NodeHost, chat: Chat, stream: str, mode: Mode
) -> None:
    await claim(service, stream, mode)
    await service.call("write", name=stream, chunks=CHUNKS[:3])
    early_found: list[Entry] = []
    following = asyncio.create_task(gather(await reader_of(chat, stream), early_found))
    await service.call("write", name=stream, chunks=CHUNKS[3:])
    late_found: list[Entry] = []
    late = asyncio.create_task(gather(await reader_of(chat, stream, 2), late_found))
    if mode == "single-use":
        # The package's end trims: it takes from readers what they have not got.
        await has_come(early_found, CHUNKS)
        await has_come(late_found, CHUNKS[1:])
    assert await service.call("finish", name=stream, mode=mode) == {}

    entries = await following
    assert bodies(entries) == CHUNKS
    assert ends(entries) == ["finished"]
    assert bodies(await late) == CHUNKS[1:]
    assert await chat.locate(stream) is None


async def has_come(found: list[Entry], chunks: list[str]) -> None:
    """Wait until a reader has all chunks."""
    while bodies(found) != chunks:  # noqa: ASYNC110 - a reader tells nobody how far it is
        await asyncio.sleep(0.01)


# At the end of a single use Node trims the failure away with the rest.
@pytest.mark.parametrize("mode", REUSED, indirect=True)
async def test_a_failure_that_node_records_is_a_failure_here(
    service: NodeHost, chat: Chat, stream: str, mode: Mode
) -> None:
    error = '{"type":"error","errorText":"An error occurred."}'
    await claim(service, stream, mode)
    following = asyncio.create_task(gather(await reader_of(chat, stream)))
    await service.call("finish", name=stream, mode=mode, error=error)
    entries = await following
    assert bodies(entries) == [error]
    assert ends(entries) == ["failed"]


async def test_our_stop_ends_what_node_writes(service: NodeHost, chat: Chat, stream: str, mode: Mode) -> None:
    await claim(service, stream, mode)
    await service.call("write", name=stream, chunks=CHUNKS[:3])
    following = asyncio.create_task(gather(await reader_of(chat, stream)))

    await chat.end(stream)

    refused = await service.call("write", name=stream, chunks=CHUNKS[3:])
    assert refused["refused"].startswith("end-stopped-")
    entries = await following
    assert bodies(entries)[:3] == CHUNKS[:3]
    # What Node had left open is closed, so that clients of either service can go on.
    assert [json.loads(body)["type"] for body in bodies(entries)[3:]] == ["text-end", "abort"]
    assert ends(entries) == ["stopped"]


async def test_what_we_write_node_reads_byte_for_byte(service: NodeHost, chat: Chat, stream: str) -> None:
    gate = asyncio.Event()
    message = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "é"}]}
    await chat.start(stream, words(then=gate), user_messages=[message])
    replaying = asyncio.create_task(service.call("replay", name=stream))
    gate.set()
    replayed = await replaying

    written = [record.body for record in await kept(chat, stream) if record.body and not record.is_command]
    assert replayed["chunks"] == written
    assert [json.loads(body)["type"] for body in written] == [
        *("start", "text-start"),
        *["text-delta"] * 30,
        *("text-end", "finish"),
    ]
    assert replayed["terminal"].startswith("end-finished-")
    await ended(chat, stream)


async def test_a_stop_by_the_packages_bare_fence_cancels_our_source(service: NodeHost, chat: Chat, stream: str) -> None:
    closed = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "Before. "
            await asyncio.Event().wait()
        finally:
            closed.set()

    started = await chat.start(stream, source)
    following = asyncio.create_task(gather(chat.reader(stream, started)))
    await service.call("stop", name=stream)
    await closed.wait()
    assert ends(await following) == ["finished"]
    assert await chat.locate(stream) is None
    await ended(chat, stream)


@pytest.mark.parametrize("mode", ["session"], indirect=True)
async def test_a_node_service_that_died_keeps_its_session_until_it_is_stopped(
    service: NodeHost, chat: Chat, stream: str
) -> None:
    await claim(service, stream, "session")
    with pytest.raises(GenerationActiveError):
        await chat.start(stream, words)
    await chat.end(stream)
    assert ends(await gather(chat.reader(stream, await chat.start(stream, words)))) == ["finished"]


async def test_our_failure_is_a_terminal_to_node(service: NodeHost, chat: Chat, stream: str) -> None:
    async def source() -> AsyncIterator[str]:
        yield "Before. "
        raise ValueError

    await chat.start(stream, source)
    replayed = await service.call("replay", name=stream)
    assert json.loads(replayed["chunks"][-1]) == {"type": "error", "errorText": "An error occurred."}
    assert replayed["terminal"].startswith("error-failed-")
    await ended(chat, stream)


async def test_commands_are_laid_out_as_the_package_lays_them_out(chat: Chat, stream: str) -> None:
    await chat.start(stream, words)
    await gather(await reader_of(chat, stream, 0 if chat.mode != "shared" else 1))
    records = await kept(chat, stream)
    commands = [record for record in records if record.is_command]
    assert {record.headers for record in commands} == {(("", "fence"),)}
    assert [len(record.body.encode()) <= 36 for record in commands] == [True, True]
    assert all(not record.headers or not record.body or record.headers[0][0] == "rs-back" for record in records[2:-1])


async def test_node_refuses_what_we_are_writing(service: NodeHost, chat: Chat, stream: str, mode: Mode) -> None:
    gate = asyncio.Event()
    await chat.start(stream, words(then=gate))
    refused = await service.call("claim", name=stream, mode=mode, lease=LONG_LEASE_SECONDS * 1000)
    assert str(refused["refused"]).startswith("gen-") or mode == "single-use"
    assert "token" not in refused
    gate.set()
    await ended(chat, stream)


async def test_we_refuse_what_node_is_writing(
    service: NodeHost, chat: Chat, stream: str, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "FOREIGN_LEASE_SECONDS", LONG_LEASE_SECONDS)
    await claim(service, stream, mode)
    for key in ("", "a key"):
        with pytest.raises(GenerationActiveError):
            await chat.start(stream, words, idempotency_key=key)
    assert (await service.call("write", name=stream, chunks=CHUNKS)).get("refused") is None


@pytest.mark.parametrize("key", ["", "a key"], ids=["without a key", "with a key"])
@pytest.mark.parametrize("mode", REUSED, indirect=True)
async def test_each_claims_after_the_others_end(
    service: NodeHost, chat: Chat, stream: str, mode: Mode, key: str
) -> None:
    for round_ in range(2):
        await claim(service, stream, mode)
        await service.call("write", name=stream, chunks=CHUNKS)
        await service.call("finish", name=stream, mode=mode)

        started = await chat.start(stream, words, idempotency_key=key and f"{key} {round_}")
        entries = await gather(chat.reader(stream, started))
        assert ends(entries) == ["finished"]
        assert len(bodies(entries)) == 34


@pytest.mark.parametrize("mode", ["single-use"], indirect=True)
async def test_a_stream_for_a_single_use_is_used_up_whoever_used_it(service: NodeHost, chat: Chat, stream: str) -> None:
    await claim(service, stream, "single-use")
    await service.call("finish", name=stream, mode="single-use")
    with pytest.raises(GenerationActiveError):
        await chat.start(stream, words)

    ours = f"{stream}/2"
    await gather(chat.reader(ours, await chat.start(ours, words)))
    assert "refused" in await service.call("claim", name=ours, mode="single-use")


@pytest.mark.parametrize("mode", ["shared"], indirect=True)
async def test_a_node_service_that_died_is_followed_by_us_under_its_own_rule(
    service: NodeHost, chat: Chat, stream: str
) -> None:
    await claim(service, stream, "shared")
    await service.call("write", name=stream, chunks=CHUNKS[:3])
    while True:
        try:
            started = await chat.start(stream, words)
            break
        except GenerationActiveError:
            await asyncio.sleep(0.2)
    assert ends(await gather(chat.reader(stream, started))) == ["finished"]
    refused = await service.call("write", name=stream, chunks=CHUNKS[3:])
    assert refused["refused"].startswith("end-finished-")


@pytest.mark.parametrize("key", ["", "a key"], ids=["without a key", "with a key"])
@pytest.mark.parametrize("token", ["end-abcdefgh", "error-abcdefgh"])
@pytest.mark.parametrize("mode", REUSED, indirect=True)
async def test_a_stream_that_retention_emptied_is_free(
    chat: Chat, s2: S2Backend, stream: str, token: str, key: str
) -> None:
    # What is left where all records have expired: a tail and a token, and nothing to read.
    await s2.append(stream, [Record.fence(token), Record.trim(0x7F7F7F7F7F7F7F7F)])
    assert await chat.locate(stream) is None
    started = await chat.start(stream, words, idempotency_key=key)
    entries = await gather(chat.reader(stream, started))
    assert ends(entries) == ["finished"]
    assert isinstance(entries[-1], Ended)
