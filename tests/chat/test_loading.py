"""Chats as clients load them: a page at a time, and one reading for all who ask at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from resumable_stream import ResumableChat
from resumable_stream.chat.turn import Turn
from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats.anthropic import AnthropicFormat
from resumable_stream.formats.base import StoredGeneration
from resumable_stream.formats.text import TextFormat
from resumable_stream.readers.pages import Wanted, page_of
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog, held, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = [
    pytest.mark.urls("tests.chat.test_loading"),
    pytest.mark.log_settings(HISTORY_TURNS=2, MAX_READERS_PER_OWNER=10),
]


class CountingFormat(TextFormat):
    """Counts how often it folds a chat."""

    folds = 0

    def fold(self, generations: Sequence[StoredGeneration]) -> Any:
        self.folds += 1
        return super().fold(generations)


COUNTING = CountingFormat()


class Chat(ResumableChatView):
    name = "aisdk"
    source: Any = None

    def get_owner(self, request: HttpRequest) -> str:
        return "ann"

    def generate(self, turn: Turn) -> Any:
        return Chat.source(turn) if Chat.source is not None else of("Hello")()


class TanStack(Chat):
    name = format = "tanstack"


class AGUI(Chat):
    name = format = "agui"


class Anthropic(Chat):
    name = format = "anthropic"


class Text(Chat):
    name = format = "text"


class HTML(Chat):
    name = format = "html"


class Counted(Chat):
    name = "counted"
    format = COUNTING


VIEWS = (Chat, TanStack, AGUI, Anthropic, Text, HTML, Counted)
FUNCTIONS = ResumableChat(format="aisdk")


async def load_by_function(request: HttpRequest) -> Any:
    try:
        return await FUNCTIONS.load("chat/aisdk/ann/c1", before=request.GET.get("before"), owner="ann")
    except InvalidRequestError as error:
        return HttpResponse(str(error), status=error.status_code)


urlpatterns = [
    *(path(f"{view.name}", include((view.urls()[0], "resumable_stream"), namespace=view.name)) for view in VIEWS),
    path("function", load_by_function),
]
PAGED = [
    *(f"/{view.name}/c1/messages?" for view in VIEWS[:6]),
    "/tanstack?threadId=c1",
    "/function?",
]


@pytest.fixture(autouse=True)
def fresh_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "source", None)
    monkeypatch.setattr(COUNTING, "folds", 0)


def said(name: str, number: int) -> dict[str, Any]:
    text = f"Question {number}"
    if name in ("aisdk", "tanstack"):
        kind = "text" if name == "aisdk" else "content"
        return {"id": f"u{number}", "role": "user", "parts": [{"type": "text", kind: text}]}
    return {"id": f"u{number}", "role": "user", "content": text}


async def ask(name: str, number: int, before: Sequence[Any] = ()) -> Exchange:
    body: dict[str, Any] = {"id": "c1", "messages": [*before, said(name, number)]}
    if name in ("text", "html", "counted"):
        body = {"id": "c1", "message": f"Question {number}"}
    elif name in ("tanstack", "agui"):
        body |= {"threadId": "c1", "runId": f"run-{number}", "tools": [], "context": []}
    answer = await Visitor().post(f"/{name}", body)
    await settle()
    assert answer.status in (200, 202), answer.text
    return answer


async def make_chat(name: str, turns: int = 5) -> None:
    for number in range(turns):
        await ask(name, number)


async def whole_chat(name: str) -> Any:
    return json.loads(json.dumps(await ResumableChat(format=name).messages(f"chat/{name}/ann/c1")))


def name_of(url: str) -> str:
    name = url.strip("/").partition("?")[0].partition("/")[0]
    return "aisdk" if name == "function" else name


@pytest.mark.parametrize("url", PAGED)
@in_virtual_time
async def test_pages_are_the_newest_turns_and_lead_through_the_whole_chat(
    log: FaultyLog, settings: Any, url: str
) -> None:
    await make_chat(name_of(url))
    pages: list[Any] = []
    cursor = ""
    while True:
        got = await Visitor().get(f"{url}{cursor}")
        assert got.status == 200, got.text
        pages.append(got.json)
        if not got.json["page"]["truncated"]:
            break
        cursor = f"&before={got.json['page']['cursor']}"
    whole = await whole_chat(name_of(url))

    roles = [[message["role"] for message in page["messages"]] for page in pages]
    assert roles == [["user", "assistant"] * 2, ["user", "assistant"] * 2, ["user", "assistant"]]
    assert [message for page in reversed(pages) for message in page["messages"]] == whole
    assert pages[-1]["page"] == {"truncated": False}


@pytest.mark.parametrize("url", PAGED)
@in_virtual_time
async def test_message_that_the_chat_has_not_is_an_error_and_not_the_newest_page(log: FaultyLog, url: str) -> None:
    await make_chat(name_of(url), 1)
    got = await Visitor().get(f"{url}&before=nowhere")

    assert (got.status, "'before'" in got.text) == (400, True)
    assert not runtime().readers


@in_virtual_time
async def test_generations_are_told_of_the_messages_of_the_page(log: FaultyLog) -> None:
    await make_chat("aisdk", 4)
    producer = Producer("half")
    Chat.source = lambda turn: producer()
    running = Visitor().begin("POST", "/aisdk", {"id": "c1", "messages": [said("aisdk", 4)]})
    await settle()
    newest = (await Visitor().get("/aisdk/c1/messages")).json
    older = (await Visitor().get(f"/aisdk/c1/messages?before={newest['page']['cursor']}")).json
    running.leave()

    assert [message["id"] for message in newest["messages"]][::2] == ["u3", "u4"]
    assert [one["end"] for one in newest["generations"]] == ["finished", None]
    assert [message["id"] for message in older["messages"]][::2] == ["u1", "u2"]
    answers = [message["id"] for message in older["messages"]][1::2]
    assert [one["message"] for one in older["generations"]] == answers


@in_virtual_time
async def test_page_has_fewer_messages_than_a_request_may_bring(settings: Any, log: FaultyLog) -> None:
    use_faulty_log(settings, HISTORY_TURNS=50, MAX_MESSAGES=6)
    await make_chat("aisdk", 4)
    loaded = (await Visitor().get("/aisdk/c1/messages")).json
    answer = await ask("aisdk", 5, loaded["messages"])

    assert len(loaded["messages"]) == 3
    assert answer.status == 200


@pytest.mark.parametrize("name", ["aisdk", "tanstack"])
@in_virtual_time
async def test_next_question_of_a_page_with_the_newest_turns_keeps_the_older_ones(log: FaultyLog, name: str) -> None:
    await make_chat(name)
    loaded = (await Visitor().get(f"/{name}/c1/messages")).json["messages"]
    heard: list[Any] = []
    Chat.source = lambda turn: heard.append(turn.messages) or of("Hello")()
    await ask(name, 5, loaded)
    whole = await whole_chat(name)

    assert [message["id"] for message in heard[0]] == [message["id"] for message in loaded] + ["u5"]
    assert [message["id"] for message in whole][::2] == [f"u{number}" for number in range(6)]
    assert len(whole) == 12


@in_virtual_time
async def test_snapshot_has_the_newest_turns_and_is_made_once_for_all(log: FaultyLog) -> None:
    await make_chat("tanstack")
    loaded = (await Visitor().get("/tanstack/c1/messages")).json["messages"]
    gate = asyncio.Event()
    log.then("read", held(gate))
    log.calls.clear()
    readers = [Visitor().begin("GET", "/tanstack/c1/stream") for _ in range(4)]
    await settle()
    reads = log.calls["read"]
    gate.set()
    for reader in readers:
        await reader.until(lambda it: len(it.events) > 0)

    snapshots = [json.loads(reader.events[0].data) for reader in readers]
    assert snapshots[0]["type"] == "MESSAGES_SNAPSHOT"
    assert [message["id"] for message in snapshots[0]["messages"]] == [message["id"] for message in loaded]
    assert all(snapshot == snapshots[0] for snapshot in snapshots)
    assert reads == 1


@in_virtual_time
async def test_clients_that_load_a_chat_at_once_share_one_reading_and_one_fold(log: FaultyLog) -> None:
    await make_chat("counted")
    COUNTING.folds = 0
    log.calls.clear()
    alone = await Visitor().get("/counted/c1/messages")
    reads = log.calls["read"]
    gate = asyncio.Event()
    log.then("read", held(gate))
    got = [Visitor().begin("GET", "/counted/c1/messages") for _ in range(6)]
    await settle()
    gate.set()
    for exchange in got:
        await exchange.done()

    assert {exchange.body for exchange in got} == {alone.body}
    assert (COUNTING.folds, log.calls["read"]) == (2, 2 * reads)
    assert len(runtime().loads.shared) == 0


@in_virtual_time
async def test_client_that_leaves_takes_nothing_from_those_who_load_the_same(log: FaultyLog) -> None:
    await make_chat("counted")
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("read", held(gate, arrived))
    first = Visitor().begin("GET", "/counted/c1/messages")
    await arrived.wait()
    second = Visitor().begin("GET", "/counted/c1/messages")
    await settle()
    await first.close()
    gate.set()
    await second.done()

    assert second.status == 200
    assert len(second.json["messages"]) == 4
    assert not runtime().readers


@in_virtual_time
async def test_log_that_fails_is_told_to_all_who_load_the_chat_and_asked_again_by_the_next(log: FaultyLog) -> None:
    await make_chat("counted")
    log.always("read", unavailable)
    got = [Visitor().begin("GET", "/counted/c1/messages") for _ in range(3)]
    for exchange in got:
        await exchange.done()
    log.always("read", None)
    again = await Visitor().get("/counted/c1/messages")

    assert [exchange.status for exchange in got] == [503] * 3
    assert again.status == 200


@in_virtual_time
async def test_who_loads_a_chat_after_a_turn_sees_it_though_others_began_to_read_before(log: FaultyLog) -> None:
    await make_chat("counted", 1)
    gate, arrived, producer = asyncio.Event(), asyncio.Event(), Producer("Hello")
    Chat.source = lambda turn: producer()

    async def late(call: Any) -> Any:
        found = await call()
        arrived.set()
        await gate.wait()
        return found

    log.then("read", late)
    early = Visitor().begin("GET", "/counted/c1/messages")
    await arrived.wait()
    producer.finish()
    await ask("counted", 1)
    # The early one has begun to read before this answer, and looks again where it has read up to.
    fresh = Visitor().begin("GET", "/counted/c1/messages")
    await settle()
    gate.set()
    await fresh.done()
    await early.done()

    assert len(fresh.json["messages"]) == 4


@in_virtual_time
async def test_pages_begin_with_what_a_person_says_and_not_with_a_result() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t", "content": "Bern"}]
    messages: list[Any] = []
    for turn in range(3):
        messages += [
            {"id": f"u{turn}", "role": "user", "content": "Where?"},
            {"id": f"a{turn}", "role": "assistant", "content": [{"type": "tool_use", "id": "t"}]},
            {"id": f"r{turn}", "role": "user", "content": result},
            {"id": f"b{turn}", "role": "assistant", "content": "In Bern."},
        ]
    page = page_of(AnthropicFormat(), messages)
    assert page.messages == messages

    newest = page_of(AnthropicFormat(), messages, Wanted(limit=4))
    assert (newest.cursor, [message["id"] for message in newest.messages]) == ("u2", ["u2", "a2", "r2", "b2"])


def test_pages_end_where_a_person_began_a_turn(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"HISTORY_TURNS": 1}
    messages = [
        {"id": "u0", "role": "user", "content": "Where?"},
        {"id": "a0", "role": "assistant", "content": "Here."},
        {"id": "u1", "role": "user", "content": "Where?"},
        {"id": "r1", "role": "user", "content": [{"type": "tool_result"}]},
    ]

    assert page_of(AnthropicFormat(), messages).cursor == "u1"


def test_page_goes_back_to_a_message_that_can_be_named(settings: Any) -> None:
    settings.RESUMABLE_STREAM = {"HISTORY_TURNS": 1}
    messages = [{"id": "u0", "role": "user"}, {"id": "u1", "role": "user"}, {"role": "user"}]

    page = page_of(TextFormat(), messages)

    assert (page.cursor, len(page.messages)) == ("u1", 2)
