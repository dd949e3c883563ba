"""App code is guarded like a request: plain functions run in threads, and nothing that they raise ends the process."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import override_settings
from django.urls import include, path
from django.utils import timezone, translation
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy

from resumable_stream import ResumableChat, ResumableChatView, ResumableStreamContext
from resumable_stream.chat.turn import Turn
from resumable_stream.runtime import runtime
from resumable_stream.utils.app_code import ProcessExitError, call, guarded

from ..support.logs import FaultyLog, use_faulty_log
from ..support.producers import of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.utils.test_app_code")
request_id: ContextVar[str] = ContextVar("request_id", default="")

QUESTION = {"id": "c1", "message": "Hi"}


class PlainChat(ResumableChatView):
    """Every hook is a plain function."""

    format = "text"
    name = "plain"
    called: dict[str, bool] = {}  # noqa: RUF012
    source: Any = None

    def note(self, hook: str) -> None:
        self.called[hook] = threading.current_thread() is not threading.main_thread()

    def get_owner(self, request: HttpRequest) -> str:
        self.note("get_owner")
        return "ann"

    def get_stream_name(self, request: HttpRequest, chat_id: str) -> str:
        self.note("get_stream_name")
        return f"plain/{chat_id}"

    def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:
        self.note("authorize")
        return True

    def generate(self, turn: Turn) -> Any:
        self.note("generate")
        return self.source()

    def on_error(self, turn: Turn, error: Exception) -> str:
        self.note("on_error")
        return "Sorry"

    def on_end(self, turn: Turn, end: Any) -> None:
        self.note("on_end")


class AsyncChat(ResumableChatView):
    format = "text"
    seen: list[Any] = []  # noqa: RUF012
    source: Any = None

    def get_owner(self, request: HttpRequest) -> str:
        return "ann"

    async def generate(self, turn: Turn) -> Any:
        self.look("generate")
        for item in (gettext_lazy("Monday"), lazystr("!")):
            yield item
        raise ValueError

    async def on_error(self, turn: Turn, error: Exception) -> str:  # type: ignore[override]
        self.look("on_error")
        return gettext_lazy("Tuesday")  # type: ignore[return-value]

    def on_end(self, turn: Turn, end: Any) -> None:
        self.look("on_end")

    def look(self, hook: str) -> None:
        self.seen.append((hook, translation.get_language(), timezone.get_current_timezone_name(), request_id.get()))


class ExitingChat(ResumableChatView):
    format = "text"
    name = "exiting"
    exits_in: set[str] = set()  # noqa: RUF012
    error: BaseException = SystemExit(3)

    def get_owner(self, request: HttpRequest) -> str:
        return "ann"

    async def run_tool(self, name: str) -> None:
        await asyncio.sleep(0)
        self.leave(name)

    def leave(self, hook: str) -> None:
        if hook in self.exits_in:
            raise self.error

    async def authorize(self, request: HttpRequest, chat_id: str, action: str) -> bool:  # type: ignore[override]
        self.leave("authorize")
        return True

    async def generate(self, turn: Turn) -> AsyncIterator[str]:
        yield "one"
        self.leave("generate")
        if "plain" in self.exits_in:
            await asyncio.to_thread(self.leave, "plain")
        if "task group" in self.exits_in:
            async with asyncio.TaskGroup() as tools:
                tools.create_task(self.run_tool("task group"))
        await asyncio.gather(self.run_tool("gathered"), return_exceptions=False)
        raise ValueError

    async def on_error(self, turn: Turn, error: Exception) -> str:  # type: ignore[override]
        self.leave("on_error")
        return type(error).__name__

    async def on_end(self, turn: Turn, end: Any) -> None:
        self.leave("on_end")


urlpatterns = [
    path("plain", include(PlainChat.urls())),
    path("async", include(AsyncChat.urls())),
    path("exiting", include(ExitingChat.urls())),
]


@pytest.fixture(autouse=True)
def log(settings: Any) -> FaultyLog:
    return use_faulty_log(settings)


@in_virtual_time
async def test_plain_hooks_run_in_threads() -> None:
    PlainChat.called.clear()

    def source() -> Iterator[str]:
        yield "one"
        raise ValueError

    PlainChat.source = staticmethod(source)
    exchange = await Visitor().post("/plain", QUESTION)
    await settle()

    assert PlainChat.called == dict.fromkeys(
        ["authorize", "get_stream_name", "get_owner", "generate", "on_error", "on_end"], True
    )
    assert [event.data for event in exchange.events if event.type == "message"] == ['"one"']
    assert '"Sorry"' in exchange.text


@in_virtual_time
async def test_a_plain_generate_that_blocks_silences_nobody() -> None:
    begun, gate = threading.Event(), threading.Event()

    def source() -> Any:
        begun.set()
        assert gate.wait(20)
        return iter(["late"])

    PlainChat.source = staticmethod(source)
    slow = Visitor().begin("POST", "/plain", QUESTION)
    await asyncio.to_thread(begun.wait, 20)
    # This loop goes on meanwhile, and so does every other answer.
    quick = await ResumableChat(format="text").start("quick", of("soon"))
    await asyncio.wait({task for task in runtime().registry._tasks if quick.generation_id in task.get_name()})
    assert not slow.task.done()  # type: ignore[union-attr]
    gate.set()

    assert b"late" in (await slow.done()).body


@in_virtual_time
async def test_plain_functions_serve_the_function_api_too(log: FaultyLog) -> None:
    ended: list[bool] = []

    def fail() -> Any:
        raise ValueError

    def in_thread(*_: Any) -> str:
        ended.append(threading.current_thread() is not threading.main_thread())
        return "Sorry"

    await ResumableChat(format="text", on_error=in_thread, on_end=in_thread).start("s", fail)  # type: ignore[arg-type]
    streams = ResumableStreamContext(on_error=in_thread, on_end=in_thread)  # type: ignore[arg-type]
    await streams.resumable_stream("t", fail)
    await settle()

    assert ended == [True] * 4
    assert log.ends("s") == log.ends("stream/t") == ["failed"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("bare")])
@pytest.mark.parametrize("hook", ["generate", "plain", "gathered", "task group", "on_error", "on_end", "authorize"])
def test_what_would_end_the_process_ends_one_answer(
    monkeypatch: pytest.MonkeyPatch, log: FaultyLog, hook: str, error: BaseException
) -> None:
    monkeypatch.setattr(ExitingChat, "exits_in", {hook})
    monkeypatch.setattr(ExitingChat, "error", error)

    @in_virtual_time
    async def main() -> None:
        exchange = await Visitor().post("/exiting", QUESTION)
        await settle()
        if hook == "authorize":
            assert exchange.status == 500
            return
        assert log.ends("chat/exiting/ann/c1") == ["failed"]
        exits = dict.fromkeys(("generate", "plain", "gathered"), "ProcessExitError")
        wanted = {**exits, "task group": "ExceptionGroup", "on_error": "An error occurred."}
        assert wanted.get(hook, "ValueError") in exchange.text

    main()


class Language:
    """Sets what Django's LocaleMiddleware and a project's middleware for time zones set."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        translation.activate("de")
        timezone.activate(datetime.timezone(datetime.timedelta(hours=2), "Tomorrowland"))
        request_id.set("r1")
        return self.get_response(request)


@override_settings(MIDDLEWARE=["tests.utils.test_app_code.Language"], USE_I18N=True)
@in_virtual_time
async def test_language_time_zone_and_log_context_of_the_request_hold_to_the_end() -> None:
    AsyncChat.seen.clear()
    exchange = await Visitor().post("/async", QUESTION)
    await settle()

    assert AsyncChat.seen == [(hook, "de", "Tomorrowland", "r1") for hook in ("generate", "on_error", "on_end")]
    assert [event.data for event in exchange.events if event.type == "message"] == ['"Montag"', '"!"']
    assert "Dienstag" in exchange.text
    assert translation.get_language() != "de"


async def test_a_call_takes_functions_of_every_kind() -> None:
    async def coroutine(value: int) -> int:
        return value + 1

    class Callable:
        async def __call__(self, value: int) -> int:
            return value + 2

    assert await call(coroutine, 1) == 2
    assert await call(lambda value: coroutine(value + 1), 1) == 3
    assert await call(Callable(), 1) == 3
    with pytest.raises(ProcessExitError, match="SystemExit"), guarded():
        raise SystemExit
    with pytest.raises(GeneratorExit), guarded():
        raise GeneratorExit


async def test_a_plain_function_that_needs_the_event_loop_is_told_what_to_be() -> None:
    with pytest.raises(RuntimeError, match="no running event loop") as caught:
        await call(asyncio.get_running_loop)
    assert "async def" in caught.value.__notes__[0]


@in_virtual_time
async def test_tasks_of_app_code_are_tasks_like_any_other() -> None:
    seen: list[Any] = []

    async def tool(value: int) -> int:
        await asyncio.sleep(1)
        return value

    async def source() -> AsyncIterator[str]:
        task = asyncio.create_task(tool(3), name="tool")
        seen.append((task.get_name(), "tool" in repr(task), await task))
        cancelled = asyncio.create_task(tool(4))
        cancelled.cancel()
        seen.append((await asyncio.gather(cancelled, return_exceptions=True))[0].__class__)
        yield "done"

    await ResumableChat(format="text").start("s", source)
    await settle()
    await settle()
    await settle()

    assert seen == [("tool", True, 3), asyncio.CancelledError]
    outside = asyncio.create_task(tool(5))
    assert type(outside.get_coro()).__name__ == "coroutine"
    assert await outside == 5


@pytest.mark.parametrize("words", [None, 7, b"Sorry"])
def test_words_for_people_that_are_no_text_are_not_shown(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, words: Any
) -> None:
    async def fail() -> AsyncIterator[str]:
        raise ValueError
        yield ""

    @in_virtual_time
    async def main() -> None:
        await ResumableChat(format="text", on_error=lambda *_: words).start("s", fail)
        await settle()

    main()
    assert log.ends("s") == ["failed"]
    assert "on_error() must return the words for people as str" in caplog.text
