"""What ``ollama`` streams, made by the real package of what a provider on this machine sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats.item_types import Finish, ToolInput
from tests.support.canned_provider import Provider, sse

from .seen import CALLING, CUT_OFF, FORMATS, USUAL, see
from .test_producers import library, read_all


def response(done_reason: str = "", **message: Any) -> dict[str, Any]:
    end = {"done": bool(done_reason)} | ({"done_reason": done_reason, "eval_count": 9} if done_reason else {})
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", **message}, **end}


def calling(city: str, **more: Any) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": city}}, **more}]}


ANSWER = [
    response(content="", thinking="hm"),
    response(content="Hel"),
    response(content="lo"),
    response(**calling("Paris")),
    response(**calling("Rome")),
    response("stop", content=""),
]
GENERATED = [
    {"model": "m", "created_at": "", "response": "", "thinking": "hm", "done": False},
    {"model": "m", "created_at": "", "response": "Hello", "done": False},
    {"model": "m", "created_at": "", "response": "", "done": True, "done_reason": "length", "context": [1, 2]},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


def stream(provider: Provider, lines: list[Any], *, is_async: bool = False, method: str = "chat") -> list[Any]:
    """Stream by the package's client, by either of its ways."""
    provider.answer_lines(lines)
    ollama = library("ollama")
    asked: dict[str, Any] = {"model": "m", "stream": True}
    asked |= {"messages": [{"role": "user", "content": "Hello?"}]} if method == "chat" else {"prompt": "Hello?"}

    async def collect() -> list[Any]:
        async with ollama.AsyncClient(host=provider.url) as client:
            return [part async for part in await getattr(client, method)(**asked)]

    if is_async:
        return asyncio.run(collect())
    with ollama.Client(host=provider.url) as client:
        return list(getattr(client, method)(**asked))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_format_shows_what_has_a_place_in_it(provider: Provider, is_async: bool):
    items = stream(provider, ANSWER, is_async=is_async)
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CALLING[name]), name
        if name == "text":
            continue
        assert seen.reasoning == "hm", name
        assert seen.calls == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})], name
        assert len(set(seen.call_ids)) == 2, name


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_completion_of_a_prompt_is_read(provider: Provider, is_async: bool):
    items = stream(provider, GENERATED, is_async=is_async, method="generate")
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CUT_OFF[name]), name
        assert seen.reasoning == ("" if name == "text" else "hm"), name


@pytest.mark.parametrize("items", [ANSWER, [sse(ANSWER)]], ids=["json", "encoded"])
def test_the_json_of_the_same_responses_is_read_alike(provider: Provider, items: list[Any]):
    objects = stream(provider, ANSWER)
    for name in FORMATS:
        from_json, from_objects = see(name, items), see(name, objects)
        from_json.call_ids = from_objects.call_ids
        assert from_json == from_objects, name


@pytest.mark.parametrize(("reason", "words"), [("stop", USUAL), ("length", CUT_OFF)])
def test_clients_are_told_why_the_model_has_stopped(provider: Provider, reason: str, words: dict[str, Any]):
    items = stream(provider, [response(content="Hello"), response(reason, content="")])
    assert {name: see(name, items).finish for name in FORMATS} == words


def test_the_id_of_a_call_is_kept_where_there_is_one():
    items = read_all([response(**calling("Paris", id="c1")), response("stop", content="")])
    assert items == [ToolInput("c1", "weather", {"city": "Paris"}), Finish("tool-calls")]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_error_in_the_stream_raises_and_reaches_on_error(provider: Provider, is_async: bool):
    with pytest.raises(library("ollama").ResponseError, match="no memory"):
        stream(provider, [response(content="Hel"), {"error": "no memory"}], is_async=is_async)


@pytest.mark.parametrize(
    "data", [{"done": True}, {"done": True, "message": "x"}, {"done": True, "model": "m", "response": None}]
)
def test_a_mapping_that_says_done_in_its_own_words_is_a_chunk(data: dict[str, Any]):
    (item,) = read_all([data])
    assert item.data == data
