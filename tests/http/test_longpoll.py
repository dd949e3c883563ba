"""Long polls: whole answers that are bounded in bytes and time, and together say what a stream would have said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import override_settings
from django.urls import include, path
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.http import longpoll
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.tasks import running_tasks
from ..support.virtual_time import in_virtual_time, run_in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.http.test_longpoll")

SPEED = 0.3
"""Seconds between two chunks of a producer that keeps people waiting: longer than what gathers in one answer."""


class Chat(ResumableChatView):
    format = "text"
    source: Any = None

    def generate(self, turn: Turn) -> Any:
        return type(self).source(turn)

    def get_stream_name(self, request: Any, chat_id: str) -> str:
        return chat_id


class SDKChat(Chat):
    format = "aisdk"


urlpatterns = [
    path("text", include(Chat.urls())),
    path("sdk", include((SDKChat.urls()[0], "resumable_stream"), namespace="sdk")),
]


def question(route: str = "text") -> dict[str, Any]:
    if route == "text":
        return {"id": "c1", "message": "Hi"}
    return {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": []}]}


@dataclass
class Polled:
    """What a client has gathered over any number of requests."""

    events: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    cursor: int | None = 0
    requests: int = 0
    waited: float = 0
    """Seconds until the last answer was there."""

    async def once(self, visitor: Visitor, *, wait: float = 20, route: str = "text", live: int = 0) -> int:
        """Make one request and return its status."""
        start = "" if self.cursor is None else f"&from={self.cursor}"
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        exchange = visitor.begin("GET", f"/{route}/replay?id=c1{start}&wait={wait}&live={live}")
        await exchange.until(lambda it: it.is_complete)
        # Only until here: Django then waits for a thread to end, in real time.
        self.waited = clock() - asked_at
        await exchange.done()
        self.requests += 1
        if exchange.status == 200:
            assert exchange.headers["Content-Type"] == "application/json"
            assert exchange.headers["Cache-Control"] == "no-store"
            self.events += exchange.json["events"]
            self.cursor, self.end = exchange.json["cursor"], exchange.json["end"]
        return exchange.status

    async def to_the_end(self, visitor: Visitor, **options: Any) -> Polled:
        while self.end is None and await self.once(visitor, **options) == 200:
            pass
        return self

    @property
    def chunks(self) -> list[Any]:
        return [event["chunk"] for event in self.events]


def answer_with(producer: Producer) -> Producer:
    Chat.source = lambda turn: producer()
    return producer


async def begin(producer: Producer, visitor: Visitor) -> Producer:
    """Let an answer begin, and its first reader leave."""
    answer_with(producer)
    await (await visitor.begin("POST", "/text", question()).begun()).close()
    await settle()
    return producer


@in_virtual_time
async def test_what_the_log_has_is_answered_at_once_and_says_how_it_ended(log: FaultyLog) -> None:
    visitor, polled = Visitor(), Polled()
    answer_with(of("a", "b"))
    posted = await visitor.post("/text", question())

    assert await polled.once(visitor) == 200
    assert polled.chunks == ["a", "b"]
    assert polled.end == {"reason": "finished", "generation": posted.headers["X-Generation-Id"]}
    assert polled.cursor == (await log.tail("c1")).seq_num
    assert polled.waited == 0
    assert await polled.once(visitor) == 204


@in_virtual_time
async def test_an_answer_waits_for_the_first_chunk_and_gathers_what_follows_it(log: FaultyLog) -> None:
    visitor = Visitor()
    producer = await begin(Producer("before"), visitor)
    polled = Polled()
    await polled.once(visitor)
    waiting = asyncio.ensure_future(polled.once(visitor))
    await asyncio.sleep(15)
    assert not waiting.done()
    producer.give("first")
    await asyncio.sleep(0.02)
    producer.give("second")
    await waiting

    assert polled.chunks == ["before", "first", "second"]
    assert polled.requests == 2


@in_virtual_time
async def test_a_wait_that_brings_nothing_is_an_empty_answer_with_the_cursor(log: FaultyLog) -> None:
    visitor = Visitor()
    await begin(Producer("one"), visitor)
    polled = Polled()
    await polled.once(visitor)
    cursor = polled.cursor
    await polled.once(visitor, wait=30)

    assert polled.waited == pytest.approx(30)
    assert (polled.chunks, polled.end) == (["one"], None)
    # Heartbeats came meanwhile, and are not read again.
    assert polled.cursor is not None
    assert polled.cursor > (cursor or 0) > 0


@in_virtual_time
async def test_a_wait_of_no_time_gives_what_there_is(log: FaultyLog) -> None:
    visitor = Visitor()
    producer = await begin(Producer("one"), visitor)
    polled = Polled()
    assert [await polled.once(visitor, wait=0) for _ in range(2)] == [200, 200]
    producer.finish()
    await settle()
    await polled.once(visitor, wait=0)

    assert (polled.chunks, polled.end and polled.end["reason"]) == (["one"], "finished")


@in_virtual_time
async def test_without_a_cursor_the_running_answer_is_read_from_its_start(log: FaultyLog) -> None:
    visitor = Visitor()
    assert await Polled(cursor=None).once(visitor) == 204
    await begin(of("old"), visitor)
    producer = await begin(Producer("new"), visitor)
    polled = Polled(cursor=None)
    await polled.once(visitor)
    producer.finish()
    await polled.to_the_end(visitor)

    assert polled.chunks == ["new"]


@in_virtual_time
async def test_an_older_answers_end_is_none_of_the_one_that_is_waited_for(log: FaultyLog) -> None:
    visitor = Visitor()
    await begin(of("old"), visitor)
    await begin(of("new"), visitor)
    polled = Polled()
    await polled.once(visitor)

    assert polled.chunks == ["old", "new"]
    assert await polled.once(visitor) == 204


@in_virtual_time
async def test_a_live_poll_goes_on_from_answer_to_answer_and_tells_each_end(log: FaultyLog) -> None:
    visitor, polled = Visitor(), Polled()
    waiting = asyncio.ensure_future(polled.once(visitor, live=1))
    await settle()
    await begin(of("old"), visitor)
    producer = await begin(Producer("new"), visitor)
    await waiting
    assert (polled.chunks, polled.end and polled.end["reason"]) == (["old"], "finished")
    await polled.once(visitor, live=1)
    producer.fail(RuntimeError("boom"))
    await polled.once(visitor, live=1)

    assert polled.chunks == ["old", "new"]
    assert polled.end is not None
    assert (polled.end["reason"], polled.end["error"]) == ("failed", "An error occurred.")
    assert await polled.once(visitor, wait=1, live=1) == 200


@in_virtual_time
async def test_an_answer_holds_so_many_bytes_and_a_larger_chunk_comes_alone(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longpoll, "MAX_ANSWER_BYTES", 1000)
    visitor, polled = Visitor(), Polled()
    await begin(of(*(f"{number} {'é' * 50}" for number in range(100)), "x" * 5000, "after"), visitor)
    sizes = []
    while polled.end is None:
        before = len(polled.events)
        await polled.once(visitor)
        sizes.append([len(json.dumps(event, ensure_ascii=False).encode()) for event in polled.events[before:]])

    assert all(sum(answer) <= 1100 or len(answer) == 1 for answer in sizes)
    assert [chunk.split()[0] for chunk in polled.chunks[:100]] == [str(number) for number in range(100)]
    assert [len(chunk) for chunk in polled.chunks[100:]] == [5000, 5]


@in_virtual_time
async def test_what_another_program_wrote_and_is_no_json_does_not_spoil_the_answer(log: FaultyLog) -> None:
    await log.append("c1", [Record('"one"'), Record("no JSON"), Record("NaN"), Record('"two"'), Record("[" * 100_000)])
    polled = Polled()
    await polled.once(Visitor(), live=1)

    assert (polled.chunks, polled.cursor) == (["one", "two"], 5)


@in_virtual_time
async def test_a_message_that_is_continued_comes_whole_and_without_an_id(log: FaultyLog) -> None:
    answer_with(Producer("more"))
    parts = [{"type": "text", "text": "What was before, ", "state": "done"}]
    body = {"id": "c1", "messages": [{"id": "m1", "role": "assistant", "parts": parts}]}
    visitor, polled = Visitor(), Polled(cursor=None)
    await (await visitor.begin("POST", "/sdk", body).begun()).close()
    await settle()
    await polled.once(visitor, route="sdk")

    rebuilt = [event["chunk"] for event in polled.events if "id" not in event]
    assert "What was before, " in [chunk.get("delta") for chunk in rebuilt]
    assert polled.events[: len(rebuilt)] == [{"chunk": chunk} for chunk in rebuilt]
    assert "more" in [event["chunk"].get("delta") for event in polled.events if "id" in event]


# -- places, rights and faults -----------------------------------------------------------------------------------------


def held() -> tuple[int, int, int]:
    """Count what readers hold: places, seats at a shared follow (the writer has one of its own), and tasks."""
    here = runtime()
    seats = sum(follow.attached for follow in here.hub._follows.values())
    return here.readers.taken.total(), seats, len(running_tasks())


@in_virtual_time
async def test_a_poll_holds_a_place_while_it_waits_and_no_longer(settings: Any) -> None:
    use_faulty_log(settings, MAX_READERS_PER_OWNER=1)
    visitor = Visitor()
    producer = await begin(Producer("one"), visitor)
    polled = Polled()
    await polled.once(visitor)
    before = held()
    waiting = asyncio.ensure_future(polled.once(visitor))
    await settle()
    assert held() > before
    refused = await visitor.get("/text/replay?id=c1&from=0&wait=1")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
    producer.give("two")
    await waiting

    assert held() == before
    assert await polled.once(visitor, wait=1) == 200


@in_virtual_time
async def test_a_client_that_goes_away_leaves_nothing_behind(log: FaultyLog) -> None:
    visitor = Visitor()
    await begin(Producer("one"), visitor)
    polled = Polled()
    await polled.once(visitor)
    before = held()
    for moment in range(12):
        exchange = visitor.begin("GET", f"/text/replay?id=c1&from={polled.cursor}&wait=60")
        for _ in range(3 * moment):
            await asyncio.sleep(0)
        exchange.leave()
        await exchange.done()
        await settle()
        assert held() == before
    exchange = visitor.begin("GET", f"/text/replay?id=c1&from={polled.cursor}&wait=60")
    await asyncio.sleep(20)
    assert held() > before
    await exchange.close()

    assert held() == before


@in_virtual_time
async def test_a_right_is_checked_with_each_poll_which_therefore_lasts_no_longer_than_a_check_does(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_faulty_log(settings, REAUTHORIZE_SECONDS=5)
    visitor = Visitor()
    await begin(Producer("one"), visitor)
    polled = Polled()
    await polled.once(visitor)
    await polled.once(visitor, wait=60)
    assert polled.waited == pytest.approx(5)
    monkeypatch.setattr(Chat, "authorize", lambda *_: False)

    assert await polled.once(visitor) == 404


@in_virtual_time
async def test_a_poll_that_asks_for_nonsense_is_refused(log: FaultyLog) -> None:
    visitor = Visitor()

    assert (await visitor.get("/text/replay?id=c1&wait=soon")).status == 400
    assert (await visitor.get("/text/replay?id=c1&wait=1&from=x")).status == 400
    assert (await visitor.get("/text/c1/stream?wait=1")).status == 204


@in_virtual_time
async def test_a_log_that_stays_away_is_503_unless_there_is_something_to_answer(log: FaultyLog) -> None:
    visitor = Visitor()
    await begin(Producer(*"abc"), visitor)
    log.always("read", unavailable)
    log.always("tail", unavailable)
    away = await visitor.get("/text/replay?id=c1&from=0&wait=1")
    log.always("read", None)
    log.always("tail", None)
    polled = Polled()
    await polled.once(visitor)

    assert (away.status, away.headers["Retry-After"]) == (503, "2")
    assert polled.chunks == ["a", "b", "c"]


@in_virtual_time
async def test_a_log_that_fails_in_mid_answer_lets_out_what_is_there(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor, polled = Visitor(), Polled()
    await begin(of(*map(str, range(300))), visitor)
    read, failed = log.read, False

    async def read_and_fail(stream: str, start: int, limit: int = 1000) -> Any:
        nonlocal failed
        if 0 < start < 250 and limit > 1 and polled.requests == 0:
            failed = True
            await unavailable(lambda: read(stream, start, limit))
        return await read(stream, start, limit)

    monkeypatch.setattr(log, "read", read_and_fail)
    await polled.to_the_end(visitor)

    assert failed
    assert polled.requests > 1
    assert polled.chunks == [str(number) for number in range(300)]


@in_virtual_time
async def test_a_process_that_is_about_to_end_sends_its_pollers_elsewhere(log: FaultyLog) -> None:
    visitor = Visitor()
    await begin(Producer("one"), visitor)
    polled = Polled()
    await polled.once(visitor)
    waiting = visitor.begin("GET", f"/text/replay?id=c1&from={polled.cursor}&wait=60")
    live = visitor.begin("GET", f"/text/replay?id=c1&from={polled.cursor}&wait=60&live=1")
    await settle()
    await runtime().drain(0)
    await asyncio.gather(waiting.done(), live.done())

    # The answer's end is the last that this process wrote, and both get it.
    for polled_answer in (waiting, live):
        assert (polled_answer.json["end"]["reason"], polled_answer.json["end"]["cause"]) == ("interrupted", "shutdown")
    after = await visitor.get(f"/text/replay?id=c1&from={polled.cursor}&wait=60")
    assert (after.status, after.headers["Retry-After"]) == (503, "1")


# -- the central property ----------------------------------------------------------------------------------------------


@dataclass
class Case:
    """One answer, and a client that changes between streams and polls in the middle of it."""

    items: list[str]
    steps: list[int | float]
    """An ``int`` is a stream that breaks after so many bytes, a ``float`` a poll that waits so many seconds."""
    format: str = "text"
    is_slow: bool = False


async def _gather(visitor: Visitor, case: Case) -> Polled:
    """Take the steps one after the other, and poll what is left."""
    polled = Polled()
    for step in case.steps:
        if polled.end is not None:
            break
        if isinstance(step, float):
            if await polled.once(visitor, wait=step, route=case.format) == 204:
                return polled
            continue
        exchange = visitor.begin("GET", f"/{case.format}/replay?id=c1&from={polled.cursor}", cut_after=step)
        await exchange.done()
        whole = exchange.body[: exchange.body.rfind(b"\n\n") + 2]
        exchange.body = whole
        for event in exchange.events:
            polled.cursor = int(event.last_event_id or polled.cursor or 0)
            if event.type == "end":
                polled.end = json.loads(event.data)
            else:
                polled.events.append({"id": polled.cursor, "chunk": json.loads(event.data)})
    return await polled.to_the_end(visitor, wait=5.0, route=case.format)


async def _compare(case: Case) -> None:
    async def produce(_: Turn) -> AsyncIterator[str]:
        for item in case.items:
            if case.is_slow:
                await asyncio.sleep(SPEED)
            yield item

    Chat.source = produce
    visitor = Visitor()
    first = await visitor.begin("POST", f"/{case.format}", question(case.format)).begun()
    gathered = await _gather(visitor, case)
    uninterrupted = await first.done()
    await visitor.get(f"/{case.format}/c1/messages")
    again = await _gather(visitor, case)

    events = [event for event in uninterrupted.events if event.type != "end"]
    expected = [{"id": int(event.last_event_id), "chunk": json.loads(event.data)} for event in events]
    assert gathered.events == expected
    assert again.events == expected
    if case.format == "text":
        assert gathered.end is not None
        assert gathered.end["reason"] == "finished"


AWKWARD = ["\u2028", "\0", "\ud83d", "\udc00", "\U0001f600", "\r\n", "\n\n", '"},{"id":1', "x" * 400_000]
ITEMS = st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(), max_size=100), max_size=30)
STEPS = st.lists(st.integers(0, 2000) | st.sampled_from([0.0, 0.1, 1.0, 5.0]), max_size=12)


@given(st.builds(Case, items=ITEMS, steps=STEPS, format=st.sampled_from(["text", "sdk"]), is_slow=st.booleans()))
@example(Case(items=AWKWARD * 3, steps=[0.0, 90, 1.0, 150, 0.0, 400_300, 5.0], is_slow=True))
@example(Case(items=[str(number) for number in range(5000)], steps=[50_000, 0.0, 100, 5.0], format="sdk"))
@hypothesis_settings(max_examples=50)
def test_polls_and_streams_in_any_order_say_what_one_uninterrupted_reader_sees(case: Case) -> None:
    values = {
        "HANDLE_SIGNALS": False,
        "BACKENDS": {"default": {"BACKEND": "resumable_stream.backends.memory.MemoryBackend"}},
        "RING_BYTES": 2000,
    }
    with override_settings(ROOT_URLCONF=__name__, RESUMABLE_STREAM=values):
        run_in_virtual_time(lambda: _compare(case))
    assert backends["default"]
