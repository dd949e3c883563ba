"""The function API, from views of the app's own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from resumable_stream import ResumableChat
from resumable_stream.exceptions import GenerationActiveError, LimitExceededError
from resumable_stream.runtime import runtime

from ..support.logs import FaultyLog, unavailable, use_faulty_log
from ..support.producers import Producer, of
from ..support.virtual_time import in_virtual_time, settle
from ..support.visitors import Visitor

pytestmark = [pytest.mark.urls("tests.chat.test_api"), pytest.mark.log_settings(MAX_READERS_PER_OWNER=1)]

chat = ResumableChat(format="text")
sources: dict[str, Any] = {}


@csrf_exempt
async def ask(request: HttpRequest, name: str) -> HttpResponseBase:
    return await chat.make_resumable(name, sources[name])


async def follow(request: HttpRequest, name: str) -> HttpResponseBase:
    return await chat.replay(name)


urlpatterns = [path("ask/<name>", ask), path("follow/<name>", follow)]


def text(body: Any) -> str:
    return "".join(json.loads(event.data) for event in body.events if event.type == "message")


@in_virtual_time
async def test_an_apps_own_views_start_and_follow(log: FaultyLog) -> None:
    producer = sources["s"] = Producer("Hello")
    visitor = Visitor()
    asked = visitor.begin("POST", "/ask/s")
    await asked.until(lambda it: b"Hello" in it.body)
    followed = visitor.begin("GET", "/follow/s")
    await followed.until(lambda it: b"Hello" in it.body)
    producer.give(" world")
    producer.finish()
    await asked.done()
    await followed.done()

    assert text(asked) == text(followed) == "Hello world"
    assert (await visitor.get("/follow/s")).status == 204


@in_virtual_time
async def test_a_stop_tells_what_it_stopped(log: FaultyLog) -> None:
    nothing = await chat.stop("s")
    started = await chat.start("s", Producer("1"))
    stopped = await chat.stop("s")

    assert nothing.status_code == 204
    assert (stopped.status_code, stopped.headers["X-Generation-Id"]) == (202, started.generation_id)


@in_virtual_time
async def test_the_messages_are_read_back(log: FaultyLog) -> None:
    question = {"id": "m1", "role": "user", "content": "Hi"}
    response = await chat.make_resumable("s", of("Hello"), delivery="replay", user_messages=[question], message_id="a1")
    await settle()

    assert response.status_code == 202
    assert await chat.messages("s") == [question, {"id": "a1", "role": "assistant", "content": "Hello"}]


@in_virtual_time
async def test_a_start_that_is_refused_holds_no_readers_place(log: FaultyLog) -> None:
    await chat.start("s", Producer())
    for _ in range(3):
        with pytest.raises(GenerationActiveError):
            await chat.make_resumable("s", Producer(), owner="ada")

    assert runtime().readers.taken == {}


@in_virtual_time
async def test_a_reader_too_many_starts_nothing(log: FaultyLog) -> None:
    place = runtime().reader_place("ada")
    producer = Producer()
    with pytest.raises(LimitExceededError):
        await chat.make_resumable("s", producer, owner="ada")
    assert producer.calls == 0
    place.release()

    assert (await chat.make_resumable("s", producer, owner="ada")).status_code == 200


@in_virtual_time
async def test_a_response_that_is_never_sent_gives_its_place_back_when_closed(log: FaultyLog) -> None:
    response = await chat.make_resumable("s", Producer(), owner="ada")
    assert runtime().readers.taken == {"ada": 1}
    response.close()

    assert runtime().readers.taken == {}


@pytest.mark.parametrize("deliver", ["durable", "live"])
@in_virtual_time
async def test_what_the_first_response_shows_waits_for_the_log_or_not(settings: Any, deliver: str) -> None:
    log = use_faulty_log(settings, DELIVER=deliver)
    producer = sources["s"] = Producer()
    visitor = Visitor()
    asked = await visitor.begin("POST", "/ask/s").begun()
    log.always("append", unavailable)
    producer.give("early")
    await asyncio.sleep(1)
    assert (b"early" in asked.body) is (deliver == "live")
    log.always("append", None)
    producer.finish()
    await asked.done()
    replayed = await visitor.get("/follow/s")

    assert text(asked) == "early"
    assert asked.events[-1].type == "end"
    assert replayed.status == 204
    assert log.chunks("s") == ['"early"']


@in_virtual_time
async def test_a_live_response_has_the_ids_that_everybody_gets(settings: Any) -> None:
    log = use_faulty_log(settings, DELIVER="live", LEASE_SECONDS=3)
    producer = sources["s"] = Producer()
    visitor = Visitor()
    asked = await visitor.begin("POST", "/ask/s").begun()
    followed = await visitor.begin("GET", "/follow/s").begun()
    for number in range(30):
        producer.give(str(number))
        await asyncio.sleep(0.3 * (number % 9))  # Now and then long enough for a heartbeat.
    producer.finish()
    await asked.done()
    await followed.done()

    assert [record for record in log.records("s") if ("rs", "beat") in record.headers]
    assert asked.events == followed.events


@in_virtual_time
async def test_a_live_response_whose_generation_is_lost_goes_on_from_the_log(settings: Any) -> None:
    log = use_faulty_log(settings, DELIVER="live")
    producer = sources["s"] = Producer("1")
    visitor = Visitor()
    asked = visitor.begin("POST", "/ask/s")
    await asked.until(lambda it: b'"1"' in it.body)
    await settle()
    assert await ResumableChat(format="text").stop("s")
    await asked.done()

    assert asked.events[-1].data == '{"reason":"stopped"}'
    assert log.ends("s") == ["stopped"]
    assert producer.is_closed
