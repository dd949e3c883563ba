"""The generic resumer.

The first part holds the behaviours that the test suite of Vercel's ``resumable-stream`` states, on each of our logs.
They hold as they are there, but for two that are better here:

- a stream that is over can be read again, whole (``resume_stream``), where theirs gives nothing
  ("should return null if stream is done explicit APIs");
- readers cost the source nothing: theirs publishes each chunk to each of them, and must take care not to go on doing
  so for those who have left ("should remove stale listeners on disconnect ...").
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import AsyncRequestFactory, Client
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from hypothesis import example, given
from hypothesis import strategies as st

from resumable_stream import ResumableStreamContext, ResumableStreamMixin
from resumable_stream.backends import backends
from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import (
    BackendUnavailableError,
    IncompleteStreamError,
    InvalidRequestError,
    LimitExceededError,
)
from resumable_stream.protocol.claim import Opening, claim
from resumable_stream.protocol.layout import Begin, Token
from resumable_stream.protocol.perform import perform
from resumable_stream.records import Record
from resumable_stream.runtime import runtime
from resumable_stream.string_streams import StringStream, _without_first

from ..support.logs import FaultyLog, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = [pytest.mark.urls("tests.chat.test_string_streams"), pytest.mark.log_settings(LEASE_SECONDS=10)]

SQLITE = "resumable_stream.backends.sqlite.SQLiteBackend"


def never() -> Any:
    raise AssertionError("The source was begun twice.")


async def read(stream: StringStream | None, count: int | None = None) -> str:
    """Join the next ``count`` strings, or all that are left."""
    assert stream is not None
    found: list[str] = []
    while count is None or len(found) < count:
        try:
            found.append(await anext(stream))
        except StopAsyncIteration:
            break
    return "".join(found)


# -- what Vercel's suite states ------------------------------------------------------------------------------------


def logs_in_memory(_: Any, __: Path) -> dict[str, Any]:
    return {"BACKEND": "resumable_stream.backends.memory.MemoryBackend", "OPTIONS": {}}


def logs_in_sqlite(_: Any, directory: Path) -> dict[str, Any]:
    return {"BACKEND": SQLITE, "OPTIONS": {"path": str(directory / "streams.sqlite3")}}


def logs_on_s2(request: Any, _: Path) -> dict[str, Any]:
    options = request.getfixturevalue("s2_server").options()
    return {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": options}


MEMORY = pytest.param(logs_in_memory, id="memory")
DURABLE = [
    pytest.param(logs_in_sqlite, id="sqlite"),
    pytest.param(logs_on_s2, id="s2-lite", marks=pytest.mark.integration),
]


@pytest.fixture
def log_config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    config: dict[str, Any] = request.param(request, tmp_path)
    return config


@pytest.fixture
async def prefix(log_config: dict[str, Any], settings: Any) -> AsyncIterator[str]:
    """Configure the log under two aliases, as two processes have it, and give names that no other test uses."""
    settings.RESUMABLE_STREAM = {"HANDLE_SIGNALS": False, "BACKENDS": {"default": log_config, "elsewhere": log_config}}
    yield f"stream/{uuid4()}/"
    await backends.close_all()


@pytest.fixture
def streams(prefix: str) -> ResumableStreamContext:
    return ResumableStreamContext(prefix=prefix)


on_every_log = pytest.mark.parametrize("log_config", [MEMORY, *DURABLE], indirect=True)
between_processes = pytest.mark.parametrize("log_config", DURABLE, indirect=True)


@on_every_log
async def test_it_acts_like_a_normal_stream(streams: ResumableStreamContext) -> None:
    stream = await streams.resumable_stream("test", of("1\n", "2\n", "3\n"))

    assert await read(stream) == "1\n2\n3\n"


@on_every_log
@pytest.mark.parametrize("is_reversed", [False, True], ids=["in order", "in reverse"])
async def test_a_second_caller_reads_what_the_first_one_reads(
    streams: ResumableStreamContext, is_reversed: bool
) -> None:
    source = Producer()
    both = [await streams.resumable_stream("test", make) for make in (source, never)]
    source.give("1\n", "2\n")
    source.finish()

    assert [await read(stream) for stream in (reversed(both) if is_reversed else both)] == ["1\n2\n"] * 2


@on_every_log
async def test_callers_join_a_stream_in_progress_at_its_beginning(streams: ResumableStreamContext) -> None:
    source = Producer()
    first = await streams.resumable_stream("test", source)
    source.give("1\n")
    second = await streams.resumable_stream("test", never)
    source.give("2\n")
    third = await streams.resumable_stream("test", never)
    source.finish()

    assert [await read(stream) for stream in (first, second, third)] == ["1\n2\n"] * 3


@on_every_log
@pytest.mark.parametrize("begun", [(0, 1), (0,), (1,)], ids=["both", "the first", "the second"])
async def test_strings_come_as_they_are_made(streams: ResumableStreamContext, begun: tuple[int, ...]) -> None:
    source = Producer("1\n")
    both = [await streams.resumable_stream("test", make) for make in (source, never)]
    for index in begun:
        assert await read(both[index], 1) == "1\n"
    source.give("2\n")
    source.finish()

    assert [await read(both[index]) for index in (0, 1)] == ["2\n" if index in begun else "1\n2\n" for index in (0, 1)]


@on_every_log
async def test_streams_are_told_apart(streams: ResumableStreamContext) -> None:
    sources = {"test": Producer(), "test2": Producer()}
    opened = [await streams.resumable_stream(name, source) for name, source in sources.items()]
    opened += [await streams.resumable_stream(name, never) for name in sources]
    sources["test"].give("1\n", "2\n")
    sources["test2"].give("writer2\n")
    for source in sources.values():
        source.finish()

    assert [await read(stream) for stream in opened] == ["1\n2\n", "writer2\n"] * 2


@on_every_log
@pytest.mark.parametrize(("skip", "rest"), [(2, "2\n"), (4, ""), (0, "1\n2\n")])
async def test_characters_that_a_reader_has_are_skipped(streams: ResumableStreamContext, skip: int, rest: str) -> None:
    source = Producer("1\n", "2\n")
    first = await streams.resumable_stream("test", source, skip_characters=3)
    second = await streams.resumable_stream("test", never, skip_characters=skip)
    resumed = await streams.resume_stream("test", skip_characters=skip)
    source.finish()

    assert await read(first) == "1\n2\n"
    assert [await read(second), await read(resumed)] == [rest, rest]


@on_every_log
async def test_a_stream_that_is_over_is_not_begun_again_but_can_be_read_again(streams: ResumableStreamContext) -> None:
    assert await streams.resume_stream("test") is None
    first = await streams.resumable_stream("test", of("1\n", "2\n"))
    assert await read(first) == "1\n2\n"

    assert await streams.resumable_stream("test", never) is None
    assert await read(await streams.resume_stream("test")) == "1\n2\n"
    assert await read(await streams.resume_stream("test")) == "1\n2\n"


@on_every_log
async def test_beginning_and_resuming_are_functions_of_their_own(streams: ResumableStreamContext) -> None:
    source = Producer()
    first = await streams.resumable_stream("test", source)
    second = await streams.resume_stream("test")
    source.give("1\n", "2\n")
    source.finish()

    assert [await read(first), await read(second)] == ["1\n2\n", "1\n2\n"]


@on_every_log
async def test_a_reader_who_leaves_disturbs_neither_the_source_nor_other_readers(
    streams: ResumableStreamContext, prefix: str
) -> None:
    source = Producer("1\n")
    first = await streams.resumable_stream("test", source)
    leaving, staying = [await streams.resume_stream("test") for _ in range(2)]
    assert [await read(stream, 1) for stream in (leaving, staying)] == ["1\n", "1\n"]
    assert leaving is not None
    await leaving.aclose()
    follow = runtime().hub.find(backends["default"], f"{prefix}test")
    assert follow is not None
    assert len(follow.readers) == 1
    source.give("2\n")
    source.finish()

    assert [await read(first), await read(staying)] == ["1\n2\n", "2\n"]


@on_every_log
async def test_a_stream_can_be_taken_in_batches_from_where_it_was_left(streams: ResumableStreamContext) -> None:
    await read(await streams.resumable_stream("test", of("1\n", "2\n", "3\n")))
    stream = await streams.resume_stream("test")
    assert await read(stream, 1) == "1\n"
    assert stream is not None

    assert [string async for strings in stream.batches() for string in strings] == ["2\n", "3\n"]


# -- between processes ---------------------------------------------------------------------------------------------


@between_processes
async def test_a_stream_is_joined_read_and_stopped_from_another_process(prefix: str) -> None:
    here, elsewhere = (ResumableStreamContext(prefix=prefix, backend=alias) for alias in ("default", "elsewhere"))
    is_cancelled = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        try:
            yield "1\n"
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    first = await here.resumable_stream("test", source)
    joined = await elsewhere.resumable_stream("test", never)
    assert [await read(first, 1), await read(joined, 1)] == ["1\n", "1\n"]

    assert await elsewhere.stop_stream("test")
    assert not await elsewhere.stop_stream("test")

    for stream in (first, joined):
        with pytest.raises(IncompleteStreamError):
            await read(stream)
    await is_cancelled.wait()


@between_processes
async def test_of_starts_at_once_one_source_is_begun_and_all_read_it(prefix: str) -> None:
    contexts = [ResumableStreamContext(prefix=prefix, backend=alias) for alias in ("default", "elsewhere")] * 3
    sources = [Producer(f"{number}\n") for number in range(len(contexts))]
    opened = await asyncio.gather(
        *(context.resumable_stream("test", source) for context, source in zip(contexts, sources, strict=True))
    )
    (begun,) = (source for source in sources if source.calls)
    begun.finish()

    assert [await read(stream) for stream in opened] == [f"{sources.index(begun)}\n"] * len(opened)


# -- ends ----------------------------------------------------------------------------------------------------------


async def failure_of(stream: StringStream | None) -> tuple[str, str, str]:
    """Read to the end, which must be an early one; tell what was read, the reason, and its text."""
    assert stream is not None
    found = ""
    try:
        async for string in stream:
            found += string
    except IncompleteStreamError as error:
        return found, error.reason.value, error.text
    raise AssertionError(f"It was taken for a whole one: {found!r}")


@pytest.mark.parametrize("deliver", ["durable", "live"])
@in_virtual_time
async def test_a_source_that_fails_fails_whoever_reads_it_now_or_later(
    settings: Any, caplog: pytest.LogCaptureFixture, deliver: str
) -> None:
    use_faulty_log(settings, DELIVER=deliver)
    told: list[tuple[str, Exception]] = []

    async def on_error(stream_id: str, error: Exception) -> str:
        told.append((stream_id, error))
        return "The storyteller fell asleep."

    streams = ResumableStreamContext(on_error=on_error)
    source, error = Producer("Once "), ValueError("asleep")
    opened = [await streams.resumable_stream("s", make) for make in (source, never)]
    source.give("upon ")
    source.fail(error)
    opened.append(await streams.resume_stream("s"))
    await settle()
    opened.append(await streams.resume_stream("s"))

    assert [await failure_of(stream) for stream in opened] == [
        ("Once upon ", "failed", "The storyteller fell asleep.")
    ] * 4
    assert told == [("s", error)]
    assert await streams.resumable_stream("s", never) is None
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR"]


@in_virtual_time
async def test_a_stopped_stream_is_not_taken_for_a_whole_one(log: FaultyLog) -> None:
    streams, source = ResumableStreamContext(), Producer("Once ")
    stream = await streams.resumable_stream("s", source)
    await settle()

    assert await streams.stop_stream("s")
    assert source.is_closed
    assert await failure_of(stream) == ("Once ", "stopped", "")
    assert await failure_of(await streams.resume_stream("s")) == ("Once ", "stopped", "")


@in_virtual_time
async def test_a_stop_leaves_alone_what_is_idle(log: FaultyLog) -> None:
    streams = ResumableStreamContext()
    assert not await streams.stop_stream("s")
    assert log.records("stream/s") == []

    assert await read(await streams.resumable_stream("s", of("whole"))) == "whole"
    assert not await streams.stop_stream("s")
    assert await read(await streams.resume_stream("s")) == "whole"


async def abandon(log: FaultyLog) -> None:
    """Leave a stream on the log whose writer died after its first string."""
    begin = Begin(generation_id="d" * 20, format="strings")
    opening = Opening(token=Token.owner("d" * 20, 10), records=[begin.record(), Record("half\n")])
    assert await perform(claim(opening), log, "stream/s") is not None


@in_virtual_time
async def test_readers_of_a_source_whose_process_died_learn_of_it(log: FaultyLog) -> None:
    await abandon(log)
    joined = await ResumableStreamContext().resumable_stream("s", never)

    assert (await failure_of(joined))[:2] == ("half\n", "interrupted")
    assert log.ends("stream/s") == ["interrupted"]
    assert log.chunks("stream/s") == ["half\n"]


@pytest.mark.parametrize("way", ["resumable_stream", "resume_stream"])
@in_virtual_time
async def test_who_joins_a_text_whose_source_died_long_ago_hears_so_within_seconds(log: FaultyLog, way: str) -> None:
    await abandon(log)
    await asyncio.sleep(100)
    streams = ResumableStreamContext()
    joined = await (streams.resumable_stream("s", never) if way == "resumable_stream" else streams.resume_stream("s"))
    before = asyncio.get_running_loop().time()

    assert (await failure_of(joined))[:2] == ("half\n", "interrupted")
    assert asyncio.get_running_loop().time() - before < 3


@in_virtual_time
async def test_whoever_ends_it_adds_nothing_to_the_text(log: FaultyLog) -> None:
    await abandon(log)

    await ChatEngine(format="aisdk").end("stream/s")

    assert (log.chunks("stream/s"), log.ends("stream/s")) == (["half\n"], ["stopped"])


@in_virtual_time
async def test_the_source_runs_to_its_end_when_its_caller_has_gone(log: FaultyLog) -> None:
    ended: list[End] = []

    async def on_end(end: End) -> None:
        ended.append(end)

    streams, source = ResumableStreamContext(on_end=on_end), Producer("Once ")
    stream = await streams.resumable_stream("s", source)
    assert stream is not None
    async with aclosing(stream):
        assert await anext(stream) == "Once "
    source.give("upon a time.")
    source.finish()
    await settle()

    assert await read(await streams.resume_stream("s")) == "Once upon a time."
    (end,) = ended
    assert end.message is not None
    assert end.begin is not None
    assert (end.message["content"], end.begin.chat_id, end.context) == ("Once upon a time.", "s", "s")


@in_virtual_time
async def test_a_stream_whose_beginning_is_gone_cannot_be_resumed(log: FaultyLog) -> None:
    streams = ResumableStreamContext()
    await streams.resumable_stream("s", of("Once ", "upon "))
    await settle()
    await log.append("stream/s", [Record.trim(3)])

    assert await streams.resume_stream("s") is None
    assert await streams.resumable_stream("s", never) is None


@in_virtual_time
async def test_nothing_is_begun_where_the_log_cannot_be_reached(settings: Any) -> None:
    log = use_faulty_log(settings)
    log.always("append", unavailable)
    with pytest.raises(BackendUnavailableError):
        await ResumableStreamContext().resumable_stream("s", never)


@in_virtual_time
async def test_limits_count_for_the_owner_who_is_named(settings: Any) -> None:
    use_faulty_log(settings, MAX_GENERATIONS_PER_OWNER=1)
    streams = ResumableStreamContext()
    await streams.resumable_stream("a", Producer(), owner="ada")
    with pytest.raises(LimitExceededError):
        await streams.resumable_stream("b", never, owner="ada")
    assert await read(await streams.resumable_stream("b", of("1"), owner="bob")) == "1"


# -- strings -------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_strings_are_stored_as_they_are_under_the_stream_s_name(log: FaultyLog) -> None:
    strings = ['data: {"a": 1}\n\n', "\r\n", "é\u2028", "\0"]
    assert await read(await ResumableStreamContext(prefix="").resumable_stream("s", of(*strings))) == "".join(strings)
    assert log.chunks("s") == strings


@pytest.mark.parametrize("item", [b"bytes", {"type": "text"}, 5], ids=["bytes", "dict", "int"])
@in_virtual_time
async def test_what_is_no_string_fails_the_stream_and_the_log_says_why(
    log: FaultyLog, caplog: pytest.LogCaptureFixture, item: object
) -> None:
    stream = await ResumableStreamContext().resumable_stream("s", of("1", None, item))

    assert (await failure_of(stream))[:2] == ("1", "failed")
    assert f"takes strings, not builtins.{type(item).__name__}" in caplog.text


@given(st.lists(st.text(min_size=1)), st.integers(0, 50))
@example(["a😀", "b"], 2)
def test_characters_are_skipped_as_javascript_counts_them(strings: list[str], count: int) -> None:
    units = "".join(strings).encode("utf-16-le")
    rest, left = _without_first(strings, count)

    kept = units[count * 2 :]
    whole_of_half = len(kept) >= 2 and 0xDC <= kept[1] <= 0xDF
    expected = units[count * 2 - 2 :] if whole_of_half else kept
    assert "".join(rest).encode("utf-16-le") == expected
    assert left == max(0, count - len(units) // 2)


@pytest.mark.parametrize("stream_id", ["x" * 600, "\ud83d", "\0"], ids=["too long", "no text", "a zero"])
async def test_an_id_that_no_stream_can_have_is_the_clients_mistake(stream_id: str) -> None:
    streams = ResumableStreamContext()
    for call in (lambda: streams.resumable_stream(stream_id, never), lambda: streams.resume_stream(stream_id)):
        with pytest.raises(InvalidRequestError, match="no stream's id"):
            await call()


async def test_a_negative_number_of_characters_cannot_be_skipped() -> None:
    with pytest.raises(InvalidRequestError, match="must not be negative"):
        await ResumableStreamContext().resume_stream("s", skip_characters=-1)


# -- responses -----------------------------------------------------------------------------------------------------

told = ResumableStreamContext()
sources: dict[str, Any] = {}


@method_decorator(csrf_exempt, name="dispatch")
class Story(ResumableStreamMixin, View):
    async def post(self, request: HttpRequest, stream_id: str) -> HttpResponseBase:
        return self.stream_response(await told.resumable_stream(stream_id, sources[stream_id]), owner="ada")

    async def get(self, request: HttpRequest, stream_id: str) -> HttpResponseBase:
        skip = int(request.GET.get("skip", "0"))
        return self.stream_response(await told.resume_stream(stream_id, skip_characters=skip), owner="ada")


class Events(Story):
    content_type = "text/event-stream"


urlpatterns = [path("story/<stream_id>", Story.as_view()), path("events/<stream_id>", Events.as_view())]


@pytest.fixture(autouse=True)
def no_sources() -> Iterator[None]:
    yield
    sources.clear()


@in_virtual_time
async def test_a_post_streams_the_text_and_a_get_resumes_it(log: FaultyLog) -> None:
    source = sources["s"] = Producer("Once ")
    visitor = Visitor()
    posted = visitor.begin("POST", "/story/s")
    await posted.until(lambda it: it.text == "Once ")
    resumed = visitor.begin("GET", "/story/s?skip=2")
    await resumed.until(lambda it: it.text == "ce ")
    source.give("upön")
    source.finish()

    assert (await posted.done()).text == "Once upön"
    assert (await resumed.done()).text == "ce upön"
    assert posted.is_complete
    assert posted.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert posted.headers["X-Accel-Buffering"] == "no"
    assert posted.headers["Cache-Control"] == "private, no-store, no-transform"


@in_virtual_time
async def test_where_there_is_no_stream_the_answer_is_422(log: FaultyLog) -> None:
    sources["s"] = of("Once")
    visitor = Visitor()
    unknown = await visitor.get("/story/s")
    await visitor.post("/story/s")
    again = await visitor.post("/story/s")

    assert (unknown.status, unknown.text) == (again.status, again.text) == (422, "Stream is already done")
    assert (await visitor.get("/story/s")).text == "Once"


@in_virtual_time
async def test_a_client_who_goes_away_does_not_stop_the_source(log: FaultyLog) -> None:
    source = sources["s"] = Producer("Once ")
    visitor = Visitor()
    posted = visitor.begin("POST", "/story/s")
    await posted.begun()
    await posted.close()
    source.give("upon")
    source.finish()

    assert (await visitor.get("/story/s")).text == "Once upon"


@in_virtual_time
async def test_a_stop_ends_a_response_and_a_failure_tears_it(log: FaultyLog) -> None:
    visitor = Visitor()
    for name in ("stopped", "failing"):
        sources[name] = Producer("Once ")
    stopped, failing = [await visitor.begin("POST", f"/story/{name}").begun() for name in ("stopped", "failing")]
    await told.stop_stream("stopped")
    sources["failing"].fail(ValueError())
    for exchange in (stopped, failing):
        assert exchange.task is not None
        await asyncio.wait({exchange.task})

    assert (stopped.text, stopped.is_complete) == ("Once ", True)
    assert (failing.text, failing.is_complete) == ("Once ", False)


@in_virtual_time
async def test_a_response_is_torn_where_the_log_stays_away(log: FaultyLog) -> None:
    sources["s"] = Producer("Once ")
    posted = await Visitor().begin("POST", "/story/s").begun()
    follow = runtime().hub.find(log, "stream/s")
    assert follow is not None
    follow.fail(BackendUnavailableError("gone"))
    assert posted.task is not None
    await asyncio.wait({posted.task})

    assert not posted.is_complete


@in_virtual_time
async def test_idle_events_get_comments_but_only_between_them(log: FaultyLog) -> None:
    whole, half = sources["whole"], sources["half"] = Producer("data: 1\n\n"), Producer("data: 1\n\nda")
    visitor = Visitor()
    exchanges = {name: await visitor.begin("POST", f"/events/{name}").begun() for name in ("whole", "half")}
    text = visitor.begin("GET", "/story/whole")
    await asyncio.sleep(40)
    for source in (whole, half):
        source.give("ta: 2\n\n")
        source.finish()

    told_whole = (await exchanges["whole"].done()).text
    assert told_whole.count(": keep-alive\n\n") == 2
    assert told_whole.replace(": keep-alive\n\n", "") == ": stream\n\ndata: 1\n\nta: 2\n\n"
    assert (await exchanges["half"].done()).text == ": stream\n\ndata: 1\n\ndata: 2\n\n"
    assert (await text.done()).text == "data: 1\n\nta: 2\n\n"


@in_virtual_time
async def test_errors_are_answered_as_elsewhere(settings: Any) -> None:
    log = use_faulty_log(settings, MAX_READERS_PER_OWNER=1)
    sources["s"] = Producer("Once ")
    visitor = Visitor()
    mistaken = await visitor.get("/story/s?skip=-1")
    await visitor.begin("POST", "/story/s").begun()
    crowded = await visitor.get("/story/s")
    log.always("tail", unavailable)
    down = await visitor.get("/story/x")

    assert (mistaken.status, crowded.status, down.status) == (400, 429, 503)
    assert "must not be negative" in mistaken.text


def test_wsgi_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="needs an ASGI server"):
        Client().get("/story/s")


# -- the manual ----------------------------------------------------------------------------------------------------

README = (Path(__file__).parents[2] / "README.md").read_text()
MANUAL = (Path(__file__).parents[2] / "docs" / "generic-streams.md").read_text()
manual: dict[str, Any] = {}
for block in re.findall(r"^```python\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL):
    exec(block, manual)
urlpatterns += manual["urlpatterns"]


@in_virtual_time
async def test_the_views_of_the_manual_begin_resume_and_stop(log: FaultyLog, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Producer("Once ")
    monkeypatch.setitem(manual, "tell", lambda topic: source() if topic == "cats" else never())
    visitor = Visitor()
    posted = await visitor.begin("POST", "/stories/s", {"topic": "cats"}).begun()
    resumed = await visitor.begin("GET", "/stories/s").begun()

    assert (await visitor.delete("/stories/s")).status == 202
    assert (await visitor.delete("/stories/s")).status == 204
    assert [(await exchange.done()).text for exchange in (posted, resumed)] == ["Once ", "Once "]
    assert (await visitor.post("/stories/s", {"topic": "dogs"})).status == 422
    assert (await visitor.get("/stories/t")).status == 422


@in_virtual_time
async def test_the_readme_reads_a_report_that_is_being_written_or_was(log: FaultyLog) -> None:
    (block,) = re.findall(r"^```python\n([^`]*ResumableStreamContext\(\).*?)^```", README, re.MULTILINE | re.DOTALL)
    source = Producer("Once ")
    names: dict[str, Any] = {"write_report": lambda _: source()}
    exec(block, names)
    request = AsyncRequestFactory().post("/")
    request.user = User(pk=7)
    first = await names["report"](request, "r")
    second = await names["report"](request, "r")
    source.finish()

    assert [await read(stream) for stream in (first, second, await names["report"](request, "r"))] == ["Once "] * 3
    assert source.calls == 1


@in_virtual_time
async def test_a_text_over_http_1_0_is_refused(log: FaultyLog) -> None:
    sources["s"] = of("Once ")
    refused = await Visitor(http_version="1.0").post("/story/s")

    assert refused.status == 505
