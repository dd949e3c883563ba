"""pydantic-ai's agents, by every way that its manual shows to stream them, through every format."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pydantic
import pytest

from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.formats.item_types import File, Finish, Reasoning, ToolError, ToolInput, ToolOutput
from resumable_stream.formats.producers.reader import ItemReader
from resumable_stream.generations.sources import items_of

from .seen import CUT_OFF, FORMATS, WITH_RESULTS, see
from .test_producers import library, read_all


def agent() -> Any:
    function, messages = library("pydantic_ai.models.function"), library("pydantic_ai.messages")

    async def stream(given: list[Any], _info: Any) -> AsyncIterator[Any]:
        if len(given) == 1:
            yield {0: function.DeltaThinkingPart(content="hm")}
            yield {1: function.DeltaToolCall(name="weather", json_args='{"city":', tool_call_id="c1")}
            yield {1: function.DeltaToolCall(json_args='"Paris"}')}
        else:
            yield "It is "
            yield "sunny."

    def answer(given: list[Any], _info: Any) -> Any:
        call = messages.ToolCallPart(tool_name="weather", args='{"city":"Paris"}', tool_call_id="c1")
        return messages.ModelResponse(parts=[call if len(given) == 1 else messages.TextPart("It is sunny.")])

    made = library("pydantic_ai").Agent(function.FunctionModel(answer, stream_function=stream))

    @made.tool_plain  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        return f"sunny in {city}"

    return made


async def run_stream_events() -> list[Any]:
    return [event async for event in items_of(agent().run_stream_events("Weather?"))]


async def nodes(*, only_tools: bool = False) -> list[Any]:
    made, events = agent(), []
    async with made.iter("Weather?") as run:
        async for node in run:
            if made.is_call_tools_node(node) or (made.is_model_request_node(node) and not only_tools):
                async with node.stream(run.ctx) as stream:
                    events += [event async for event in stream]
    return events


@pytest.mark.parametrize("events", [run_stream_events, nodes], ids=["run_stream_events", "iter"])
@pytest.mark.parametrize("name", FORMATS)
async def test_events_of_agent_become_answer(name: str, events: Any) -> None:
    seen = see(name, await events())

    assert seen.text == "It is sunny."
    assert seen.reasoning == ("" if name == "text" else "hm")
    assert seen.calls == ([] if name == "text" else [("weather", {"city": "Paris"})])
    assert seen.results == (["sunny in Paris"] if name in WITH_RESULTS else [])


async def test_events_of_tools_alone_hold_calls_and_results() -> None:
    assert [item for item in read_all(await nodes(only_tools=True)) if isinstance(item, (ToolInput, ToolOutput))] == [
        ToolInput("c1", "weather", {"city": "Paris"}),
        ToolOutput("c1", "sunny in Paris"),
    ]


async def test_events_as_json_are_read() -> None:
    messages = library("pydantic_ai.messages")
    adapter = pydantic.TypeAdapter(messages.AgentStreamEvent)
    events = [event for event in await run_stream_events() if event.event_kind != "agent_run_result"]

    assert read_all([adapter.dump_python(event, mode="json") for event in events]) == read_all(events)


async def test_pieces_of_text_are_text() -> None:
    made = library("pydantic_ai").Agent(library("pydantic_ai.models.test").TestModel(custom_output_text="It is sunny."))
    async with made.run_stream("Weather?") as result:
        pieces = [piece async for piece in result.stream_text(delta=True)]
    assert "".join(read_all(pieces)) == "It is sunny."


@pytest.mark.parametrize("name", FORMATS)
async def test_whole_responses_are_error_that_says_what_to_use(name: str) -> None:
    made = library("pydantic_ai").Agent(library("pydantic_ai.models.test").TestModel())
    async with made.run_stream("Weather?") as result:
        responses = [response async for response in result.stream_response()]
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.start()

    with pytest.raises(TypeError, match=r"pydantic_ai\.messages\.ModelResponse: .*stream_text\(delta=True\)"):
        encoder.encode(responses[0])


@pytest.mark.parametrize("name", FORMATS)
async def test_nodes_are_error_that_says_what_to_use(name: str) -> None:
    made = agent()
    async with made.iter("Weather?") as run:
        found = [node async for node in run]
    for node in found:
        encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
        encoder.start()
        with pytest.raises(TypeError, match=r"Cannot stream pydantic_.*agent\.iter\(\)"):
            encoder.encode(node)


@pytest.mark.parametrize("name", FORMATS)
def test_agent_that_is_cut_off_says_so(name: str) -> None:
    run, messages = library("pydantic_ai.run"), library("pydantic_ai.messages")
    response = messages.ModelResponse(parts=[messages.TextPart("Hello")], finish_reason="length")
    result = run.AgentRunResult("Hello")
    result._state.message_history.append(response)
    start = messages.PartStartEvent(index=0, part=messages.TextPart("Hello"))

    assert see(name, [start, run.AgentRunResultEvent(result)]).finish == CUT_OFF[name]


def test_images_and_failed_tools_are_read() -> None:
    messages = library("pydantic_ai.messages")
    image = messages.FilePart(messages.BinaryContent(data=b"png", media_type="image/png"))
    retry = messages.ToolReturnPart("weather", "No such city.", "c1", outcome="retried")
    assert read_all(
        [
            messages.PartStartEvent(index=0, part=image),
            messages.FunctionToolResultEvent(retry),
            messages.PartStartEvent(index=1, part=messages.ThinkingPart("hm")),
        ]
    ) == [File("image/png", "data:image/png;base64,cG5n"), ToolError("c1", "No such city."), Reasoning("hm")]


def test_result_that_json_cannot_hold_is_text() -> None:
    messages = library("pydantic_ai.messages")
    part = messages.ToolReturnPart(tool_name="weather", content=object, tool_call_id="c1")
    assert ItemReader().read(messages.FunctionToolResultEvent(part)) == [ToolOutput("c1", str(object))]


def test_mapping_of_an_unknown_kind_is_the_apps_own() -> None:
    (item,) = read_all([{"event_kind": "party"}])
    assert item.data == {"event_kind": "party"}
    assert Finish("stop") not in read_all([{"event_kind": "final_result"}])
