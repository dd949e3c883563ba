"""What ``google-genai`` streams, made by the real package of what a provider on this machine sends."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats.item_types import File, Finish, ToolError, ToolInput, ToolInputStart, ToolOutput
from resumable_stream.formats.producers import ProducerError
from tests.support.canned_provider import Provider, sse

from .seen import CALLING, CUT_OFF, FILTERED, FORMATS, USUAL, WITH_FILES, WITH_RESULTS, see
from .test_producers import library, read_all

PNG = base64.b64encode(b"\x89PNG\xff").decode()


def response(*parts: dict[str, Any], reason: str | None = None, **candidate: Any) -> dict[str, Any]:
    candidate |= {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    candidate |= {"finishReason": reason} if reason else {}
    return {"candidates": [{"index": 0, **candidate}], "modelVersion": "m", "responseId": "x"}


PAGES = [{"web": {"uri": "https://example.com/a", "title": "A"}}, {"web": {"uri": "javascript:alert(1)", "title": "B"}}]
ANSWER = [
    response({"text": "hm", "thought": True}),
    response({"text": "Hel"}),
    response({"text": "lo", "thoughtSignature": PNG}),
    response({"inlineData": {"mimeType": "image/png", "data": PNG}}),
    response(
        groundingMetadata={"groundingChunks": PAGES}, citationMetadata={"citations": [{"uri": PAGES[0]["web"]["uri"]}]}
    ),
    response({"functionCall": {"name": "weather", "args": {"city": "Paris"}}}),
    response({"functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c2"}}, reason="STOP"),
    {"usageMetadata": {"totalTokenCount": 9}, "modelVersion": "m"},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


class Gemini:
    """The package's client of our provider, by either of its ways."""

    def __init__(self, provider: Provider, *, is_async: bool) -> None:
        self.provider = provider
        self._is_async = is_async
        self.config: Any = None

    def stream(self, *answers: list[dict[str, Any]]) -> list[Any]:
        self.provider.answer_events(*answers)
        return self.collect()

    def collect(self) -> list[Any]:
        genai = library("google.genai")
        client = genai.Client(api_key="x", http_options={"base_url": self.provider.url})
        asked = {"model": "gemini", "contents": "Hello?", "config": self.config}
        if not self._is_async:
            with client:
                return list(client.models.generate_content_stream(**asked))

        async def collect() -> list[Any]:
            async with client.aio as aio:
                return [chunk async for chunk in await aio.models.generate_content_stream(**asked)]

        return asyncio.run(collect())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def gemini(provider: Provider, request: pytest.FixtureRequest) -> Gemini:
    return Gemini(provider, is_async=request.param)


def test_every_format_shows_what_has_a_place_in_it(gemini: Gemini):
    items = gemini.stream(ANSWER)
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", CALLING[name]), name
        if name == "text":
            continue
        assert seen.reasoning == "hm", name
        assert seen.calls == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})], name
        assert seen.call_ids[0].startswith("call-"), name
        assert seen.call_ids[1] == "c2", name
        assert seen.files == ([("image/png", f"data:image/png;base64,{PNG}")] if name in WITH_FILES else []), name
        assert seen.sources == ([("https://example.com/a", "A")] if name in WITH_FILES else []), name


def test_a_chats_messages_are_read(provider: Provider):
    provider.answer_events(ANSWER)
    genai = library("google.genai")
    with genai.Client(api_key="x", http_options={"base_url": provider.url}) as client:
        items = list(client.chats.create(model="gemini").send_message_stream("Hello?"))
    assert see("aisdk", items).text == "Hello"


def test_messages_of_a_live_session_are_refused_by_name():
    message = library("google.genai.types").LiveServerMessage.model_validate(
        {"serverContent": {"modelTurn": {"parts": [{"text": "Hello"}]}}}
    )
    for name in FORMATS:
        with pytest.raises(TypeError, match=r"google\.genai\.types\.LiveServerMessage"):
            see(name, [message])


@pytest.mark.parametrize("items", [ANSWER, [sse(ANSWER)]], ids=["json", "encoded"])
def test_the_json_of_the_same_responses_is_read_alike(provider: Provider, items: list[Any]):
    objects = Gemini(provider, is_async=False).stream(ANSWER)
    for name in FORMATS:
        from_json, from_objects = see(name, items), see(name, objects)
        from_json.call_ids = from_objects.call_ids
        assert from_json == from_objects, name


@pytest.mark.parametrize(
    ("reason", "words"),
    [("STOP", USUAL), ("MAX_TOKENS", CUT_OFF), ("SAFETY", FILTERED), ("RECITATION", FILTERED), ("SPII", FILTERED)],
)
def test_clients_are_told_why_the_model_has_stopped(provider: Provider, reason: str, words: dict[str, Any]):
    items = Gemini(provider, is_async=False).stream([response({"text": "Hello"}), response(reason=reason)])
    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Hello", words[name]), name


def test_a_refused_prompt_is_told_as_filtered(gemini: Gemini):
    refused = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"totalTokenCount": 1}}
    items = gemini.stream([refused])
    assert {name: see(name, items).finish for name in FORMATS} == FILTERED


def test_an_end_for_a_reason_that_is_no_longer_named_is_unusual(gemini: Gemini):
    assert read_all(gemini.stream([response(reason="MALFORMED_FUNCTION_CALL")])) == [Finish("other")]


def test_an_error_in_the_stream_raises_and_reaches_on_error(gemini: Gemini):
    gemini.provider.answer(
        "text/event-stream", sse([response({"text": "Hel"}), {"error": {"code": 503, "message": "x"}}])
    )
    with pytest.raises(library("google.genai.errors").APIError):
        gemini.collect()


@pytest.mark.parametrize("name", FORMATS)
def test_an_error_in_forwarded_bytes_fails_the_answer(name: str):
    with pytest.raises(ProducerError, match="secret insides"):
        see(name, [sse([response({"text": "Hel"}), {"error": {"code": 503, "message": "secret insides"}}])])


def test_other_candidates_than_the_first_are_no_part_of_the_answer(gemini: Gemini):
    both = response({"text": "Hello"})
    both["candidates"].append({"index": 1, "content": {"parts": [{"text": "Hi"}]}})
    assert read_all(gemini.stream([both])) == ["Hello"]


def test_arguments_that_come_in_pieces_become_one_input(gemini: Gemini):
    def piece(*arguments: dict[str, Any], **call: Any) -> dict[str, Any]:
        return response({"functionCall": {"partialArgs": list(arguments), "willContinue": True, **call}})

    found = gemini.stream(
        [
            response({"functionCall": {"name": "weather", "id": "c1", "willContinue": True}}),
            piece({"jsonPath": "$.places[0].city", "stringValue": "Par", "willContinue": True}),
            piece({"jsonPath": "$.places[0].city", "stringValue": "is"}),
            piece({"jsonPath": "$.days", "numberValue": 3}, {"jsonPath": "$['in.full']", "boolValue": False}),
            piece({"jsonPath": "$.places[1]", "nullValue": "NULL_VALUE"}),
            response({"functionCall": {}}),
            response({"functionCall": {"name": "time", "id": "c2", "willContinue": True}}),
            response(reason="STOP"),
        ]
    )
    arguments = {"places": [{"city": "Paris"}, None], "days": 3, "in.full": False}
    assert read_all(found) == [
        ToolInputStart("c1", "weather"),
        ToolInput("c1", "weather", arguments),
        ToolInputStart("c2", "time"),
        ToolInput("c2", "time", {}),
        Finish("tool-calls"),
    ]


@pytest.mark.parametrize("call_id", [{}, {"id": "c1"}], ids=["without id", "with id"])
def test_pieces_that_repeat_their_call_are_one_call(gemini: Gemini, call_id: dict[str, str]):
    pieces = [{"jsonPath": "$.city", "stringValue": text, "willContinue": True} for text in ("Par", "is")]
    calls = [{"name": "weather", "partialArgs": [piece], "willContinue": True, **call_id} for piece in pieces]
    end = {"name": "weather", **call_id}
    begun, whole = read_all(gemini.stream([response({"functionCall": call}) for call in [*calls, end]]))
    assert whole == ToolInput(begun.call_id, "weather", {"city": "Paris"})


def test_functions_that_the_package_calls_itself_have_results(gemini: Gemini):
    def weather(city: str) -> str:
        """Tell the weather."""
        if city == "Rome":
            raise ValueError("no such city")
        return f"Sunny in {city}."

    gemini.config = {"tools": [weather]}
    first = response(*({"functionCall": {"name": "weather", "args": {"city": city}}} for city in ("Paris", "Rome")))
    items = gemini.stream([first, response(reason="STOP")], [response({"text": "Sunny."}, reason="STOP")])

    for name in FORMATS:
        seen = see(name, items)
        assert (seen.text, seen.finish) == ("Sunny.", USUAL[name]), name
        if name in WITH_RESULTS:
            assert "Sunny in Paris." in json.dumps(seen.results[0]), name
            assert "no such city" in json.dumps(seen.results[1]), name


def test_code_that_the_model_runs_is_a_call_with_a_result(gemini: Gemini):
    code, failing = ({"executableCode": {"language": "PYTHON", "code": text}} for text in ("1 + 1", "1 / 0"))
    done = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}
    failed = {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}}
    call, result, other, error = read_all(gemini.stream([response(code, done), response(failing, failed)]))

    assert (call.name, call.input) == ("code_execution", {"language": "PYTHON", "code": "1 + 1"})
    assert result == ToolOutput(call.call_id, "2")
    assert error == ToolError(other.call_id, "ZeroDivisionError")


def test_a_file_that_has_an_address_is_told_by_it(gemini: Gemini):
    stored = [{"fileData": {"mimeType": "image/png", "fileUri": uri}} for uri in ("https://x.test/a", "gs://x/a")]
    assert read_all(gemini.stream([response(*stored)])) == [File("image/png", "https://x.test/a")]


@pytest.mark.parametrize("data", [{"candidates": ["Anna"]}, {"candidates": [{"content": "x"}]}, {"candidates": []}])
def test_a_mapping_with_candidates_of_its_own_is_a_chunk(data: dict[str, Any]):
    (item,) = read_all([data])
    assert item.data == data
