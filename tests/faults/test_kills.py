"""Real processes on a real s2-lite, killed, stopped and continued, terminated: app servers, writers, and the log.

What two servers do with one log is in ``tests.integration.test_two_servers``.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from uuid import uuid4

import pytest
from django.test import override_settings

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.conf import S2_BACKEND
from resumable_stream.exceptions import GenerationActiveError
from resumable_stream.testing import read_all

from ..integration.log import Log, fences_of, s2_log, strays_of
from ..integration.servers import KINDS, REPOSITORY, Server
from ..integration.test_crash import Killer, assert_counts_from_zero, read_until_killed
from ..integration.test_shutdown import endless_answer
from ..integration.visitor import Gathered, Reading, Visitor, expect, gather, new_id
from ..s2_lite import S2Lite
from ..support.patience import PATIENCE_SECONDS
from .runner import SETTINGS
from .sites import Chat

MakeServer = Callable[..., Server]


@pytest.fixture
def make_app(make_server: MakeServer) -> MakeServer:
    """Make servers of the test project on an S2 log."""

    def make(kind: str, log: S2Lite, **settings: object) -> Server:
        return make_server(kind, log=s2_log(log), **{"LEASE_SECONDS": 1, **settings})

    return make


@asynccontextmanager
async def visits(*apps: Server) -> AsyncIterator[list[Visitor]]:
    """One visitor, whose requests reach one process or another."""
    visitors = [Visitor(app.base) for app in apps]
    try:
        await visitors[0].arrive()
        # The first message makes the session, which all requests then share.
        await visitors[0].ask(new_id(), "Hello.")
        for visitor in visitors[1:]:
            visitor.http.cookies.update(visitors[0].http.cookies)
            await visitor.arrive()
        yield visitors
    finally:
        for visitor in visitors:
            await visitor.http.aclose()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
async def test_an_app_killed_under_load_leaves_on_s2_all_that_was_shown(
    make_app: MakeServer, s2_server: S2Lite, kind: str, seed: int
) -> None:
    app = make_app(kind, s2_server)
    killer = Killer(app, seed, most_frames=400)
    chats = [new_id() for _ in range(3)]
    started = asyncio.Barrier(len(chats))
    async with visits(app) as [visitor]:
        shown = await asyncio.gather(*(read_until_killed(visitor, chat, killer, started) for chat in chats))
        app.restart()
        await asyncio.gather(*map(check_interrupted, repeat(visitor), repeat(app.log), chats, shown))


async def check_interrupted(visitor: Visitor, log: Log, chat: str, before: Gathered) -> None:
    resumed = await visitor.resume(chat)
    assert resumed is not None
    assert resumed.complete
    assert resumed.types[-1] == "error"
    assert resumed.frames[: len(before.frames)] == before.frames
    assert_counts_from_zero(resumed.text)
    assert (await visitor.ask(chat, "Next.")).text == "Next."
    records = await log.records_of(chat)
    assert fences_of(records) == ["claim", "interrupted", "claim", "finished"]
    assert strays_of(records) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_log_killed_under_load_and_started_again_costs_no_answer_a_word(
    make_app: MakeServer, durable_s2_server: S2Lite, kind: str
) -> None:
    app = make_app(kind, durable_s2_server, LEASE_SECONDS=10)
    chats = [new_id() for _ in range(4)]
    draw = random.Random(kind)
    began = asyncio.Barrier(len(chats) + 1)
    async with visits(app) as [visitor]:
        answers = [asyncio.create_task(whole_answer(visitor, chat, began)) for chat in chats]
        # A start while the log is away may be refused although it took effect, and is another test's matter.
        await began.wait()
        for _ in range(3):
            await asyncio.sleep(draw.uniform(0.2, 0.6))
            await asyncio.to_thread(durable_s2_server.kill)
            await asyncio.sleep(draw.uniform(0, 0.3))
            await asyncio.to_thread(durable_s2_server.start)
        for chat, answer in zip(chats, await asyncio.gather(*answers), strict=True):
            assert answer.text == "".join(f"{number} " for number in range(400))
            assert answer.types[-1] == "finish"
            records = await app.log.records_of(chat)
            assert fences_of(records) == ["claim", "finished"]
            assert [record.seq_num for record in records] == list(range(len(records)))


async def whole_answer(visitor: Visitor, chat: str, began: asyncio.Barrier) -> Gathered:
    """Ask for an answer and come back by cursor until it is whole."""
    async with visitor.starting(chat, {"count": 400, "every_ms": 5}) as response:
        await expect(response, 200)
        reading = Reading(response)
        await reading.take(1)
        await began.wait()
        answer = await reading.rest()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not answer.complete:
            query = {"id": chat, "from": answer.cursor}
            async with visitor.http.stream("GET", f"{visitor.prefix}/replay", params=query) as response:
                if response.status_code == 200:
                    more = await gather(response)
                    answer.frames += more.frames
                    answer.complete = more.complete
                elif response.status_code == 204:
                    answer.complete = True  # Nothing but the end of the body was missing.
                else:
                    # The log is away: any other answer would leave the text incomplete.
                    await expect(response, 503)
                    await asyncio.sleep(0.1)
    return answer


@pytest.mark.parametrize("kind", KINDS)
async def test_an_app_terminated_under_load_hands_its_readers_over(
    make_app: MakeServer, s2_server: S2Lite, kind: str
) -> None:
    app, other = make_app(kind, s2_server, SHUTDOWN_GRACE_SECONDS=0.2), make_app("uvicorn", s2_server)
    chats = [new_id() for _ in range(4)]
    async with visits(app, other) as [here, there]:
        began = asyncio.Barrier(len(chats))
        answers = await asyncio.gather(*(endless_answer(here, chat, app, began) for chat in chats))
        app.wait()
        for chat, answer in zip(chats, answers, strict=True):
            more = await there.replay(chat, start=answer.cursor)
            frames = [*answer.frames, *(more.frames if more is not None else [])]
            assert frames[-1].data["type"] == "error"
            told = await there.replay(chat, start=0)
            assert told is not None
            assert told.frames == frames
            assert (await there.ask(chat, "Next.")).text == "Next."
            records = await app.log.records_of(chat)
            assert fences_of(records) == ["claim", "interrupted", "claim", "finished"]
            assert strays_of(records) == []


async def test_a_writer_that_slept_past_its_lease_cancels_its_source_and_writes_no_more(s2_server: S2Lite) -> None:
    stream = f"test/{uuid4()}"
    settings = {**SETTINGS, "BACKENDS": {"default": {"BACKEND": S2_BACKEND, "OPTIONS": s2_server.options()}}}
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.writer_program", stream, json.dumps(settings)),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    backend = S2Backend("test", s2_server.options())
    try:
        assert program.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await program.stdout.readline() == b"running\n"
            program.send_signal(signal.SIGSTOP)
            with override_settings(RESUMABLE_STREAM=SETTINGS):
                chat = Chat(backend, format="text")
                await write_when_free(chat, stream)
                assert fences_of(list(await read_all(backend, stream)))[:3] == ["claim", "interrupted", "claim"]
                program.send_signal(signal.SIGCONT)
                # Its source has no end but this one.
                assert await program.stdout.readline() == b"closed\n"
                await chat.end(stream)
        records = list(await read_all(backend, stream))
        assert fences_of(records) == ["claim", "interrupted", "claim", "stopped"]
        assert strays_of(records) == []
        second_claim = [record.seq_num for record in records if record.is_fence][2]
        assert [record.body for record in records[second_claim + 1 : -1] if record.body] == ['"Mine."']
    finally:
        program.send_signal(signal.SIGCONT)
        program.kill()
        await program.wait()
        await backend.close()


async def write_when_free(chat: Chat, stream: str) -> None:
    """Start an answer without an end, and return when its first words are taken."""
    is_taken = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "Mine."
        is_taken.set()
        await asyncio.Event().wait()

    while True:
        with suppress(GenerationActiveError):
            await chat.start(stream, source)
            await is_taken.wait()
            return
        await asyncio.sleep(0.1)
