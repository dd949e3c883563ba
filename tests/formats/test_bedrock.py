"""What Bedrock streams, made by the real ``boto3`` of what a provider on this machine sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats.item_types import Finish, FormatChunk, ToolError, ToolInput, ToolInputStart, ToolOutput
from resumable_stream.formats.producers import ProducerError
from resumable_stream.generations.sources import items_of
from tests.support.aws_events import CONTENT_TYPE, encode_events
from tests.support.canned_provider import Provider

from .seen import CALLING, CUT_OFF, FILTERED, FORMATS, USUAL, WITH_FILES, see
from .test_producers import ANTHROPIC, call, library, read_all


def begin(index: int, **start: Any) -> dict[str, Any]:
    return {"contentBlockStart": {"contentBlockIndex": index, "start": start}}


def delta(index: int, **piece: Any) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": piece}}


def stop(index: int) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": index}}


def end(reason: str) -> dict[str, Any]:
    return {"messageStop": {"stopReason": reason}}


def tool_use(call_id: str) -> dict[str, Any]:
    return {"toolUseId": call_id, "name": "weather"}


def cited(url: str) -> dict[str, Any]:
    return delta(1, citation={"title": "A", "location": {"web": {"url": url, "domain": "example.com"}}})


PNG = b"\x89PNG\xff"
PNG_PIECES = [base64.b64encode(piece).decode() for piece in (PNG[:2], PNG[2:])]
USAGE = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
ANSWER: list[dict[str, Any]] = [
    {"messageStart": {"role": "assistant"}},
    delta(0, reasoningContent={"text": "hm"}),
    delta(0, reasoningContent={"signature": "s"}),
    stop(0),
    delta(1, text="Hel"),
    delta(1, text="lo"),
    *(cited(url) for url in ("https://example.com/a", "https://example.com/a", "javascript:alert(1)")),
    stop(1),
    begin(2, image={"format": "png"}),
    *(delta(2, image={"source": {"bytes": piece}}) for piece in PNG_PIECES),
    stop(2),
    begin(3, toolUse=tool_use("c1")),
    *(delta(3, toolUse={"input": piece}) for piece in ('{"city":', '"Paris"}')),
    stop(3),
    begin(4, toolUse=tool_use("c2")),
    stop(4),
    end("tool_use"),
    {"metadata": {"usage": USAGE, "metrics": {"latencyMs": 9}}},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(provider: Provider) -> Iterator[Any]:
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    made = library("boto3").session.Session(**keys).client("bedrock-runtime", endpoint_url=provider.url)
    yield made
    made.close()


class Bedrock:
    def __init__(self, provider: Provider, client: Any) -> None:
        self._provider = provider
        self._client = client

    def respond(self, events: list[dict[str, Any]]) -> Any:
        """Give boto3's response, whose stream has these events."""
        self._provider.answer(CONTENT_TYPE, encode_events(events))
        return self._client.converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": "Hello?"}]}])

    def stream(self, events: list[dict[str, Any]]) -> list[Any]:
        stream = self.respond(events)["stream"]
        try:
            return list(stream)
        finally:
            stream.close()

    def invoke(self, outputs: list[dict[str, Any]]) -> Any:
        """Give boto3's response, whose stream has this JSON of the model's own."""
        encoded = [base64.b64encode(json.dumps(output).encode()).decode() for output in outputs]
        self._provider.answer(CONTENT_TYPE, encode_events([{"chunk": {"bytes": piece}} for piece in encoded]))
        return self._client.invoke_model_with_response_stream(modelId="m", body=b"{}")


@pytest.fixture
def bedrock(provider: Provider, client: Any) -> Bedrock:
    return Bedrock(provider, client)


async def collect(source: object) -> list[Any]:
    return [item async for item in items_of(source)]


async def test_every_format_shows_what_has_a_place_in_it(bedrock: Bedrock):
    items = await collect(bedrock.respond(ANSWER))
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CALLING[name]), name
        if name == "text":
            continue
        assert seen.reasoning == "hm", name
        assert seen.calls == [("weather", {"city": "Paris"}), ("weather", {})], name
        assert seen.call_ids == ["c1", "c2"], name
        address = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        assert seen.files == ([("image/png", address)] if name in WITH_FILES else []), name
        assert seen.sources == ([("https://example.com/a", "A")] if name in WITH_FILES else []), name


async def test_the_response_its_stream_and_its_events_are_read_alike(bedrock: Bedrock):
    events = bedrock.stream(ANSWER)

    assert await collect(bedrock.respond(ANSWER)) == events
    assert await collect(bedrock.respond(ANSWER)["stream"]) == events


async def test_the_stream_in_a_response_is_closed_when_the_answer_ends_early(bedrock: Bedrock):
    response = bedrock.respond(ANSWER)
    closed: list[bool] = []
    close = response["stream"].close
    response["stream"].close = lambda: (closed.append(True), close())
    items = items_of(response)
    await anext(items)
    await items.aclose()
    assert closed == [True]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("end_turn", USUAL),
        ("max_tokens", CUT_OFF),
        ("model_context_window_exceeded", CUT_OFF),
        ("content_filtered", FILTERED),
        ("guardrail_intervened", FILTERED),
    ],
)
def test_clients_are_told_why_the_model_has_stopped(bedrock: Bedrock, reason: str, words: dict[str, Any]):
    items = bedrock.stream([delta(0, text="Hello"), stop(0), end(reason)])
    assert {name: see(name, items).finish for name in FORMATS} == words


FAILURES = (
    "internalServerException",
    "modelStreamErrorException",
    "throttlingException",
    "serviceUnavailableException",
)


@pytest.mark.parametrize("failure", FAILURES)
def test_an_exception_in_the_stream_raises_and_reaches_on_error(bedrock: Bedrock, failure: str):
    with pytest.raises(library("botocore.exceptions").EventStreamError, match="secret insides"):
        bedrock.stream([delta(0, text="Hel"), {failure: {"message": "secret insides"}}])


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", FORMATS)
def test_an_exception_that_is_yielded_fails_the_answer(name: str, failure: str):
    with pytest.raises(ProducerError, match="secret insides"):
        see(name, [delta(0, text="Hel"), {failure: {"message": "secret insides"}}])


def test_a_call_that_breaks_off_is_completed(bedrock: Bedrock):
    pieces = [begin(0, toolUse=tool_use("c1")), delta(0, toolUse={"input": '{"city":"Paris"}'})]
    assert read_all(bedrock.stream(pieces)) == call('{"city":"Paris"}')


def test_a_tool_of_bedrocks_own_has_its_result_in_the_stream(bedrock: Bedrock):
    def result(index: int, call_id: str, *pieces: Any, **more: Any) -> list[dict[str, Any]]:
        start = begin(index, toolResult={"toolUseId": call_id, "type": "web_search_result", **more})
        return [start, *(delta(index, toolResult=[piece]) for piece in pieces), stop(index)]

    events = [
        *(begin(0, toolUse=tool_use("c1")), stop(0)),
        *result(1, "c1", {"text": "Sun"}, {"text": "ny."}),
        *result(2, "c2", {"json": {"sky": "blue"}}),
        *result(3, "c3", {"text": "no such city"}, status="error"),
        end("end_turn"),
    ]
    assert read_all(bedrock.stream(events)) == [
        ToolInputStart("c1", "weather"),
        ToolInput("c1", "weather", {}),
        ToolOutput("c1", "Sunny."),
        ToolOutput("c2", {"sky": "blue"}),
        ToolError("c3", "no such city"),
        Finish("stop"),
    ]


async def test_a_models_own_json_is_read_as_its_librarys(bedrock: Bedrock):
    items = await collect(bedrock.invoke(ANTHROPIC))
    for name in FORMATS:
        assert see(name, items) == see(name, ANTHROPIC), name
    assert see("aisdk", items).text == "Hello"


@pytest.mark.parametrize(
    "data", [{"metadata": {"usage": 1}}, {"messageStop": "now"}, {"messageStart": {}, "more": 1}, {"chunk": "x"}]
)
def test_a_mapping_of_the_same_words_in_another_shape_is_a_chunk(data: dict[str, Any]):
    (item,) = read_all([data])
    assert isinstance(item, FormatChunk)


async def test_another_dict_is_no_stream():
    with pytest.raises(TypeError, match="gave dict, which cannot be iterated"):
        await collect({"stream": [1]})
