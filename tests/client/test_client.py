"""The Python client, against servers that a test makes up; both of its kinds, with and without asyncio."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resumable_stream.client import (
    AsyncFollower,
    End,
    Event,
    Follower,
    FollowError,
    Reason,
    backoff,
    end_of,
    follow,
    follow_sync,
)
from resumable_stream.formats import ChunkEncoder, EndReason, GenerationFacts, get_format
from resumable_stream.http.sse import KEEP_ALIVE, PROLOGUE, encode_event, frame_encoder
from resumable_stream.protocol.layout import Chunk

from ..support.tcp import tcp_server

URL = "http://server/api/chat/c1/stream"
END = encode_event('{"reason":"finished"}', event="end", cursor=99)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Parts of a body, and how it ends: properly, or broken off."""

    def __init__(self, *parts: bytes, is_torn: bool = False) -> None:
        self._parts = parts
        self._is_torn = is_torn
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        if self._is_torn:
            raise httpx.ReadError("reset by peer")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def stream(*parts: bytes, is_torn: bool = False, **headers: str) -> httpx.Response:
    named = {"Content-Type": "text/event-stream", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.Response(200, headers=named, stream=Body(*parts, is_torn=is_torn))


def torn(*parts: bytes) -> httpx.Response:
    return stream(*parts, is_torn=True)


def frame(cursor: int | None, data: str) -> bytes:
    return encode_event(data, cursor=cursor)


Answer = httpx.Response | Exception


class Server(httpx.MockTransport):
    """Gives the answers in their order, and remembers the requests."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__(self._answer)
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sent(self, name: str) -> list[str | None]:
        """Tell what the requests had in a header."""
        return [request.headers.get(name) for request in self.requests]


Gather = Callable[..., "Followed"]


class Followed:
    """What following brought."""

    def __init__(self, follower: AsyncFollower | Follower) -> None:
        self.follower = follower
        self.events: list[Event] = []
        self.error: FollowError | None = None

    @property
    def data(self) -> list[str]:
        return [event.data for event in self.events]

    @property
    def end(self) -> End | None:
        return self.follower.end

    @property
    def reason(self) -> str | None:
        return self.follower.end.reason.value if self.follower.end is not None else None


def no_delay(failures: int, asked: float | None) -> float:
    return 0


def gather_sync(transport: httpx.BaseTransport | None, url: str = URL, **options: Any) -> Followed:
    followed = Followed(follower := follow_sync(url, transport=transport, **{"delay": no_delay, **options}))
    try:
        for event in follower:
            followed.events.append(event)
    except FollowError as error:
        followed.error = error
    return followed


async def _gather(transport: httpx.AsyncBaseTransport | None, url: str, **options: Any) -> Followed:
    followed = Followed(follower := follow(url, transport=transport, **{"delay": no_delay, **options}))
    try:
        async for event in follower:
            followed.events.append(event)
    except FollowError as error:
        followed.error = error
    return followed


def gather_async(transport: httpx.AsyncBaseTransport | None, url: str = URL, **options: Any) -> Followed:
    return asyncio.run(_gather(transport, url, **options))


@pytest.fixture(params=[gather_async, gather_sync], ids=["async", "sync"])
def gather(request: pytest.FixtureRequest) -> Gather:
    found: Gather = request.param
    return found


# -- events --------------------------------------------------------------------------------------------------------


def test_events_have_a_name_a_cursor_and_data(gather: Gather) -> None:
    text = '"a\u2028\u2029\x85\x0c\x1e"'
    body = [PROLOGUE, frame(3, text), KEEP_ALIVE, b'event: data\nid: 4\ndata: {"a":\ndata: 1}\n\n', KEEP_ALIVE, END]
    followed = gather(Server(stream(*body)))

    assert followed.events == [
        Event(data=text, cursor=3),
        Event(data='{"a":\n1}', name="data", cursor=4),
        Event(data='{"reason":"finished"}', name="end", cursor=99),
    ]
    assert followed.events[1].json() == {"a": 1}
    assert followed.end == End(reason=Reason.FINISHED)
    assert followed.follower.cursor == 99


def test_ids_that_are_no_cursors_are_passed_over(gather: Gather) -> None:
    ids = [b"x1", b"\xc2\xb2", b"-1", b"9" * 5000]
    followed = gather(Server(stream(*(b"id: %s\ndata: 1\n\n" % one for one in ids), frame(5, "3"), END)))

    assert [event.cursor for event in followed.events] == [None, None, None, None, 5, 99]


# -- ends ----------------------------------------------------------------------------------------------------------

CLOSE: dict[EndReason, Callable[[ChunkEncoder], list[str]]] = {
    EndReason.FINISHED: lambda encoder: encoder.finish(),
    EndReason.STOPPED: lambda encoder: encoder.stop(),
    EndReason.FAILED: lambda encoder: encoder.fail("Sorry."),
    EndReason.INTERRUPTED: lambda encoder: encoder.interrupt("Sorry."),
}
# What some clients' events have no word for.
WORDS = {
    ("aisdk", EndReason.INTERRUPTED): "failed",
    ("anthropic", EndReason.INTERRUPTED): "failed",
    ("anthropic", EndReason.STOPPED): "finished",
}


@pytest.mark.parametrize("reason", EndReason, ids=lambda reason: reason.value)
@pytest.mark.parametrize("name", ["agui", "aisdk", "anthropic", "tanstack", "text"])
def test_the_end_of_each_format_is_told(gather: Gather, name: str, reason: EndReason) -> None:
    text = "Sorry." if reason in (EndReason.FAILED, EndReason.INTERRUPTED) else None
    format_ = get_format(name)
    encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m", chat_id="c", run_id="r"))
    chunks = [*encoder.start(), *encoder.encode("Hello"), *CLOSE[reason](encoder)]
    frames = [frame_encoder(format_)(Chunk(cursor, chunk)) for cursor, chunk in enumerate(chunks, 1)]
    if (event := format_.end_event(reason, text)) is not None:
        frames.append(encode_event(event[1], event=event[0], cursor=50))
    server = Server(stream(PROLOGUE, *frames))

    assert gather(server).end == End(reason=Reason(WORDS.get((name, reason), reason.value)), text=text or "")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Event(data='{"type":"RUN_FINISHED"}'), End(reason=Reason.FINISHED)),
        (Event(data='{"type":"RUN_FINISHED","outcome":{"type":"cancelled"}}'), End(reason=Reason.STOPPED)),
        (
            Event(data='{"type":"RUN_FINISHED","metadata":{"resumable_stream":{"outcome":"cancelled"}}}'),
            End(reason=Reason.STOPPED),
        ),
        (Event(data='{"type":"RUN_ERROR","message":"Sorry."}'), End(reason=Reason.FAILED, text="Sorry.")),
        (Event(data='{"type":"message_stop"}'), End(reason=Reason.FINISHED)),
        (
            Event(data='{"type":"error","error":{"type":"api_error","message":"Sorry."}}'),
            End(reason=Reason.FAILED, text="Sorry."),
        ),
        (
            Event(name="end", data='{"reason":"interrupted","error":"Sorry."}'),
            End(reason=Reason.INTERRUPTED, text="Sorry."),
        ),
        (
            Event(name="end", data='{"reason":"interrupted","cause":"taken-over"}'),
            End(reason=Reason.INTERRUPTED, cause="taken-over"),
        ),
        (Event(name="end", data='{"reason":"interrupted","cause":1}'), End(reason=Reason.INTERRUPTED)),
        (Event(name="end", data='{"reason":"bored"}'), End(reason=Reason.UNTOLD)),
        (Event(name="end", data="over"), End(reason=Reason.UNTOLD)),
        (Event(data='{"type":"text-delta"}'), None),
        (Event(data='"finish"'), None),
        (Event(data="[]"), None),
        (Event(data="{"), None),
    ],
)
def test_last_events_of_many_formats_are_known(event: Event, expected: End | None) -> None:
    assert end_of(event) == expected


def test_formats_of_ones_own_say_how_they_end(gather: Gather) -> None:
    def my_end(event: Event) -> End | None:
        return End(reason=Reason.STOPPED) if event.data == "bye" else None

    assert gather(Server(stream(frame(1, "hello"), frame(2, "bye"))), end_of=my_end).reason == "stopped"


def test_nothing_to_follow_is_an_end_too(gather: Gather) -> None:
    followed = gather(Server(httpx.Response(204)))

    assert (followed.data, followed.reason, followed.error) == ([], "nothing", None)


def test_nothing_after_a_cursor_is_an_end_too(gather: Gather) -> None:
    server = Server(httpx.Response(204))

    assert gather(server, cursor=7).reason == "nothing"
    assert server.sent("Last-Event-ID") == ["7"]


def test_a_body_that_ends_without_an_end_is_none_until_the_server_confirms_it(gather: Gather) -> None:
    server = Server(stream(frame(1, '"a"')), stream(frame(2, '"b"')), httpx.Response(204))
    followed = gather(server)

    assert (followed.data, followed.reason) == (['"a"', '"b"'], "untold")
    assert server.sent("Last-Event-ID") == [None, "1", "2"]


def test_an_answer_that_ended_unseen_is_not_taken_for_nothing(gather: Gather) -> None:
    error = gather(Server(torn(PROLOGUE), httpx.Response(204))).error

    assert error is not None
    assert "ended while the connection was broken" in str(error)


def test_one_whose_end_was_seen_is_over_though_its_body_was_torn(gather: Gather) -> None:
    finish = frame(2, '{"type":"finish"}')
    assert gather(Server(torn(finish), httpx.Response(204))).reason == "finished"
    assert gather(Server(torn(finish), REFUSED), max_attempts=1).reason == "finished"


# -- reconnecting --------------------------------------------------------------------------------------------------


class Log(httpx.MockTransport):
    """A server that has the whole answer, and sends what follows the cursor up to a cut."""

    def __init__(self, frames: dict[int, bytes], cuts: list[tuple[int, bool]]) -> None:
        super().__init__(self._answer)
        self._frames = frames
        self._cuts = iter(cuts)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        cursor = int(request.headers.get("Last-Event-ID", "0"))
        rest = b"".join(data for at, data in self._frames.items() if at > cursor)
        if cursor and not rest:
            return httpx.Response(204)
        cut, is_torn = next(self._cuts, (None, False))
        body = PROLOGUE + rest
        halves = body[:cut], b""
        if cut is not None:
            # Cut in two once more, anywhere: how bytes are portioned means nothing.
            halves = body[: cut // 2], body[cut // 2 : cut]
        return stream(*filter(None, halves), is_torn=is_torn)


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12)
CUTS = st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=15)


@pytest.mark.parametrize("gather", [gather_async, gather_sync])
@given(TEXTS, CUTS)
def test_wherever_bodies_end_each_event_comes_once_and_in_order(
    gather: Gather, texts: list[str], cuts: list[tuple[int, bool]]
) -> None:
    data = [json.dumps(text, ensure_ascii=False) for text in texts]
    frames = {2 * at: frame(2 * at, one) for at, one in enumerate(data, 1)}
    followed = gather(Log({**frames, 99: END}, cuts), max_attempts=None)

    assert followed.data == [*data, '{"reason":"finished"}']
    assert followed.reason == "finished"


def test_a_server_that_does_not_get_the_cursor_tells_nothing_twice(gather: Gather) -> None:
    server = Server(torn(frame(1, "a"), frame(2, "b")), stream(frame(1, "a"), frame(2, "b"), frame(3, "c"), END))

    assert gather(server).data == ["a", "b", "c", '{"reason":"finished"}']


def test_events_before_the_first_cursor_are_told_once(gather: Gather) -> None:
    server = Server(
        torn(frame(None, "x")),
        torn(frame(None, "x"), frame(None, "y")),
        torn(frame(None, "x")),
        torn(frame(None, "x"), frame(None, "y"), frame(1, "a")),
        stream(frame(None, "z"), END),
    )

    assert gather(server).data == ["x", "y", "a", "z", '{"reason":"finished"}']
    assert server.sent("Last-Event-ID") == [None, None, None, None, "1"]


REFUSED = httpx.ConnectError("refused")
BROKEN = [REFUSED, httpx.ReadTimeout("silent"), httpx.RemoteProtocolError("peer closed connection")]


@pytest.mark.parametrize("answer", [*BROKEN, 408, 425, 429, 500, 502, 503, 504], ids=str)
def test_what_may_pass_is_tried_again(gather: Gather, answer: Exception | int) -> None:
    server = Server(frame_then_torn(), httpx.Response(answer) if isinstance(answer, int) else answer, stream(END))
    followed = gather(server)

    assert (followed.data, followed.reason) == (["a", '{"reason":"finished"}'], "finished")
    assert server.sent("Last-Event-ID") == [None, "1", "1"]


def frame_then_torn() -> httpx.Response:
    return torn(PROLOGUE, frame(1, "a"))


FINAL = [
    ({"status_code": 404, "text": "There is no  such\nchat."}, 404, "answered 404: There is no such chat."),
    ({"status_code": 409}, 409, "answered 409"),
    ({"status_code": 202}, 202, "another request streams the answer"),
    ({"status_code": 200, "html": "<h1>Log in</h1>"}, 200, "answered text/html; charset=utf-8, not text/event-stream"),
    ({"status_code": 304}, 304, "answered 304"),
    ({"status_code": 503, "headers": {"Retry-After": "3600"}}, 503, "answered 503"),
    (httpx.LocalProtocolError("bad header"), None, "bad header"),
]


@pytest.mark.parametrize(("answer", "status", "words"), FINAL, ids=[str(status) for _, status, _ in FINAL])
def test_what_will_not_pass_is_an_error_at_once(gather: Gather, answer: Any, status: int | None, words: str) -> None:
    server = Server(frame_then_torn(), httpx.Response(**answer) if isinstance(answer, dict) else answer)
    followed = gather(server)

    assert followed.error is not None
    assert words in str(followed.error)
    assert (followed.error.status, followed.error.cursor) == (status, 1)
    assert (followed.data, followed.end, len(server.requests)) == (["a"], None, 2)


def test_a_url_that_is_none_is_an_error_at_once(gather: Gather) -> None:
    assert gather(None, "server/path").error is not None


def test_what_is_told_of_a_request_holds_no_password(gather: Gather) -> None:
    error = gather(Server(httpx.Response(404)), "http://ada:secret@server/").error

    assert "secret" not in str(error)


def test_it_gives_up_after_so_many_failures_in_a_row(gather: Gather) -> None:
    server = Server(frame_then_torn(), REFUSED, REFUSED, torn(frame(2, "b")), *[REFUSED] * 9)
    followed = gather(server, max_attempts=3)

    assert followed.data == ["a", "b"]
    assert followed.error is not None
    assert "refused" in str(followed.error)
    assert "tried 3 times" in str(followed.error)
    assert isinstance(followed.error.__cause__, httpx.ConnectError)
    assert (followed.error.cursor, len(server.requests)) == (2, 7)


def test_it_can_be_told_not_to_reconnect(gather: Gather) -> None:
    followed = gather(Server(frame_then_torn()), max_attempts=0)

    assert (followed.data, followed.end) == (["a"], None)
    assert isinstance(followed.error, FollowError)


def test_the_pause_is_chosen_by_what_failed_and_what_the_server_asked_for(gather: Gather) -> None:
    asked: list[tuple[int, float | None]] = []

    def delay(failures: int, seconds: float | None) -> float:
        asked.append((failures, seconds))
        return 0

    date = format_datetime(datetime.now(UTC) - timedelta(minutes=1), usegmt=True)
    server = Server(
        httpx.Response(503, headers={"Retry-After": "7"}),
        httpx.Response(503, headers={"Retry-After": date}),
        httpx.Response(503, headers={"Retry-After": "soon"}),
        torn(b"retry: 1500\n\n"),
        httpx.Response(429, headers={"Retry-After": "5"}),
        torn(b"retry: x\n\nretry: -1\n\n", frame(1, "a")),
        torn(b"retry: %s\n\n" % (b"9" * 400)),
        stream(END),
    )
    gather(server, delay=delay)

    assert asked == [(1, 7), (2, 0), (3, None), (4, 1.5), (5, 5), (1, 1.5), (2, 300)]


@given(st.integers(1, 10_000), st.none() | st.floats(0, 300))
def test_the_pause_grows_to_a_bound_and_is_never_shorter_than_asked(failures: int, asked: float | None) -> None:
    own = min(0.25 * 2.0 ** min(failures - 1, 30), 30)

    assert (asked or 0) + own / 2 <= backoff(failures, asked) <= (asked or 0) + own


# -- requests ------------------------------------------------------------------------------------------------------


def test_a_post_that_is_repeated_attaches_to_what_it_began(gather: Gather) -> None:
    server = Server(torn(PROLOGUE), torn(frame(3, "a")), stream(END, X_Generation_Id="g1"))
    followed = gather(server, method="POST", json={"id": "c1"})

    assert followed.reason == "finished"
    assert followed.follower.generation_id == "g1"
    assert [(request.method, request.content) for request in server.requests] == [("POST", b'{"id":"c1"}')] * 3
    assert server.sent("Last-Event-ID") == [None, None, "3"]
    keys = set(server.sent("Idempotency-Key"))
    assert len(keys) == 1
    assert None not in keys


def test_the_caller_may_choose_the_key_and_other_headers(gather: Gather) -> None:
    server = Server(stream(END))
    gather(server, method="POST", headers={"idempotency-key": "mine", "Authorization": "Bearer t"})

    assert server.sent("Idempotency-Key") == ["mine"]
    assert server.sent("Authorization") == ["Bearer t"]
    assert server.sent("Accept") == ["text/event-stream"]


def test_a_get_needs_no_key(gather: Gather) -> None:
    server = Server(stream(END))
    gather(server)

    assert server.sent("Idempotency-Key") == [None]


def test_cookies_are_kept_from_one_request_to_the_next(gather: Gather) -> None:
    server = Server(stream(frame(1, "a"), Set_Cookie="sessionid=s1; Path=/"), stream(END))
    gather(server, cookies={"csrftoken": "t"})

    assert server.sent("Cookie") == ["csrftoken=t", "csrftoken=t; sessionid=s1"]


def test_silence_is_bounded(gather: Gather) -> None:
    server = Server(httpx.Response(204), httpx.Response(204))
    gather(server, timeout=9)
    gather(server, timeout=None)

    assert [request.extensions["timeout"]["read"] for request in server.requests] == [9, None]


def test_redirects_are_followed(gather: Gather) -> None:
    server = Server(httpx.Response(307, headers={"Location": "/elsewhere"}), stream(END))

    assert gather(server, method="POST", json={}).reason == "finished"
    assert [(request.method, request.url.path) for request in server.requests][1] == ("POST", "/elsewhere")


def test_basic_authentication_is_passed_on(gather: Gather) -> None:
    server = Server(stream(END))
    gather(server, auth=("ada", "pw"))

    assert server.sent("Authorization") == ["Basic YWRhOnB3"]


def test_a_client_that_was_brought_along_stays_open_and_keeps_its_own_ways() -> None:
    server = Server(stream(END), stream(END))
    with httpx.Client(transport=server, auth=("ada", "pw")) as client:
        assert [event.name for event in follow_sync(URL, client=client)] == ["end"]
        assert not client.is_closed

    async def main() -> None:
        async with httpx.AsyncClient(transport=server, auth=("ada", "pw")) as client:
            assert [event.name async for event in follow(URL, client=client)] == ["end"]
            assert not client.is_closed

    asyncio.run(main())
    assert server.sent("Authorization") == ["Basic YWRhOnB3"] * 2


@pytest.mark.parametrize("options", [{"cookies": {}}, {"transport": Server()}])
def test_what_belongs_to_a_client_cannot_be_given_beside_one(options: Any) -> None:
    with httpx.Client() as client, pytest.raises(TypeError, match="belong to the client"):
        follow_sync(URL, client=client, **options)
    with pytest.raises(TypeError, match="belong to the client"):
        follow(URL, client=httpx.AsyncClient(), **options)


# -- leaving -------------------------------------------------------------------------------------------------------


def test_who_leaves_early_closes_the_connection() -> None:
    bodies = [Body(frame(1, "a"), frame(2, "b")) for _ in range(2)]
    headers = {"Content-Type": "text/event-stream"}
    server = Server(*(httpx.Response(200, headers=headers, stream=body) for body in bodies))
    with follow_sync(URL, transport=server) as events:
        assert next(events).data == "a"
    assert list(events) == []

    async def main() -> None:
        async with follow(URL, transport=server) as events:
            assert (await anext(events)).data == "a"
        assert [event async for event in events] == []

    asyncio.run(main())
    assert [body.is_closed for body in bodies] == [True, True]
    assert events.end is None


async def test_a_connection_that_has_fallen_silent_is_replaced(gather: Gather) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_cursor = b"last-event-id: 1" in (await reader.readuntil(b"\r\n\r\n")).lower()
        body = END if has_cursor else frame(1, "a")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body)
        if has_cursor:
            writer.close()

    async with tcp_server(serve) as server:
        followed = await asyncio.to_thread(gather, None, f"{server.url}/", timeout=0.2, max_attempts=None)

    assert (followed.data, followed.reason) == (["a", '{"reason":"finished"}'], "finished")


async def test_a_cancelled_follower_lets_go() -> None:
    class Silent(Body):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield frame(1, "a")
            is_waiting.set()
            await asyncio.Event().wait()

    is_waiting, body = asyncio.Event(), Silent()
    server = Server(httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body))
    task = asyncio.create_task(_gather(server, URL))
    await is_waiting.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert body.is_closed


def test_the_client_loads_neither_django_nor_the_servers_side() -> None:
    code = """
import sys
import resumable_stream.client
ours = [name for name in sys.modules if name.startswith("resumable_stream.") and ".client" not in name]
print(ours, [name for name in sys.modules if name.partition(".")[0] == "django"])
"""
    clean = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    assert done.stdout.strip() == "[] []"


# -- the manual ----------------------------------------------------------------------------------------------------

MANUAL = (Path(__file__).parents[2] / "docs" / "python-client.md").read_text()


async def test_the_code_of_the_manual_follows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(
        *(stream(frame(1, '{"type":"start"}'), frame(2, '{"type":"finish"}')) for _ in range(3)), httpx.Response(404)
    )
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL):
        exec(block, names)
    names["follow"] = functools.partial(follow, transport=server)
    asking = names["ask"]("c1", "Hello")

    assert await names["read"]("c1") == "finished"
    assert await asking == [{"type": "start"}, {"type": "finish"}]
    assert [event.cursor async for event in names["read_patiently"](URL)] == [1, 2]
    assert [event async for event in names["read_patiently"](URL, 2)] == []
    assert [request.url.path for request in server.requests[:2]] == ["/api/chat/c1/stream", "/api/chat"]
    told = capsys.readouterr().out
    assert "1 message {'type': 'start'}" in told
    assert "answered 404 Go on from 2." in told
