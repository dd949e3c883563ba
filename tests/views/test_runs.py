"""The HTTP doors as TanStack AI's clients use them: sessions that are held open, and runs that are joined by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.records import Record
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog, unavailable
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.views.test_runs")


class LiveChat(ResumableChatView):
    format = "tanstack"
    source: Any = None

    def generate(self, turn: Turn) -> Any:
        return self.source(turn)


class NativeChat(LiveChat):
    delivery = "response"


class AGUIChat(LiveChat):
    format = "agui"


class SingleUseChat(LiveChat):
    mode = "single-use"


def routes(view: type[ResumableChatView], name: str) -> Any:
    return include((view.urls()[0], "resumable_stream"), namespace=name)


urlpatterns = [
    path("live", routes(LiveChat, "live")),
    path("native", routes(NativeChat, "native")),
    path("agui", routes(AGUIChat, "agui")),
    path("single-use", routes(SingleUseChat, "single-use")),
]


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Producer], Producer]:
    def set_source(producer: Producer) -> Producer:
        monkeypatch.setattr(LiveChat, "source", staticmethod(lambda turn: producer()))
        return producer

    return set_source


@pytest.fixture(autouse=True)
def default_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveChat, "source", staticmethod(lambda turn: of("Hello", " world")()))


def say(text: str = "Hi", message_id: str = "u1", **more: Any) -> dict[str, Any]:
    message = {"id": message_id, "role": "user", "parts": [{"type": "text", "content": text}]}
    return {"messages": [message], "id": "c1", **more}


def run_input(run_id: str, text: str = "Hi", message_id: str = "u1") -> dict[str, Any]:
    """What the library's own connections POST."""
    messages = [{"id": message_id, "role": "user", "content": text}]
    more = {"state": {}, "tools": [], "context": [], "forwardedProps": {}, "data": {}}
    return {"threadId": "c1", "runId": run_id, "messages": messages, **more}


async def start_run(visitor: Visitor, run_id: str, **options: Any) -> Exchange:
    return await visitor.post("/native", run_input(run_id, message_id=f"u-{run_id}"), X_Run_Id=run_id, **options)


def chunks(exchange: Exchange) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in exchange.events]


def types(exchange: Exchange) -> list[str]:
    return [chunk["type"] for chunk in chunks(exchange)]


def text_of(exchange: Exchange, role: str = "assistant") -> str:
    """Join what the messages of one role say."""
    said, speaker = "", ""
    for chunk in chunks(exchange):
        if chunk["type"] == "TEXT_MESSAGE_START":
            speaker = chunk["role"]
        elif chunk["type"] == "TEXT_MESSAGE_CONTENT" and speaker == role:
            said += chunk["delta"]
    return said


def ids(exchange: Exchange) -> list[int]:
    return [int(event.last_event_id) for event in exchange.events]


def streams() -> list[str]:
    found = backends["default"]
    assert isinstance(found, FaultyLog)
    return sorted(found._streams)


def chat_stream() -> str:
    (name,) = (name for name in streams() if name.startswith("chat/"))
    return name


async def following(visitor: Visitor, query: str = "id=c1", **headers: str) -> Exchange:
    """Subscribe, and wait until everything that there is has come."""
    exchange = visitor.begin("GET", f"/live/replay?{query}", **headers)
    await exchange.begun()
    await settle()
    return exchange


# -- live: one subscription follows the session ----------------------------------------------------------------------


@in_virtual_time
async def test_a_start_answers_202_and_leaves_the_chunks_to_the_subscription(log: FaultyLog) -> None:
    visitor = Visitor()
    started = await visitor.post("/live", say())
    reader = await following(visitor, "id=c1&from=0")

    assert (started.status, started.body, started.headers["Cache-Control"]) == (202, b"", "no-store")
    assert types(reader)[0] == "RUN_STARTED"
    assert types(reader)[-1] == "RUN_FINISHED"
    assert (text_of(reader, "user"), text_of(reader)) == ("Hi", "Hello world")
    assert not reader.is_complete


@in_virtual_time
async def test_an_unknown_chat_is_waited_for(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/live", say(id="other"))
    reader = await following(visitor)
    assert (reader.status, reader.events) == (200, [])

    await visitor.post("/live", say())
    await settle()

    assert text_of(reader) == "Hello world"


@in_virtual_time
async def test_a_first_load_gets_what_is_over_as_one_snapshot_and_then_what_runs(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    visitor = Visitor()
    await visitor.post("/live", say())
    await settle()
    tail = len(log.records(chat_stream()))
    running = answer_with(Producer("And "))
    await visitor.post("/live", say("More?", "u2"))
    await settle()

    reader = await following(visitor)
    running.give("more.")
    running.finish()
    await settle()

    snapshot, *rest = chunks(reader)
    assert snapshot["type"] == "MESSAGES_SNAPSHOT"
    assert [message["role"] for message in snapshot["messages"]] == ["user", "assistant", "user"]
    assert ids(reader)[0] == tail
    assert [rest[0]["type"], rest[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert text_of(reader) == "And more."
    assert ids(reader) == sorted(set(ids(reader)))


@in_virtual_time
async def test_what_comes_while_the_snapshot_is_made_is_neither_lost_nor_told_twice(
    log: FaultyLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor()
    await visitor.post("/live", say())
    await settle()
    format_ = LiveChat().chat.format
    make = format_.snapshot

    def snapshot_late(messages: Any) -> Any:
        # A whole turn fits between the reading and the subscription.
        visitor.begin("POST", "/live", say("More?", "u2"))
        return make(messages)

    monkeypatch.setattr(format_, "snapshot", snapshot_late)
    reader = await following(visitor)

    assert types(reader).count("MESSAGES_SNAPSHOT") == 1
    assert types(reader).count("RUN_STARTED") == 1
    assert (text_of(reader, "user"), text_of(reader)) == ("More?", "Hello world")


@in_virtual_time
async def test_a_cursor_gets_strictly_what_follows_it(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/live", say())
    whole = await following(visitor, "id=c1&from=0")

    for at in range(len(whole.events)):
        rest = await following(visitor, f"id=c1&from={ids(whole)[at]}")
        assert rest.events == whole.events[at + 1 :]
    # The header is newer than what the URL says.
    rest = await following(visitor, "id=c1&from=0", Last_Event_ID=str(ids(whole)[2]))
    assert rest.events == whole.events[3:]


@in_virtual_time
@pytest.mark.parametrize("query", ["from=abc", "from=-1", "from=", "from=99999999999999999999", "offset=1e3"])
async def test_what_is_no_cursor_is_passed_over(log: FaultyLog, query: str) -> None:
    visitor = Visitor()
    await visitor.post("/live", say())
    await settle()

    reader = await following(visitor, f"id=c1&{query}", Last_Event_ID="no number")

    assert types(reader) == ["MESSAGES_SNAPSHOT"]


@in_virtual_time
async def test_a_cursor_beyond_the_tail_gets_a_snapshot(log: FaultyLog) -> None:
    visitor = Visitor()
    await visitor.post("/live", say())
    await settle()

    assert types(await following(visitor, "id=c1&from=1000")) == ["MESSAGES_SNAPSHOT"]
    # Of a log that is gone: what the client holds is no longer true.
    (empty,) = chunks(await following(visitor, "id=c2&from=3"))
    assert empty == {"type": "MESSAGES_SNAPSHOT", "messages": []}


@in_virtual_time
async def test_a_cursor_whose_records_were_trimmed_gets_a_snapshot(log: FaultyLog) -> None:
    visitor = Visitor()
    for number in (1, 2):
        await visitor.post("/live", say(message_id=f"u{number}"))
        await settle()
    stream = chat_stream()
    second = [at for at, record in enumerate(log.records(stream)) if record.is_fence][2]
    await log.append(stream, [Record.trim(second)])

    reader = await following(visitor, "id=c1&from=3")

    (snapshot,) = chunks(reader)
    assert [message["id"] for message in snapshot["messages"]][:1] == ["u2"]


@in_virtual_time
async def test_who_waits_for_the_end_of_a_run_that_the_snapshot_holds_is_told_it(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    visitor = Visitor()
    await visitor.post("/live", say(runId="run-1"))
    await settle()
    answer_with(Producer("And"))
    await visitor.post("/live", say("More?", "u2", runId="run-2"))
    await settle()

    reader = await following(visitor, "id=c1&run=run-1&run=run-2&run=run-3")

    snapshot, told, started, *_ = chunks(reader)
    assert (snapshot["type"], told["type"], told["runId"]) == ("MESSAGES_SNAPSHOT", "RUN_FINISHED", "run-1")
    assert (started["type"], started["runId"]) == ("RUN_STARTED", "run-2")
    assert b"\n\ndata: {" in reader.body  # It has a place of its own on the log, which the snapshot covers.
    # Who has a cursor hears of it in its place.
    assert "RUN_FINISHED" not in types(await following(visitor, f"id=c1&from={ids(reader)[0]}&run=run-1"))
    assert (await visitor.get("/live/replay?id=c1&run=a/b")).status == 400


@in_virtual_time
async def test_a_stop_ends_the_run_under_its_own_name(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    answer_with(Producer("Half"))
    visitor = Visitor()
    # Before there is anything: its session is that of the messages to come.
    reader = await following(visitor)
    await visitor.post("/live", say(runId="run-1"))
    await reader.until(lambda it: b"Half" in it.body)

    stopped = await visitor.delete("/live", {"messages": [], "id": "c1"})
    again = await visitor.delete("/live", {"messages": [], "id": "c1"})
    await settle()

    assert (stopped.status, again.status) == (202, 204)
    started, *_, finished = chunks(reader)
    assert (started["runId"], finished["type"], finished["runId"]) == ("run-1", "RUN_FINISHED", "run-1")
    assert not reader.is_complete


@in_virtual_time
async def test_two_tabs_that_start_at_once_begin_one_run(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    visitor = Visitor()
    await visitor.post("/live", say(id="other"))
    producer = answer_with(Producer("Hello"))
    both = [visitor.begin("POST", "/live", say(message_id=f"u{tab}", runId=f"run-{tab}")) for tab in (1, 2)]

    assert sorted([(await one.done()).status for one in both]) == [202, 409]
    assert producer.calls == 1


@in_virtual_time
async def test_a_log_that_is_down_is_503(log: FaultyLog) -> None:
    log.always("tail", unavailable)
    reader = await Visitor().get("/live/replay?id=c1&from=3")

    assert (reader.status, reader.headers["Retry-After"]) == (503, "2")


@in_virtual_time
async def test_other_modes_stream_with_the_start_and_have_nothing_after_the_end(log: FaultyLog) -> None:
    visitor = Visitor()
    started = await visitor.post("/single-use", say())
    replay = await visitor.get("/single-use/replay?id=c1")

    assert (started.status, text_of(started)) == (200, "Hello world")
    assert started.is_complete
    assert (replay.status, replay.headers["Cache-Control"]) == (204, "no-store")


# -- native: each run is a response that can be joined again -----------------------------------------------------------


@in_virtual_time
async def test_a_run_has_the_name_that_its_client_gave_it(log: FaultyLog) -> None:
    answer = await start_run(Visitor(), "run-1")

    assert answer.status == 200
    assert answer.is_complete
    assert {chunk["runId"] for chunk in chunks(answer) if "runId" in chunk} == {"run-1"}
    assert (types(answer)[0], types(answer)[-1], text_of(answer)) == ("RUN_STARTED", "RUN_FINISHED", "Hello world")


@in_virtual_time
async def test_the_same_request_again_attaches_wherever_it_broke(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    producer = answer_with(of("Hello", " world"))
    visitor = Visitor()
    whole = await start_run(visitor, "run-1")
    again = await start_run(visitor, "run-1")
    assert again.events == whole.events

    for at, event in enumerate(whole.events[:-1]):
        rest = await start_run(visitor, "run-1", Last_Event_ID=event.last_event_id)
        assert rest.events == whole.events[at + 1 :]
        assert rest.is_complete
    assert producer.calls == 1


@in_virtual_time
async def test_who_lost_only_the_end_of_the_body_is_told_once_more_how_the_run_ended(log: FaultyLog) -> None:
    visitor = Visitor()
    whole = await start_run(visitor, "run-1")
    last = whole.events[-1]

    for cursor in (last.last_event_id, str(len(log.records(chat_stream())))):
        rest = await start_run(visitor, "run-1", Last_Event_ID=cursor)
        assert rest.body.endswith(b"\n\ndata: %s\n\n" % last.data.encode())
        assert b"id:" not in rest.body
        assert rest.is_complete


@in_virtual_time
async def test_a_run_is_joined_by_its_name_alone(log: FaultyLog, answer_with: Callable[[Producer], Producer]) -> None:
    running = answer_with(Producer("Hello"))
    visitor = Visitor()
    first = visitor.begin("POST", "/native", run_input("run-1"), X_Run_Id="run-1")
    await first.until(lambda it: b"Hello" in it.body)

    second = visitor.begin("GET", "/native?offset=-1&runId=run-1")
    await second.until(lambda it: b"Hello" in it.body)
    running.finish()

    assert (await second.done()).events == (await first.done()).events
    third = await visitor.get("/native?offset=-1&runId=run-1")
    assert third.events == first.events
    rest = await visitor.get("/native?offset=-1&runId=run-1", Last_Event_ID=first.events[2].last_event_id)
    assert rest.events == first.events[3:]


@in_virtual_time
async def test_a_url_that_names_the_chat_needs_no_note_of_the_run(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/native?id=mine", run_input("run-1"), X_Run_Id="run-1")
    joined = await visitor.get("/native?id=mine&offset=-1&runId=run-1")
    loaded = await visitor.get("/native?id=mine&threadId=whatever")

    assert joined.events == first.events
    assert [message["role"] for message in loaded.json["messages"]] == ["user", "assistant"]
    assert [name.split("/")[0] for name in streams()] == ["chat"]


@in_virtual_time
async def test_runs_that_are_not_there_are_404(log: FaultyLog) -> None:
    visitor = Visitor()
    await start_run(visitor, "run-1")
    await start_run(visitor, "run-2")

    # A run that others have followed cannot be read from its start, and one of somebody else is not there at all.
    for query in ("offset=-1&runId=run-1", "offset=-1&runId=run-3", "id=c1&offset=-1&runId=run-3", "id=c2&runId=r"):
        assert (await visitor.get(f"/native?{query}")).status == 404
    assert (await Visitor().get("/native?offset=-1&runId=run-2")).status == 404


@in_virtual_time
async def test_the_rest_of_a_run_that_others_have_followed_ends_with_it(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await start_run(visitor, "run-1")
    await start_run(visitor, "run-2")
    await start_run(visitor, "run-3")

    for at, event in enumerate(first.events[:-1]):
        rest = await start_run(visitor, "run-1", Last_Event_ID=event.last_event_id)
        assert rest.events == first.events[at + 1 :]
    has_all = await start_run(visitor, "run-1", Last_Event_ID=first.events[-1].last_event_id)
    assert [event.data for event in has_all.events] == [first.events[-1].data]


@in_virtual_time
async def test_a_cursor_that_leads_nowhere_is_410_and_begins_nothing(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await start_run(visitor, "run-1")
    second = await start_run(visitor, "run-2")
    within_first, within_second = (one.events[3].last_event_id for one in (first, second))
    records = len(log.records(chat_stream()))

    for run_id, cursor in [
        ("run-2", "1000"),
        ("run-1", "1000"),
        ("run-1", within_second),  # of another run
        ("run-3", within_first),
        ("run-3", within_second),
        ("run-3", "0"),
    ]:
        answer = await start_run(visitor, run_id, Last_Event_ID=cursor)
        assert (answer.status, answer.text) == (410, "This place in the chat is gone. Load the chat again.")
    # What comes before a run is before its first chunk.
    assert (await start_run(visitor, "run-2", Last_Event_ID=within_first)).events == second.events
    assert len(log.records(chat_stream())) == records


@in_virtual_time
async def test_a_cursor_whose_records_were_trimmed_is_410(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await start_run(visitor, "run-1")
    await start_run(visitor, "run-2")
    second = [at for at, record in enumerate(log.records(chat_stream())) if record.is_fence][2]
    await log.append(chat_stream(), [Record.trim(second)])

    answer = await start_run(visitor, "run-1", Last_Event_ID=first.events[2].last_event_id)

    assert answer.status == 410


@in_virtual_time
@pytest.mark.parametrize("cursor", ["x", "-2", "1.5", "99999999999999999999", "1 "])
async def test_what_is_no_cursor_is_400(log: FaultyLog, cursor: str) -> None:
    visitor = Visitor()
    await start_run(visitor, "run-1")

    answers = [
        await start_run(visitor, "run-1", Last_Event_ID=cursor),
        await visitor.get(f"/native?runId=run-1&offset={cursor.replace(' ', '%20')}"),
    ]

    assert [answer.status for answer in answers] == [400, 400]


@in_virtual_time
@pytest.mark.parametrize(
    "query",
    ["", "offset=-1", "runId=a/b", "id=a/b&runId=r", "threadId=a/b", "threadId=c1&limit=0", "threadId=c1&limit=x"],
)
async def test_a_get_that_says_too_little_or_nonsense_is_400(log: FaultyLog, query: str) -> None:
    assert (await Visitor().get(f"/native?{query}")).status == 400


@in_virtual_time
@pytest.mark.parametrize("run_id", ["a/b", "x" * 129, "\ud83d"])
async def test_a_run_id_that_cannot_be_one_is_400(log: FaultyLog, run_id: str) -> None:
    answer = await Visitor().post("/native", run_input(run_id))

    assert (answer.status, streams()) == (400, [])


@in_virtual_time
async def test_loading_the_chat_names_the_run_that_is_not_in_the_messages(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    visitor = Visitor()
    await start_run(visitor, "run-1")
    before = await visitor.get("/native?threadId=c1", Accept="application/json")
    answer_with(Producer("And"))
    running = visitor.begin("POST", "/native", run_input("run-2", "More?", "u2"))
    await running.until(lambda it: b"And" in it.body)
    during = await visitor.get("/native?threadId=c1", Accept="application/json")

    assert before.headers["Cache-Control"] == "no-store"
    assert before.json["activeRun"] is None
    assert (before.json["interrupts"], before.json["page"]) == (None, {"truncated": False})
    assert [message["role"] for message in before.json["messages"]] == ["user", "assistant"]
    assert during.json["activeRun"] == {"runId": "run-2"}
    assert during.json["messages"][:2] == before.json["messages"]
    assert [message["id"] for message in during.json["messages"][2:]] == ["u2"]
    unknown = await visitor.get("/native?threadId=c2")
    assert unknown.json == {"messages": [], "activeRun": None, "interrupts": None, "page": {"truncated": False}}


@in_virtual_time
async def test_loading_the_chat_tells_what_its_last_run_waits_for(
    log: FaultyLog, answer_with: Callable[[Producer], Producer]
) -> None:
    asked = [{"id": "i1", "reason": "approval_required", "toolCallId": "c1"}]
    outcome = {"type": "interrupt", "interrupts": asked}
    answer_with(of({"type": "RUN_FINISHED", "runId": "x", "threadId": "x", "outcome": outcome}))
    visitor = Visitor()
    await start_run(visitor, "run-1")
    waiting = (await visitor.get("/native?threadId=c1")).json["interrupts"]
    answer_with(of("Done."))
    await start_run(visitor, "run-2")

    assert waiting == {"runId": "run-1", "pending": asked}
    assert (await visitor.get("/native?threadId=c1")).json["interrupts"] is None


@in_virtual_time
async def test_a_long_chat_is_loaded_in_pages(log: FaultyLog) -> None:
    visitor = Visitor()
    for number in range(3):
        await start_run(visitor, f"run-{number}")
    whole = (await visitor.get("/native?threadId=c1")).json["messages"]

    found: list[Any] = []
    query = "threadId=c1&limit=4"
    while True:
        page = (await visitor.get(f"/native?{query}")).json
        found = [*page["messages"], *found]
        if not page["page"]["truncated"]:
            break
        query = f"threadId=c1&limit=4&before={page['page']['cursor']}"

    assert found == whole
    assert len(whole) == 6


@in_virtual_time
async def test_a_run_that_broke_off_is_over_for_who_joins_it(log: FaultyLog) -> None:
    visitor = Visitor()
    failing = Producer("Half")
    failing.fail(RuntimeError("secret"))
    LiveChat.source = staticmethod(lambda turn: failing())
    answer = await start_run(visitor, "run-1")
    joined = await visitor.get("/native?offset=-1&runId=run-1")

    assert types(answer)[-1] == "RUN_ERROR"
    assert b"secret" not in answer.body
    assert joined.events == answer.events


@in_virtual_time
async def test_a_stop_may_name_the_thread(log: FaultyLog, answer_with: Callable[[Producer], Producer]) -> None:
    answer_with(Producer("Half"))
    visitor = Visitor()
    answer = visitor.begin("POST", "/native", run_input("run-1"))
    await answer.until(lambda it: b"Half" in it.body)

    stopped = await visitor.delete("/native", {"threadId": "c1"})

    assert stopped.status == 202
    last = chunks(await answer.done())[-1]
    assert (last["type"], last["runId"]) == ("RUN_FINISHED", "run-1")


@in_virtual_time
async def test_chunks_come_line_by_line_to_who_asks_for_it(log: FaultyLog) -> None:
    visitor = Visitor()
    wanted = {"Accept": "application/x-ndjson"}
    answer = await start_run(visitor, "run-1", **wanted)
    events = (await start_run(visitor, "run-1")).events
    lines = [json.loads(line) for line in answer.text.splitlines() if line]

    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert lines == [{"id": event.last_event_id, "chunk": json.loads(event.data)} for event in events]
    rest = await start_run(visitor, "run-1", Last_Event_ID=lines[-2]["id"], **wanted)
    assert [json.loads(line) for line in rest.text.splitlines() if line] == lines[-1:]
    joined = await visitor.get("/native?offset=-1&runId=run-1", **wanted)
    assert joined.text == answer.text


@in_virtual_time
async def test_a_client_of_another_kind_gets_a_run_with_each_request(log: FaultyLog) -> None:
    visitor = Visitor()
    first = await visitor.post("/agui", {**run_input("r1"), "protocolVersion": "1.0"}, Accept="text/event-stream")
    second = await visitor.post("/agui", {**run_input("r2", "More?", "u2"), "protocolVersion": "1.0"})
    again = await visitor.post("/agui", {**run_input("r2", "More?", "u2"), "protocolVersion": "1.0"})

    assert [types(one)[0] for one in (first, second)] == ["RUN_STARTED", "RUN_STARTED"]
    assert [chunks(one)[-1]["runId"] for one in (first, second)] == ["r1", "r2"]
    assert again.events == second.events
    assert (await visitor.get("/agui?threadId=c1")).status == 405
