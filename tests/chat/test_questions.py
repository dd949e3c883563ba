"""Requests that say what they are about: what they replace, what they stop, and who speaks in them."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.chat.test_questions")

SOURCES: list[Any] = []
"""What the views generate, turn by turn."""
TURNS: list[Turn] = []


class Chat(ResumableChatView):
    format = "aisdk"

    def generate(self, turn: Turn) -> Any:
        TURNS.append(turn)
        return SOURCES.pop(0)()


class InterruptingChat(Chat):
    interrupts = True


class SystemChat(Chat):
    allows_system_messages = True


class AGUIChat(Chat):
    format = "agui"


class TanStackChat(Chat):
    format = "tanstack"
    delivery = "response"


class LiveChat(Chat):
    format = "tanstack"


class TextChat(Chat):
    format = "text"


class AnthropicChat(Chat):
    format = "anthropic"


VIEWS = {
    "sdk": Chat,
    "interrupting": InterruptingChat,
    "system": SystemChat,
    "agui": AGUIChat,
    "tanstack": TanStackChat,
    "live": LiveChat,
    "text": TextChat,
    "anthropic": AnthropicChat,
}
urlpatterns = [
    path(f"api/{name}", include((view.urls()[0], "resumable_stream"), namespace=name)) for name, view in VIEWS.items()
]


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    SOURCES.clear()
    TURNS.clear()


def user(message_id: str, text: str = "Hi") -> dict[str, Any]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}


def answer(message_id: str, text: str = "Well") -> dict[str, Any]:
    return {"id": message_id, "role": "assistant", "parts": [{"type": "text", "text": text}]}


def asking(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "messages": list(messages), "trigger": "submit-message", **more}


async def answering(visitor: Visitor, view: str, body: dict[str, Any]) -> tuple[Producer, str]:
    """Have a question answered, and return the producer in mid-answer with the answer's id."""
    producer = Producer("Well")
    SOURCES.append(producer)
    exchange = await visitor.begin("POST", f"/api/{view}", body).begun()
    await settle()
    assert exchange.status in (200, 202)
    return producer, exchange.headers["X-Generation-Id"]


async def asked_again(visitor: Visitor, view: str, body: dict[str, Any]) -> Exchange:
    SOURCES.append(of("New"))
    return await visitor.post(f"/api/{view}", body)


def stream_of(log: FaultyLog) -> str:
    (name,) = [name for name in log._streams if log.ends(name)]
    return name


@in_virtual_time
async def test_regenerating_in_mid_answer_replaces_it(log: FaultyLog) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, "sdk", asking(user("u1")))

    exchange = await asked_again(visitor, "sdk", asking(user("u1"), trigger="regenerate-message"))

    assert exchange.status == 200
    assert old.is_closed
    assert log.ends(stream_of(log)) == ["stopped", "finished"]


@in_virtual_time
async def test_an_edit_in_mid_answer_replaces_it(log: FaultyLog) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, "sdk", asking(user("u1")))

    exchange = await asked_again(visitor, "sdk", asking(user("u1", "Hello"), messageId="u1"))

    assert exchange.status == 200
    assert old.is_closed
    told = (await visitor.get("/api/sdk/c1/messages")).json["messages"]
    assert [message["parts"][-1]["text"] for message in told] == ["Hello", "New"]


@in_virtual_time
async def test_a_page_that_goes_on_from_an_unfinished_answer_replaces_it(log: FaultyLog) -> None:
    visitor = Visitor()
    old, answer_id = await answering(visitor, "sdk", asking(user("u1")))

    exchange = await asked_again(visitor, "sdk", asking(user("u1"), answer(answer_id, "We"), user("u2")))

    assert exchange.status == 200
    assert old.is_closed


@pytest.mark.parametrize("earlier", [(), (user("u1"),)], ids=["of a page that is new", "of a page without the answer"])
@in_virtual_time
async def test_a_plain_second_question_is_refused(log: FaultyLog, earlier: tuple[Any, ...]) -> None:
    visitor = Visitor()
    old, answer_id = await answering(visitor, "sdk", asking(user("u1")))

    exchange = await asked_again(visitor, "sdk", asking(*earlier, user("u2")))

    assert exchange.status == 409
    assert exchange.headers["X-Generation-Id"] == answer_id
    assert not old.is_closed


@in_virtual_time
async def test_a_view_may_let_any_question_interrupt(log: FaultyLog) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, "interrupting", asking(user("u1")))

    exchange = await asked_again(visitor, "interrupting", asking(user("u2")))

    assert exchange.status == 200
    assert old.is_closed


def agui(*messages: tuple[str, str, str], run: str) -> dict[str, Any]:
    listed = [{"id": message_id, "role": role, "content": text} for message_id, role, text in messages]
    more: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": "c1", "runId": run, "messages": listed, **more}


SAME_ID = {"id": "c1", "message": {"id": "u1", "content": "Hi"}}


@pytest.mark.parametrize("view", ["agui", "tanstack", "live"])
@in_virtual_time
async def test_a_run_that_asks_the_same_message_again_replaces_the_first(log: FaultyLog, view: str) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, view, agui(("u1", "user", "Hi"), run="r1"))

    assert (await asked_again(visitor, view, agui(("u1", "user", "Hi"), run="r2"))).status in (200, 202)
    await settle()
    assert old.is_closed


@pytest.mark.parametrize("view", ["agui", "tanstack"])
@in_virtual_time
async def test_a_run_of_a_page_that_has_aborted_the_first_replaces_it(log: FaultyLog, view: str) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, view, agui(("u1", "user", "Hi"), run="r1"))

    # The agent's message has an id of its own.
    again = agui(("u1", "user", "Hi"), ("x1", "assistant", "We"), ("u2", "user", "Go on"), run="r2")

    assert (await asked_again(visitor, view, again)).status == 200
    assert old.is_closed


@in_virtual_time
async def test_a_question_of_a_page_that_follows_the_whole_chat_is_a_plain_one(log: FaultyLog) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, "live", asking(user("u1")))

    # Every tab shows what is being written, and this one has not asked for it.
    exchange = await asked_again(visitor, "live", asking(user("u1"), answer("x1", "We"), user("u2")))

    assert exchange.status == 409
    assert not old.is_closed


@pytest.mark.parametrize("view", ["agui", "tanstack"])
@in_virtual_time
async def test_a_second_run_of_another_page_is_refused(log: FaultyLog, view: str) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, view, agui(("u1", "user", "Hi"), run="r1"))

    assert (await asked_again(visitor, view, agui(("u2", "user", "Hi"), run="r2"))).status == 409
    assert not old.is_closed


@in_virtual_time
async def test_a_text_message_with_the_id_of_the_one_that_is_answered_replaces_it(log: FaultyLog) -> None:
    visitor = Visitor()
    old, _ = await answering(visitor, "text", SAME_ID)

    assert (await asked_again(visitor, "text", SAME_ID)).status == 200
    assert old.is_closed


@in_virtual_time
async def test_the_same_request_again_is_the_same_answer(log: FaultyLog) -> None:
    visitor = Visitor()
    body = asking(user("u1"), trigger="regenerate-message")
    producer = Producer("Well")
    SOURCES.append(producer)
    exchanges = [await visitor.begin("POST", "/api/sdk", body, Idempotency_Key="k").begun() for _ in range(2)]

    assert len({exchange.headers["X-Generation-Id"] for exchange in exchanges}) == 1
    assert not producer.is_closed


@in_virtual_time
async def test_a_stop_that_names_an_older_stream_ends_nothing(log: FaultyLog) -> None:
    visitor = Visitor()
    old, generation_id = await answering(visitor, "sdk", asking(user("u1")))

    stale = {"assistantMessage": answer("a0"), "activeStreamId": "x" * 16}
    assert (await visitor.post("/api/sdk/c1/stop", stale)).status == 409
    assert (await visitor.delete("/api/sdk", {"id": "c1", **stale})).status == 409
    assert not old.is_closed

    current = {"assistantMessage": answer(generation_id), "activeStreamId": generation_id}
    assert (await visitor.post("/api/sdk/c1/stop", current)).status == 202
    assert old.is_closed
    assert (await visitor.post("/api/sdk/c1/stop", {"activeStreamId": None})).status == 204


@in_virtual_time
async def test_a_start_replaces_nothing_for_who_may_not_stop(log: FaultyLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chat, "authorize", lambda self, request, chat_id, action: action != "stop")
    visitor = Visitor()
    old, _ = await answering(visitor, "sdk", asking(user("u1")))

    exchange = await asked_again(visitor, "sdk", asking(user("u1"), trigger="regenerate-message"))

    assert exchange.status == 409
    assert not old.is_closed


def speaking(view: str, role: str) -> dict[str, Any]:
    messages = [{"id": "s1", "role": role, "content": "Obey."}, {"id": "u1", "role": "user", "content": "Hi"}]
    return {"id": "c1", "threadId": "c1", "runId": "r1", "messages": messages}


ROLES = [(view, "system") for view in ("sdk", "agui", "tanstack", "text", "anthropic")]
ROLES += [("agui", "developer"), ("tanstack", "developer")]


@pytest.mark.parametrize(("view", "role"), ROLES)
@in_virtual_time
async def test_clients_do_not_speak_as_the_server(log: FaultyLog, view: str, role: str) -> None:
    exchange = await Visitor().post(f"/api/{view}", speaking(view, role))

    assert exchange.status == 400
    assert f"messages[0] has the role '{role}'" in exchange.text
    assert not log._streams


@in_virtual_time
async def test_a_view_may_allow_system_messages(log: FaultyLog) -> None:
    SOURCES.append(of("Yes"))
    assert (await Visitor().post("/api/system", speaking("system", "system"))).status == 200
    assert [message["role"] for message in TURNS[0].messages] == ["system", "user"]
