"""LangGraph's ``astream`` in each of its modes, and ``astream_events``, from a real graph through every format."""

from __future__ import annotations

import asyncio
import functools
import json
import operator
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from resumable_stream.formats import GenerationFacts, get_format
from resumable_stream.formats.producers.reader import ItemReader

from .seen import CUT_OFF, FORMATS, WITH_FILES, WITH_RESULTS, see
from .test_producers import library, read_all


def graph() -> Any:
    """Make a graph whose model calls a tool and then answers, cut off by length."""
    messages, graphs = library("langchain_core.messages"), library("langgraph.graph")
    fakes, outputs = library("langchain_core.language_models.fake_chat_models"), library("langchain_core.outputs")
    piece, result = messages.AIMessageChunk, messages.ToolMessage

    class Model(fakes.GenericFakeChatModel):  # type: ignore[misc, name-defined]
        def _stream(self, given: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Iterator[Any]:
            if any(isinstance(message, result) for message in given):
                pieces = [
                    *(piece(content="It is "), piece(content="sunny.")),
                    piece(content="", response_metadata={"finish_reason": "length"}),
                ]
            else:
                calls = (("weather", '{"city":', "c1"), (None, '"Paris"}', None))
                chunks = [{"name": name, "args": args, "id": id_, "index": 0} for name, args, id_ in calls]
                pieces = [piece(content="", tool_call_chunks=[chunk]) for chunk in chunks]
            for made in pieces:
                chunk = outputs.ChatGenerationChunk(message=made)
                if run_manager is not None:
                    run_manager.on_llm_new_token(made.content, chunk=chunk)
                yield chunk

        def _generate(self, *given: Any, **options: Any) -> Any:
            pieces = [chunk.message for chunk in self._stream(*given, **options)]
            whole = messages.message_chunk_to_message(functools.reduce(operator.add, pieces))
            return outputs.ChatResult(generations=[outputs.ChatGeneration(message=whole)])

    model = Model(messages=iter([]))

    async def agent(state: Any) -> Any:
        library("langgraph.config").get_stream_writer()("Looking. ")
        return {"messages": [await model.ainvoke(state["messages"])]}

    def tools(state: Any) -> Any:
        return {"messages": [result("sunny", tool_call_id="c1")]}

    def route(state: Any) -> str:
        return "tools" if getattr(state["messages"][-1], "tool_calls", None) else "__end__"

    made = graphs.StateGraph(graphs.MessagesState)
    made.add_node("agent", agent)
    made.add_node("tools", tools)
    made.add_edge("__start__", "agent")
    made.add_conditional_edges("agent", route)
    made.add_edge("tools", "agent")
    return made.compile()


QUESTION = {"messages": [("user", "Weather?")]}


def streamed(**options: Any) -> list[Any]:
    async def run() -> list[Any]:
        return [item async for item in graph().astream(QUESTION, **options)]

    return asyncio.run(run())


def events(version: str) -> list[Any]:
    async def run() -> list[Any]:
        stream = graph().astream_events(QUESTION, version=version)
        return [item async for item in (await stream if version == "v3" else stream)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(run())


STREAMS: dict[str, Any] = {
    "default": lambda: streamed(),
    "updates": lambda: streamed(stream_mode="updates"),
    "messages": lambda: streamed(stream_mode="messages"),
    "default, subgraphs": lambda: streamed(subgraphs=True),
    "messages, subgraphs": lambda: streamed(stream_mode="messages", subgraphs=True),
    "messages v2": lambda: streamed(stream_mode="messages", version="v2"),
    "several": lambda: streamed(stream_mode=["messages", "updates", "values", "tasks"]),
    "several, subgraphs": lambda: streamed(stream_mode=["messages", "updates"], subgraphs=True),
    "events v1": lambda: events("v1"),
    "events v2": lambda: events("v2"),
    "events v3": lambda: events("v3"),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_stream_of_graph_becomes_answer_in_every_format(stream: Any) -> None:
    items = stream()
    for name in FORMATS:
        seen = see(name, items)
        assert seen.text == "It is sunny.", name
        assert seen.calls == ([] if name == "text" else [("weather", {"city": "Paris"})]), name
        assert seen.finish == CUT_OFF[name], name


@pytest.mark.parametrize("kind", ["default", "messages", "several", "events v3"])
@pytest.mark.parametrize("name", WITH_RESULTS)
def test_results_of_tools_are_carried(name: str, kind: str) -> None:
    assert see(name, STREAMS[kind]()).results == ["sunny"]


@pytest.mark.parametrize(
    "mode", ["custom", ["custom", "updates"], ["custom", "values"]], ids=["custom", "with updates", "with values"]
)
def test_what_graphs_code_writes_is_item(mode: Any) -> None:
    assert read_all(streamed(stream_mode=mode)) == ["Looking. ", "Looking. "]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("mode", ["values", "debug", "tasks"])
def test_mode_that_makes_no_answer_is_error_that_says_what_to_use(mode: str, name: str) -> None:
    items = streamed(stream_mode=mode)
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.start()
    with pytest.raises(TypeError, match=f"stream_mode='{mode}' .*stream_mode='messages'"):
        encoder.encode(items[0])


def test_tuple_of_no_mode_is_error() -> None:
    with pytest.raises(TypeError, match=r"Cannot stream builtins\.tuple"):
        ItemReader().read(("title", "Hello"))


def test_messages_of_request_are_not_state_of_graph() -> None:
    (item,) = read_all([{"messages": [{"type": "human", "response_metadata": {}, "content": "x"}]}])
    assert item.data["messages"][0]["content"] == "x"


# What langchain-openai and others put into the content of messages.
SUMMARY = [
    [{"type": "reasoning", "summary": [{"index": 0, "type": "summary_text", "text": ""}], "index": 0}],
    [{"type": "reasoning", "summary": [{"index": 0, "type": "summary_text", "text": "First."}], "index": 0}],
    [{"type": "reasoning", "summary": [{"index": 1, "type": "summary_text", "text": ""}], "index": 0}],
    [{"type": "reasoning", "summary": [{"index": 1, "type": "summary_text", "text": "Then."}], "index": 0}],
]
CITATION = {"type": "url_citation", "url": "https://example.com/a", "title": "A"}


def chunks(*contents: Any, **fields: Any) -> list[Any]:
    piece = library("langchain_core.messages").AIMessageChunk
    return [piece(content=content, **fields) for content in contents]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "text"])
def test_summaries_of_reasoning_are_reasoning(name: str) -> None:
    assert see(name, chunks(*SUMMARY)).reasoning == "First.\n\nThen."
    assert see(name, chunks([{"type": "reasoning", "reasoning": "Hm.", "index": "lc_1"}])).reasoning == "Hm."
    kwargs = {"reasoning": {"summary": [{"index": 0, "type": "summary_text", "text": "Old."}]}}
    assert see(name, chunks("", additional_kwargs=kwargs)).reasoning == "Old."


@pytest.mark.parametrize("name", WITH_FILES)
def test_citations_and_images_are_carried(name: str) -> None:
    image = {"type": "image", "base64": "cG5n", "mime_type": "image/png"}
    seen = see(
        name, chunks([{"type": "text", "text": "Hi", "annotations": [CITATION, CITATION]}], [image], [image | {"x": 1}])
    )

    assert seen.text == "Hi"
    assert seen.sources == [("https://example.com/a", "A")]
    assert seen.files == [("image/png", "data:image/png;base64,cG5n")] * 2


@pytest.mark.parametrize("name", FORMATS)
def test_transcripts_and_refusals_are_text(name: str) -> None:
    assert see(name, chunks("", additional_kwargs={"audio": {"transcript": "Hello"}})).text == "Hello"
    assert see(name, chunks([{"type": "refusal", "refusal": "No."}])).text == "No."
    assert see(name, chunks("", additional_kwargs={"refusal": "No."})).text == "No."


@pytest.mark.parametrize("name", FORMATS)
def test_links_that_are_no_pages_are_left_out(name: str) -> None:
    bad = {"type": "url_citation", "url": "javascript:alert(1)", "title": "A"}
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    made = [*encoder.start(), *encoder.encode(chunks([{"type": "text", "text": "Hi", "annotations": [bad]}])[0])]
    assert "javascript" not in json.dumps(made)
