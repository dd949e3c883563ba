"""What pages with forms and EventSources are answered with, where other clients would get something else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.conf import known_settings
from resumable_stream.runtime import runtime
from resumable_stream.views import ResumableChatView

from ..support.logs import FaultyLog, unavailable
from ..support.virtual_time import in_virtual_time
from ..support.visitors import Exchange, Visitor

pytestmark = pytest.mark.urls("tests.views.test_forms")

FORM = "application/x-www-form-urlencoded"


class PageChat(ResumableChatView):
    format = "html"

    async def generate(self, turn: Turn) -> AsyncIterator[Any]:
        if turn.body.get("waits"):
            yield "Wait."
            await asyncio.Event().wait()
        yield f"You said <{turn.messages[-1]['content']}>."


class TextChat(PageChat):
    format = "text"


class SDKChat(PageChat):
    format = "aisdk"


urlpatterns = [
    path("api/chat", include(PageChat.urls())),
    path("mounted/with/slash/", include((PageChat.urls()[0], "resumable_stream"), namespace="slashed")),
    path("api/text", include((TextChat.urls()[0], "resumable_stream"), namespace="text")),
    path("api/sdk", include((SDKChat.urls()[0], "resumable_stream"), namespace="sdk")),
]


def form(**fields: str) -> bytes:
    return urlencode({"id": "c1", "message": "Hello", **fields}).encode()


async def send(visitor: Visitor, url: str = "/api/chat", **fields: str) -> Exchange:
    return await visitor.post(url, form(**fields), content_type=FORM)


def url_in(fragment: str) -> str:
    found = re.search(r' sse-connect="([^"]+)"', fragment)
    assert found is not None
    return found[1]


@in_virtual_time
async def test_a_form_starts_a_turn_and_is_answered_with_what_follows_it(log: FaultyLog) -> None:
    visitor = Visitor()

    answered = await send(visitor, message="<b>\r\n&")
    events = (await visitor.get(url_in(answered.text))).events

    assert (answered.status, answered.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "&lt;b&gt;\n&amp;" in answered.text
    assert url_in(answered.text) == f"/api/chat/c1/stream?from={answered.headers['X-Generation-Cursor']}"
    element = f"answer-{answered.headers['X-Generation-Id']}"
    assert f'id="{element}"' in answered.text
    assert f'hx-swap-oob="innerHTML:#{element}"' in events[0].data
    assert "You said &lt;&lt;b&gt;\n&amp;&gt;." in events[-2].data
    assert events[-1].type == "end"


@in_virtual_time
async def test_the_url_holds_wherever_the_routes_are_mounted(log: FaultyLog) -> None:
    visitor = Visitor()
    for url in ("/mounted/with/slash/", "/mounted/with/slash//"):
        answered = await send(visitor, url)
        assert url_in(answered.text).startswith("/mounted/with/slash/c1/stream?from=")
        assert (await visitor.get(url_in(answered.text))).status == 200


@in_virtual_time
async def test_a_form_with_files_is_read_too(log: FaultyLog) -> None:
    fields = {"id": "c1", "message": "Hello"}
    lines = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    body = ("".join(lines) + "--x--\r\n").encode()

    answered = await Visitor().post("/api/chat", body, content_type="multipart/form-data; boundary=x")

    assert answered.status == 200


@in_virtual_time
async def test_a_token_in_the_form_is_as_good_as_one_in_a_header_and_none_is_refused(log: FaultyLog) -> None:
    with_cookie = Visitor()
    token = with_cookie.headers.pop("X_CSRFToken")

    assert (await send(with_cookie, csrfmiddlewaretoken=token)).status == 200
    assert (await send(with_cookie)).status == 403


@in_virtual_time
async def test_a_form_stops_a_turn(log: FaultyLog) -> None:
    visitor = Visitor()
    await send(visitor)
    body = urlencode({"csrfmiddlewaretoken": visitor.cookies["csrftoken"]}).encode()

    assert (await visitor.post("/api/chat/c1/stop", body, content_type=FORM)).status in (202, 204)


BOUNDARY = "----formdata"


def multipart(**fields: str) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return f"{''.join(parts)}--{BOUNDARY}--\r\n".encode()


BEACONS = {
    "URLSearchParams": (lambda **fields: urlencode(fields).encode(), FORM),
    "FormData": (multipart, f"multipart/form-data; boundary={BOUNDARY}"),
}


@pytest.mark.parametrize("beacon", BEACONS.values(), ids=BEACONS)
@pytest.mark.parametrize("prefix", ["/api/chat", "/api/text", "/api/sdk"])
@in_virtual_time
async def test_a_beacon_stops_a_turn_of_every_format(log: FaultyLog, prefix: str, beacon: Any) -> None:
    encode, content_type = beacon
    visitor = Visitor()
    message = {"id": "m1", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}
    starting = visitor.begin("POST", prefix, {"id": "c1", "messages": [message], "waits": True})
    await starting.begun()
    plain = Visitor(csrf=False)
    plain.cookies.update(visitor.cookies)
    token = visitor.cookies["csrftoken"]
    other = encode(csrfmiddlewaretoken=token, generation="x" * 20)
    body = encode(csrfmiddlewaretoken=token, generation="")

    refused = await plain.post(f"{prefix}/c1/stop", encode(generation=""), content_type=content_type)
    late = await plain.post(f"{prefix}/c1/stop", other, content_type=content_type)
    stopped = await plain.post(f"{prefix}/c1/stop", body, content_type=content_type)

    assert (refused.status, late.status, stopped.status) == (403, 409, 202)
    assert (await starting.done()).is_complete


@in_virtual_time
async def test_the_answers_url_quotes_the_chats_id(log: FaultyLog) -> None:
    assert "/api/chat/auth0%7C1%2B2/stream?from=" in (await send(Visitor(), id="auth0|1+2")).text


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"id=c1", 400), (b"message=x", 400), (form(id="a/b"), 400), (b"message=" + b"x" * 3000, 413)],
    ids=["no message", "no id", "a wrong id", "too large"],
)
@in_virtual_time
async def test_a_form_that_cannot_be_read_is_refused_with_what_to_send(
    log: FaultyLog, settings: Any, content: bytes, status: int
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    # Django's own protection reads the form first, and answers for one that is too large.
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "csrf" not in name]

    refused = await Visitor().post("/api/chat", content, content_type=FORM)

    assert (refused.status, refused.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")


@in_virtual_time
async def test_other_formats_take_no_forms_and_this_one_takes_json_too(log: FaultyLog) -> None:
    visitor = Visitor()

    assert (await send(visitor, "/api/text")).status == 415
    answered = await visitor.post("/api/chat", {"id": "c2", "message": "Hello"})
    assert (answered.status, answered.headers["Content-Type"]) == (200, "text/event-stream")


@in_virtual_time
async def test_who_lost_the_cursor_gets_the_newest_answer_also_when_it_is_over(log: FaultyLog) -> None:
    visitor = Visitor()
    await send(visitor)
    whole = (await visitor.get("/api/chat/c1/stream?from=0")).events

    assert (await visitor.get("/api/chat/c1/stream")).events == whole
    again = await visitor.get("/api/chat/c1/stream", Last_Event_ID=whole[-1].last_event_id)
    assert [(event.type, event.data) for event in again.events] == [("end", "{}")]


@pytest.mark.parametrize("prefix", ["/api/chat", "/api/text"])
@in_virtual_time
async def test_an_event_source_is_told_to_come_again_where_others_get_an_error(log: FaultyLog, prefix: str) -> None:
    visitor = Visitor()
    url = f"{prefix}/c1/stream?from=0"
    await visitor.post(prefix, {"id": "c1", "message": "Hello"})
    log.always("tail", unavailable)

    told = await visitor.get(url, Accept="text/event-stream")
    refused = await visitor.get(url)

    assert (told.status, told.body, told.is_complete) == (200, b"retry: 2000\n\n", True)
    assert told.headers["Content-Type"] == "text/event-stream"
    assert refused.status == 503
    assert (await visitor.get("/api/sdk/c1/stream", Accept="text/event-stream")).status == 503
    assert (await visitor.post(prefix, {}, Accept="text/event-stream")).status == 400


@in_virtual_time
async def test_an_event_source_outlives_a_restart_and_a_limit(log: FaultyLog, settings: Any) -> None:
    visitor = Visitor()
    events = {"Accept": "text/event-stream"}
    settings.RESUMABLE_STREAM = {**settings.RESUMABLE_STREAM, "MAX_READERS_PER_OWNER": 1}
    assert "MAX_READERS_PER_OWNER" in known_settings()
    await visitor.post("/api/text", {"id": "c1", "message": "Hello"})
    reading = await visitor.begin("GET", "/api/text/replay?id=c1&live=1", **events).begun()

    limited = await visitor.get("/api/text/c1/stream?from=0", **events)
    await reading.close()
    await runtime().drain(0)
    draining = await visitor.get("/api/text/c1/stream?from=0", **events)

    assert (limited.status, limited.body) == (200, b"retry: 5000\n\n")
    assert (draining.status, draining.body) == (200, b"retry: 1000\n\n")


@in_virtual_time
async def test_every_start_says_from_where_its_answer_can_be_followed(log: FaultyLog) -> None:
    visitor = Visitor()
    for _ in range(2):
        started = await visitor.post("/api/text", {"id": "c1", "message": "Hello"})
        again = await visitor.get(f"/api/text/replay?id=c1&from={started.headers['X-Generation-Cursor']}")
        assert again.events == started.events
