"""Notes of runs: only starts that were granted leave one, through every door and on every log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.urls import include, path

from resumable_stream.backends import backends
from resumable_stream.chat.turn import Turn
from resumable_stream.consumers import StreamConsumer
from resumable_stream.views import ResumableChatView
from resumable_stream.websockets.subprotocols.tanstack import TanStackDialect

from .support.logs import FaultyLog, held, unavailable, use_faulty_log
from .support.producers import Producer, of
from .support.sockets import Message, Socket
from .support.virtual_time import in_virtual_time, settle
from .support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.test_run_notes")


class Chat(ResumableChatView):
    name = "runs"
    format = "tanstack"
    delivery = "response"
    source: Any = None
    owner = "ann"

    def get_owner(self, request: Any) -> str:
        return self.owner

    def generate(self, turn: Turn) -> Any:
        return type(self).source()


urlpatterns = [path("runs", include(Chat.urls()))]
SOCKETS = StreamConsumer.as_asgi(view=Chat, dialects=[TanStackDialect])


@pytest.fixture(params=["sqlite", "s2"])
def log_setting(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        options = {"path": tmp_path / "log.sqlite3"}
        return {"BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend", "OPTIONS": options}
    options = request.getfixturevalue("s2_server").options()
    return {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": options}


@pytest.fixture
async def any_log(log_setting: dict[str, Any], settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    settings.RESUMABLE_STREAM = {"BACKENDS": {"default": log_setting}, "HANDLE_SIGNALS": False}
    monkeypatch.setattr(Chat, "owner", uuid4().hex)
    yield
    await backends["default"].close()


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    Chat.source = lambda: of("Hello")()


def run_input(run_id: str) -> dict[str, Any]:
    messages = [{"id": f"u-{run_id}", "role": "user", "content": "Hi"}]
    return {"threadId": "c1", "runId": run_id, "messages": messages, "state": {}, "tools": [], "context": []}


def is_end(frame: Message) -> bool:
    return frame.get("chunk", frame).get("type") in ("RUN_FINISHED", "RUN_ERROR")


async def refused_over_http(run_id: str) -> None:
    assert (await Visitor().post("/runs", run_input(run_id))).status == 409


async def refused_over_a_websocket(run_id: str) -> None:
    async with Socket(SOCKETS) as socket:
        socket.send(run_input(run_id))
        assert (await socket.hear_until(is_end))[-1]["type"] == "RUN_ERROR"


@pytest.mark.parametrize("refused", [refused_over_http, refused_over_a_websocket])
async def test_start_that_is_refused_leaves_no_stream(any_log: None, refused: Callable[[str], Any]) -> None:
    Chat.source = running = Producer("Hello")
    first = Visitor().begin("POST", "/runs", run_input("run-1"))
    await first.until(lambda it: b"Hello" in it.body)

    for number in range(3):
        await refused(f"refused-{number}")

    names = [name for kind in ("chat", "run") for name in await streams_of(kind)]
    assert names == [f"chat/runs/{Chat.owner}/c1", f"run/runs/{Chat.owner}/run-1"]
    running.finish()
    await first.done()
    joined = await Visitor().get("/runs?offset=-1&runId=run-1")
    assert joined.events == (await first.done()).events


async def streams_of(kind: str) -> list[str]:
    found = await backends["default"].list_streams(f"{kind}/runs/{Chat.owner}/")
    return [stream.name for stream in found.streams]


async def over_http(run_id: str) -> str:
    return (await Visitor().post("/runs", run_input(run_id))).text


async def over_a_websocket(run_id: str) -> str:
    async with Socket(SOCKETS) as socket:
        socket.send(run_input(run_id))
        return str(await socket.hear_until(is_end))


class NoNotes(FaultyLog):
    """A log on which no note can be written."""

    async def append(self, stream: str, records: Any, **options: Any) -> Any:
        if stream.startswith("run/") and self.is_down:
            return await unavailable(None)  # type: ignore[arg-type]
        return await super().append(stream, records, **options)

    is_down = True


@in_virtual_time
@pytest.mark.parametrize("ask", [over_http, over_a_websocket])
async def test_answer_goes_on_where_its_note_cannot_be_written(
    settings: Any, ask: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = use_log_without_notes(settings)
    answer = await ask("run-1")

    assert "Hello" in answer
    assert "RUN_FINISHED" in answer
    assert [record.message for record in caplog.records if "by its id alone" in record.message] == [
        "a run cannot be found by its id alone run='run-1' chat='c1'"
    ]
    assert (await Visitor().get("/runs?offset=-1&runId=run-1")).status == 404
    assert (await Visitor().get("/runs?offset=-1&runId=run-1&threadId=c1")).status == 200
    # The same request again starts nothing, and writes the note.
    log.is_down = False
    await ask("run-1")
    assert "Hello" in (await Visitor().get("/runs?offset=-1&runId=run-1")).text
    assert log.ends("chat/runs/ann/c1") == ["finished"]


def use_log_without_notes(settings: Any) -> NoNotes:
    Chat.source = lambda: of("Hello")()
    use_faulty_log(settings)
    backends_setting = {"default": {"BACKEND": f"{__name__}.NoNotes"}}
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "BACKENDS": backends_setting}
    log = backends["default"]
    assert isinstance(log, NoNotes)
    return log


@in_virtual_time
async def test_note_is_written_for_a_client_that_left_while_its_start_was_granted(log: FaultyLog) -> None:
    gate, arrived = asyncio.Event(), asyncio.Event()
    log.then("append", held(gate, arrived))
    exchange = Visitor().begin("POST", "/runs", run_input("run-1"))
    await arrived.wait()
    exchange.leave()
    gate.set()
    await settle()

    assert [record.body for record in log.records("run/runs/ann/run-1")] == ["c1"]
    assert "Hello" in (await Visitor().get("/runs?offset=-1&runId=run-1")).text
