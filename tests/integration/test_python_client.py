"""The Python client against servers that are real, over connections that break and processes that die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from resumable_stream.client import AsyncFollower, Event, Follower, FollowError, follow, follow_sync

from ..support.patience import PATIENCE_SECONDS
from .proxy import cutting_proxy, seeded_cuts
from .servers import Server
from .visitor import Frame, Step, Visitor, new_id

on_each_log = pytest.mark.parametrize("server", ["uvicorn-sqlite", "uvicorn-s2"], indirect=True)

BLOB = '\u2028\u2029\x00\\"\n' * 100
SCRIPT: tuple[Step, ...] = ({"count": 150, "every_ms": 2}, BLOB, {"count": 150, "every_ms": 2})


def no_delay(failures: int, asked: float | None) -> float:
    """Come back at once after what is but a cut; where the server is away, give it time."""
    return 0 if failures < 5 else 0.05


def frame_of(event: Event) -> Frame:
    assert event.cursor is not None
    return Frame(event.cursor, event.json(), None if event.name == "message" else event.name)


async def frames_of(follower: AsyncFollower) -> list[Frame]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [frame_of(event) async for event in follower]


def frames_of_sync(follower: Follower) -> list[Frame]:
    return [frame_of(event) for event in follower]


def text_of(frames: list[Frame]) -> str:
    return "".join(frame.data["delta"] for frame in frames if frame.data["type"] == "text-delta")


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        yield visitor


@on_each_log
@pytest.mark.parametrize("prefix", ["/api/chat", "/api/text"])
async def test_a_post_followed_over_cuts_brings_what_an_uninterrupted_reader_sees(server: Server, prefix: str) -> None:
    chat = new_id()
    async with Visitor(server.base, prefix) as visitor, cutting_proxy(server.port) as proxy:
        # Less than the headers at times: some connections bring nothing at all.
        proxy.bytes_before_cut = seeded_cuts(7, 300, 6000)
        body = visitor.body(chat, *SCRIPT)
        options = {"client": visitor.http, "delay": no_delay, "max_attempts": None}
        answer = follow(f"{proxy.base}{prefix}", method="POST", json=body, **options)
        gathered = await frames_of(answer)
        whole = await visitor.replay(chat, start=0)

        assert whole is not None
        assert gathered == whole.frames
        assert answer.end is not None
        assert answer.end.reason == "finished"
        assert proxy.cuts > 1
        assert [one["end"] for one in (await visitor.messages(chat))["generations"]] == ["finished"]


@on_each_log
async def test_the_synchronous_follower_does_the_same_from_a_cursor(server: Server, visitor: Visitor) -> None:
    chat = new_id()
    answer = await visitor.ask(chat, *SCRIPT)
    start = answer.frames[3].id
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = seeded_cuts(8, 300, 9000)
        url = f"{proxy.base}/api/chat/{chat}/stream"
        follower = follow_sync(url, cursor=start, cookies=dict(visitor.http.cookies), delay=no_delay, max_attempts=None)
        gathered = await asyncio.to_thread(frames_of_sync, follower)

    assert gathered == answer.frames[4:]
    assert follower.end is not None
    assert follower.end.reason == "finished"
    assert proxy.cuts > 0


@on_each_log
async def test_followers_who_join_while_an_answer_runs_see_all_of_it_and_its_stop(
    server: Server, visitor: Visitor
) -> None:
    chat = new_id()
    url = f"{server.base}/api/chat/{chat}/stream"
    async with visitor.starting(chat, "Before. ", {"gate": chat}):
        await visitor.gate_reached(chat)
        joined = follow(url, client=visitor.http)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(joined)
            begun = [frame_of(await anext(joined)) for _ in range(3)]
            await visitor.stop(chat)
            frames = begun + await frames_of(joined)

    assert text_of(frames) == "Before. "
    assert joined.end is not None
    assert joined.end.reason == "stopped"


@on_each_log
async def test_a_live_follower_goes_from_turn_to_turn(server: Server, visitor: Visitor) -> None:
    chat = new_id()
    first = await visitor.ask(chat, "One.")
    async with cutting_proxy(server.port) as proxy, AsyncExitStack() as stack:
        proxy.bytes_before_cut = seeded_cuts(9, 600, 1500)
        url = f"{proxy.base}/api/chat/{chat}/stream?live=1"
        live = follow(url, cursor=0, client=visitor.http, delay=no_delay, max_attempts=None)
        await stack.enter_async_context(live)
        gathered = [frame_of(await anext(live)) for _ in first.frames]
        second = await visitor.ask(chat, {"count": 30, "every_ms": 1})
        gathered += [frame_of(await anext(live)) for _ in second.frames]

        assert gathered == first.frames + second.frames
        assert proxy.cuts > 0
        assert live.end is None


@on_each_log
async def test_there_is_nothing_to_follow_and_nobody_elses_answer(server: Server, visitor: Visitor) -> None:
    chat = new_id()
    await visitor.ask(chat, "Mine.")
    url = f"{server.base}/api/chat/{chat}/stream?from=0"
    mine = follow(url, client=visitor.http)
    others = follow(url)

    assert text_of(await frames_of(mine)) == "Mine."
    assert await frames_of(others) == []
    assert others.end is not None
    assert others.end.reason == "nothing"


@on_each_log
async def test_a_request_that_is_refused_is_an_error_with_the_servers_words(server: Server) -> None:
    with pytest.raises(FollowError, match="must be a cursor") as raised:
        await frames_of(follow(f"{server.base}/api/chat/c/stream?from=x"))
    assert raised.value.status == 400


async def test_a_follower_outlives_the_server(make_server: Callable[..., Server]) -> None:
    own = make_server("uvicorn", LEASE_SECONDS=1)
    chat = new_id()
    async with Visitor(own.base) as visitor:
        body = visitor.body(chat, {"count": 1_000_000, "every_ms": 1})
        options = {"client": visitor.http, "delay": lambda failures, asked: 0.1, "max_attempts": None}
        answer = follow(f"{own.base}/api/chat", method="POST", json=body, **options)
        frames: list[Frame] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for event in answer:
                frames.append(frame_of(event))
                if len(frames) == 200:
                    own.kill()
                    restarting = asyncio.create_task(asyncio.to_thread(own.restart))
        await restarting
        whole = await visitor.replay(chat, start=0)

        assert whole is not None
        assert frames == whole.frames
        assert answer.end is not None
        assert (answer.end.reason, answer.end.text) == ("failed", "The answer was interrupted. Please try again.")
        assert [one["end"] for one in (await visitor.messages(chat))["generations"]] == ["interrupted"]


@on_each_log
async def test_a_follower_gives_up_on_a_server_that_stays_away(server: Server) -> None:
    async with cutting_proxy(server.port) as proxy:
        proxy.bytes_before_cut = lambda: 0
        with pytest.raises(FollowError, match="tried 3 times") as raised:
            await frames_of(follow(f"{proxy.base}/api/chat/c/stream", max_attempts=3, delay=no_delay))
    assert isinstance(raised.value.__cause__, httpx.TransportError)
