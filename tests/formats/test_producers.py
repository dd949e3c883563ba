"""What model libraries stream, from their own classes: each library is needed for its tests alone."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from resumable_stream.formats import Encoded, GenerationFacts, StoredGeneration, get_format
from resumable_stream.formats.item_types import (
    Finish,
    FormatChunk,
    InvalidToolInput,
    Reasoning,
    ToolError,
    ToolInput,
    ToolInputDelta,
    ToolInputStart,
    ToolOutput,
)
from resumable_stream.formats.producers import ProducerError
from resumable_stream.formats.producers.reader import ItemReader
from resumable_stream.utils.log_once import forget

from .seen import CUT_OFF, FILTERED, FORMATS, USUAL, see


def library(module: str) -> ModuleType:
    """Import a model library, whose own warnings are its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def answering(sdk: ModuleType, events: list[dict[str, Any]]) -> Any:
    """An HTTP client for an SDK, of the library that it uses, that answers every request with these events."""
    base = next(kind for kind in sdk.DefaultHttpxClient.__mro__ if kind.__name__ == "Client")
    http = importlib.import_module(base.__module__.partition(".")[0])
    body = "".join(f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n" for event in events)
    headers = {"content-type": "text/event-stream"}
    return http.Client(transport=http.MockTransport(lambda _: http.Response(200, headers=headers, text=body)))


def read_all(items: list[Any]) -> list[Any]:
    reader = ItemReader()
    return [piece for item in items for piece in reader.read(item)] + reader.flush()


def call(*deltas: str, call_id: str = "c1", name: str = "weather", value: Any = None) -> list[Any]:
    """A tool call in its pieces."""
    start, pieces = ToolInputStart(call_id, name), [ToolInputDelta(call_id, delta) for delta in deltas]
    return [start, *pieces, ToolInput(call_id, name, json.loads("".join(deltas)) if deltas else {})]


def chat_chunk(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}


def chat_call(arguments: str | None, call_id: str | None = None, name: str | None = None, index: int = 0) -> Any:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}


CHAT = [
    chat_chunk({"role": "assistant", "content": ""}),
    chat_chunk({"content": "Hel"}),
    chat_chunk({"content": "lo"}),
    chat_chunk({"content": "another"}, index=1),
    chat_chunk(chat_call("", "c1", "weather")),
    chat_chunk(chat_call('{"city":')),
    chat_chunk(chat_call('"Paris"}')),
    chat_chunk(chat_call("{", "c2", "search", index=1)),
    chat_chunk({}, finish_reason="tool_calls"),
    {**chat_chunk({}), "choices": []},
]
CHAT_ITEMS = [
    *("Hel", "lo"),
    *call('{"city":', '"Paris"}')[:-1],
    ToolInputStart("c2", "search"),
    ToolInputDelta("c2", "{"),
    ToolInput("c1", "weather", {"city": "Paris"}),
    InvalidToolInput("c2", "search", "{"),
    Finish("tool-calls"),
]


# Dialects of servers that speak chat completions: what each streams, and the text that it means.
AZURE = [
    {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
    {**chat_chunk({"content": "Hello"}), "object": "chat.completion.chunk"},
    {"id": "", "object": "", "model": "", "choices": [{"index": 0, "content_filter_offsets": {"check_offset": 44}}]},
    {"id": "", "object": "", "model": "", "choices": [{"index": 0, "content_filter_results": {}}]},
    chat_chunk({}, finish_reason="stop"),
]
DIALECTS = {
    "azure": AZURE,
    "include_usage": [
        chat_chunk({"content": "Hello"}),
        {"id": "x", "choices": [], "usage": {"total_tokens": 3}, "object": "chat.completion.chunk", "model": "m"},
    ],
    "perplexity": [
        {**chat_chunk({"content": "Hello"}), "object": "chat.completion"},
        {"id": "x", "object": "chat.completion.done", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
    "no name": [{"choices": [{"index": 0, "delta": {"content": "Hello"}}]}, {"choices": [], "usage": {}}],
}


class TestDialectsOfChatCompletions:
    @pytest.mark.parametrize("chunks", DIALECTS.values(), ids=DIALECTS)
    @pytest.mark.parametrize("name", ["agui", "aisdk", "anthropic", "html", "tanstack", "text"])
    def test_chunks_are_known_by_their_shape_in_every_format(self, name: str, chunks: list[dict[str, Any]]):
        chunk_class = library("openai.types.chat").ChatCompletionChunk
        encoded = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks)
        for items in (chunks, [chunk_class.construct(**chunk) for chunk in chunks], [encoded]):
            format_ = get_format(name)
            encoder = format_.encoder(GenerationFacts(generation_id="g", message_id="m", run_id="r"))
            made = [*encoder.start(), *(chunk for item in items for chunk in encoder.encode(item)), *encoder.finish()]
            message = format_.fold_answer(StoredGeneration(generation_id="g", message_id="m", chunks=made))
            assert message is not None
            assert "Hello" in json.dumps(message)

    @pytest.mark.parametrize("data", [{"choices": "none"}, {"choices": [{"label": "Yes"}]}, {"choices": []}])
    def test_a_mapping_with_choices_of_its_own_is_a_chunk(self, data: dict[str, Any]):
        (item,) = read_all([data])
        assert isinstance(item, FormatChunk)

    def test_a_call_without_an_id_gets_one(self):
        begin, delta, whole, _ = read_all(
            [chat_chunk(chat_call("{}", None, "weather")), chat_chunk({}, finish_reason="x")]
        )
        assert begin.name == "weather"
        assert begin.call_id == delta.call_id == whole.call_id != "None"


class TestWhatProvidersSayOfThemselves:
    def test_an_event_that_nobody_knows_is_passed_over_and_logged_once(self, caplog: pytest.LogCaptureFixture):
        responses = library("openai.types.responses")
        forget()
        event = responses.ResponseTextDeltaEvent.construct(type="response.new_thing")
        assert read_all([event, event]) == []
        assert len([record for record in caplog.records if "passed over" in record.message]) == 1

    @pytest.mark.parametrize("kind", ["keepalive", "response.keep_alive"])
    def test_a_sign_of_life_is_passed_over(self, kind: str):
        assert read_all([{"type": kind, "sequence_number": 7}]) == []
        assert read_all([f'data: {{"type":"{kind}","sequence_number":7}}\n\n'.encode()]) == []

    def test_calls_of_one_false_id_are_told_apart_by_their_place(self):
        def at(place: int, kind: str, **more: Any) -> dict[str, Any]:
            return {"type": f"response.{kind}", "sequence_number": 0, "output_index": place, **more}

        def item(call_id: str) -> dict[str, Any]:
            return {"type": "function_call", "id": "__fake_id__", "call_id": call_id, "name": "search"}

        events = [
            *(at(place, "output_item.added", item=item(f"c{place}")) for place in (0, 1)),
            at(0, "function_call_arguments.delta", item_id="__fake_id__", delta='{"q":'),
            at(1, "function_call_arguments.delta", item_id="__fake_id__", delta='{"q":"y"}'),
            at(0, "function_call_arguments.delta", item_id="__fake_id__", delta='"x"}'),
            *(at(place, "output_item.done", item=item(f"c{place}")) for place in (0, 1)),
        ]
        whole = [found for found in read_all(events) if isinstance(found, ToolInput)]
        assert whole == [ToolInput("c0", "search", {"q": "x"}), ToolInput("c1", "search", {"q": "y"})]

    def test_langchains_call_whose_id_is_repeated_is_one_call(self):
        messages = library("langchain_core.messages")
        pieces = [
            messages.AIMessageChunk(content="", tool_call_chunks=[{"name": name, "args": args, "id": "c1", "index": 0}])
            for name, args in (("weather", '{"city":'), (None, '"Paris"}'))
        ]
        assert read_all(pieces) == call('{"city":', '"Paris"}')


class TestLangGraphsEvents:
    def graph(self) -> Any:
        messages = library("langchain_core.messages")
        fakes = library("langchain_core.language_models.fake_chat_models")
        outputs = library("langchain_core.outputs")
        graphs = library("langgraph.graph")
        piece, result = messages.AIMessageChunk, messages.ToolMessage

        class Model(fakes.GenericFakeChatModel):  # type: ignore[misc, name-defined]
            def _stream(self, given: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Iterator[Any]:
                if any(isinstance(message, result) for message in given):
                    pieces = [piece(content="It is "), piece(content="sunny.")]
                else:
                    calls = (("weather", '{"city":', "c1"), (None, '"Paris"}', None))
                    chunks = [{"name": name, "args": args, "id": id_, "index": 0} for name, args, id_ in calls]
                    pieces = [piece(content="", tool_call_chunks=[chunk]) for chunk in chunks]
                for made in pieces:
                    chunk = outputs.ChatGenerationChunk(message=made)
                    if run_manager is not None:
                        run_manager.on_llm_new_token(made.content, chunk=chunk)
                    yield chunk

        model = Model(messages=iter([]))

        async def agent(state: Any) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        def tools(state: Any) -> Any:
            return {"messages": [result("sunny", tool_call_id="c1")]}

        def route(state: Any) -> str:
            return "tools" if getattr(state["messages"][-1], "tool_calls", None) else "__end__"

        graph = graphs.StateGraph(graphs.MessagesState)
        graph.add_node("agent", agent)
        graph.add_node("tools", tools)
        graph.add_edge("__start__", "agent")
        graph.add_conditional_edges("agent", route)
        graph.add_edge("tools", "agent")
        return graph.compile()

    async def test_events_of_version_3_are_read(self):
        graph = self.graph()
        reader = ItemReader()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stream = await graph.astream_events({"messages": [("user", "Weather?")]}, version="v3")
            items = [piece async for event in stream for piece in reader.read(event)]

        assert items == [*call('{"city":', '"Paris"}'), ToolOutput("c1", "sunny"), "It is ", "sunny."]

    def test_what_a_graphs_own_code_writes_is_an_item_like_any_other(self):
        event = {"type": "event", "method": "custom", "params": {"namespace": [], "data": {"type": "data-x"}}, "seq": 1}
        (item,) = read_all([event])
        assert item.data == {"type": "data-x"}

    def test_a_model_that_does_not_stream_gives_its_blocks_whole(self):
        def event(**part: Any) -> dict[str, Any]:
            data = ({"index": 0, **part}, {"run_id": "r"})
            return {"type": "event", "method": "messages", "params": {"namespace": [], "data": data}}

        whole = {"type": "tool_call", "id": "c1", "name": "weather", "args": {"city": "Paris"}}
        assert read_all(
            [
                event(event="content-block-finish", content={"type": "text", "text": "Hello"}),
                event(event="content-block-finish", content=whole),
                event(event="message-finish"),
            ]
        ) == ["Hello", ToolInput("c1", "weather", {"city": "Paris"})]


class TestChatCompletions:
    def test_their_json_is_read(self):
        assert read_all(CHAT) == CHAT_ITEMS

    def test_their_events_are_read(self):
        assert (
            read_all([f"data: {json.dumps(chunk)}\n\n".encode() for chunk in CHAT] + [b"data: [DONE]\n\n"])
            == CHAT_ITEMS
        )

    def test_openais_objects_are_read(self):
        chunk_class = library("openai.types.chat").ChatCompletionChunk
        assert read_all([chunk_class.model_validate(chunk) for chunk in CHAT]) == CHAT_ITEMS

    def test_openais_helper_stream_is_read_once(self):
        openai = library("openai")
        chunks = [*CHAT[:3], *CHAT[4:7], chat_chunk({}, finish_reason="tool_calls")]
        client = openai.OpenAI(api_key="x", http_client=answering(openai, chunks))
        with client, client.chat.completions.stream(model="m", messages=[]) as stream:
            events = list(stream)
        assert {event.type for event in events} > {"chunk", "content.delta"}
        assert read_all(events) == ["Hel", "lo", *call('{"city":', '"Paris"}'), Finish("tool-calls")]

    def test_litellms_objects_are_read(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        utils = library("litellm.types.utils")
        chunks = [chat_chunk({"reasoning_content": "hm"}), *CHAT[:3], *CHAT[4:7]]
        objects = [utils.ModelResponseStream(**chunk) for chunk in chunks]
        assert read_all(objects) == [Reasoning("hm"), "Hel", "lo", *call('{"city":', '"Paris"}')]

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_reasoning_is_read_by_either_of_its_names(self, name: str):
        assert read_all([chat_chunk({name: "hm"})]) == [Reasoning("hm")]

    def test_a_refusal_is_text_and_no_usual_end(self):
        chunks = [chat_chunk({"refusal": "No."}), chat_chunk({}, finish_reason="stop")]
        assert read_all(chunks) == ["No.", Finish("content-filter")]

    def test_what_the_model_says_aloud_is_text(self):
        assert read_all([chat_chunk({"audio": {"id": "a", "transcript": "Hello"}})]) == ["Hello"]

    @pytest.mark.parametrize(
        ("reason", "words"), [("stop", USUAL), ("eos", USUAL), ("length", CUT_OFF), ("content_filter", FILTERED)]
    )
    def test_clients_are_told_why_the_model_has_stopped(self, reason: str, words: dict[str, Any]):
        chunks = [chat_chunk({"content": "Hello"}), chat_chunk({}, finish_reason=reason)]
        assert {name: see(name, chunks).finish for name in FORMATS} == words

    def test_an_end_that_is_an_error_fails_the_answer(self):
        with pytest.raises(ProducerError, match="has failed"):
            read_all([chat_chunk({"content": "Hel"}), chat_chunk({}, finish_reason="error")])

    def test_a_server_that_repeats_the_id_makes_one_call(self):
        pieces = [chat_chunk(chat_call(text, "c1", "weather")) for text in ("{", "}")]
        assert read_all(pieces) == call("{", "}")

    def test_a_server_that_numbers_every_call_0_makes_several(self):
        pieces = [chat_chunk(chat_call("{}", call_id, "weather")) for call_id in ("c1", "c2")]
        assert read_all(pieces) == call("{}") + call("{}", call_id="c2")

    def test_a_call_without_arguments_has_an_empty_input(self):
        assert read_all([chat_chunk(chat_call(None, "c1", "weather"))]) == call()


def response_event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": 1, "output_index": 0, **fields}


FUNCTION_CALL = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "weather", "arguments": ""}
PART = {"content_index": 0, "item_id": "i1"}
RESPONSES = [
    response_event("reasoning_summary_text.delta", item_id="i0", summary_index=0, delta="hm"),
    response_event(
        "reasoning_summary_part.added", item_id="i0", summary_index=1, part={"type": "summary_text", "text": ""}
    ),
    response_event("reasoning_text.delta", **PART, delta="so"),
    response_event("output_text.delta", **PART, delta="Hello", logprobs=[]),
    response_event("output_text.done", **PART, text="Hello", logprobs=[]),
    response_event("refusal.delta", **PART, delta=" No."),
    response_event("output_item.added", item={"type": "reasoning", "id": "i0", "summary": []}),
    response_event("output_item.added", item=FUNCTION_CALL),
    response_event("function_call_arguments.delta", item_id="f1", delta='{"city":"Paris"}'),
    response_event("function_call_arguments.done", item_id="f1", name="weather", arguments='{"city":"Paris"}'),
    response_event("output_item.done", item=FUNCTION_CALL),
]
RESPONSES_ITEMS = [
    *(Reasoning("hm"), Reasoning("\n\n"), Reasoning("so")),
    *("Hello", " No."),
    *call('{"city":"Paris"}'),
]
FAILURE = {"error": {"code": "server_error", "message": "secret insides"}}


def validate_response_events(events: list[dict[str, Any]]) -> list[Any]:
    module = library("openai.types.responses")
    adapter = importlib.import_module("pydantic").TypeAdapter(module.ResponseStreamEvent)
    return [adapter.validate_python(event) for event in events]


class TestResponses:
    def test_their_json_is_read(self):
        assert read_all(RESPONSES) == RESPONSES_ITEMS

    def test_openais_objects_are_read(self):
        assert read_all(validate_response_events(RESPONSES)) == RESPONSES_ITEMS

    def test_the_agents_sdks_wrappers_are_read(self):
        events = library("agents.stream_events")
        run_items = importlib.import_module("agents.items")
        output = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
        agent = importlib.import_module("agents").Agent(name="a")
        item = run_items.ToolCallOutputItem(agent=agent, raw_item=output, output={"sky": "sunny"})
        wrapped: list[Any] = [events.RawResponsesStreamEvent(data=data) for data in validate_response_events(RESPONSES)]
        wrapped.append(events.AgentUpdatedStreamEvent(new_agent=agent))
        wrapped.append(events.RunItemStreamEvent(name="tool_output", item=item))
        wrapped.append(events.RunItemStreamEvent(name="tool_called", item=item))
        assert read_all(wrapped) == [*RESPONSES_ITEMS, ToolOutput("c1", {"sky": "sunny"})]

    @pytest.mark.parametrize(
        "event",
        [
            response_event("failed", response=FAILURE),
            {"type": "error", "sequence_number": 2, "code": "server_error", "message": "secret insides", "param": None},
        ],
    )
    def test_a_failure_fails_the_generation(self, event: dict[str, Any]):
        with pytest.raises(ProducerError, match="server_error: secret insides"):
            read_all([event])

    def test_the_ai_sdks_error_chunk_is_a_chunk(self):
        (item,) = read_all([{"type": "error", "errorText": "x"}])
        assert isinstance(item, FormatChunk)

    def test_an_apps_own_event_of_a_like_name_is_a_chunk(self):
        (item,) = read_all([{"type": "response.rated", "stars": 5}])
        assert isinstance(item, FormatChunk)


def block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def block_delta(index: int, kind: str, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **delta}}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


USAGE = {"input_tokens": 1, "output_tokens": 1}
MESSAGE = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE}
ANTHROPIC = [
    {"type": "message_start", "message": {**MESSAGE, "stop_reason": None, "stop_sequence": None}},
    block_start(0, type="thinking", thinking="", signature=""),
    block_delta(0, "thinking_delta", thinking="hm"),
    block_delta(0, "signature_delta", signature="s"),
    block_stop(0),
    block_start(1, type="text", text=""),
    block_delta(1, "text_delta", text="Hello"),
    block_stop(1),
    block_start(2, type="tool_use", id="c1", name="weather", input={}),
    block_delta(2, "input_json_delta", partial_json='{"city":'),
    block_delta(2, "input_json_delta", partial_json='"Paris"}'),
    block_stop(2),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "message_stop"},
]
ANTHROPIC_ITEMS = [Reasoning("hm"), "Hello", *call('{"city":', '"Paris"}'), Finish("tool-calls")]


class TestAnthropic:
    def test_their_json_is_read(self):
        assert read_all([{"type": "ping"}, *ANTHROPIC]) == ANTHROPIC_ITEMS

    def test_their_events_are_read(self):
        events = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in ANTHROPIC]
        assert read_all(events) == ANTHROPIC_ITEMS

    def test_raw_objects_are_read(self):
        assert read_all(self.raw_events()) == ANTHROPIC_ITEMS

    def test_the_helper_stream_is_read_once(self):
        anthropic = library("anthropic")
        client = anthropic.Anthropic(api_key="x", http_client=answering(anthropic, ANTHROPIC))
        with client, client.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
            events = list(stream)
        assert {event.type for event in events} > {"text", "thinking", "input_json", "content_block_delta"}
        assert read_all(events) == ANTHROPIC_ITEMS

    def raw_events(self) -> list[Any]:
        module = library("anthropic.types")
        adapter = importlib.import_module("pydantic").TypeAdapter(module.RawMessageStreamEvent)
        return [adapter.validate_python(event) for event in ANTHROPIC]

    def test_text_that_comes_with_the_beginning_of_its_block_is_read(self):
        blocks = [block_start(0, type="text", text="Hello"), block_start(1, type="thinking", thinking="hm")]
        assert read_all(blocks) == ["Hello", Reasoning("hm")]

    def test_blocks_of_other_kinds_are_left_out(self):
        other = block_start(0, type="server_tool_use", id="s", name="web_search", input={})
        assert read_all([other, block_delta(0, "citations_delta", citation={}), block_stop(0)]) == []

    def test_an_apps_own_event_of_a_like_name_is_a_chunk(self):
        (item,) = read_all([{"type": "text", "text": "x"}])
        assert isinstance(item, FormatChunk)


LANGCHAIN_ITEMS = ["Hel", "lo", Reasoning("hm"), "!", Reasoning("so"), *call('{"city":"Paris"}')]


class TestLangChain:
    @pytest.fixture
    def messages(self) -> ModuleType:
        return library("langchain_core.messages")

    def chunks(self, messages: ModuleType) -> list[Any]:
        def piece(args: str, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
            return {"name": name, "args": args, "id": call_id, "index": 0, "type": "tool_call_chunk"}

        chunk = messages.AIMessageChunk
        return [
            chunk(content="Hel"),
            chunk(
                content=[
                    {"type": "text", "text": "lo"},
                    {"type": "image_url", "image_url": "x"},
                    {"type": "thinking", "thinking": "hm"},
                    "!",
                ]
            ),
            chunk(content="", additional_kwargs={"reasoning_content": "so"}),
            chunk(content="", tool_call_chunks=[piece("", "c1", "weather")]),
            chunk(content="", tool_call_chunks=[piece('{"city":"Paris"}')]),
            chunk(content="", chunk_position="last"),
        ]

    def test_message_chunks_are_read(self, messages: ModuleType):
        assert read_all(self.chunks(messages)) == LANGCHAIN_ITEMS

    def test_whole_messages_are_read(self, messages: ModuleType):
        tool_call = {"name": "weather", "args": {"city": "Paris"}, "id": "c1"}
        answer = messages.AIMessage(content="Hello", tool_calls=[tool_call])
        result = messages.ToolMessage(content="sunny", tool_call_id="c1")
        failed = messages.ToolMessage(content="broken", tool_call_id="c1", status="error")
        asked = [messages.HumanMessage(content="Hi"), messages.SystemMessage(content="Be nice")]
        items = ["Hello", ToolInput("c1", "weather", {"city": "Paris"}), ToolOutput("c1", "sunny")]
        assert read_all([*asked, answer, result, failed]) == [*items, ToolError("c1", "broken")]

    def test_a_tools_answer_completes_the_calls_before_it(self, messages: ModuleType):
        result = messages.ToolMessage(content="sunny", tool_call_id="c1")
        assert read_all([*self.chunks(messages)[3:5], result]) == [*call('{"city":"Paris"}'), ToolOutput("c1", "sunny")]

    def test_langgraphs_tuples_of_one_mode_are_read(self, messages: ModuleType):
        assert read_all([(chunk, {"langgraph_node": "a"}) for chunk in self.chunks(messages)]) == LANGCHAIN_ITEMS

    def test_langgraphs_tuples_of_several_modes_are_read(self, messages: ModuleType):
        items: list[Any] = [("messages", (chunk, {})) for chunk in self.chunks(messages)]
        items[1:1] = [("updates", {"a": object()}), ("values", {"messages": []})]
        items += [("custom", {"type": "data-x", "data": 1}), ("custom", "text")]
        chunk = FormatChunk({"type": "data-x", "data": 1}, '{"type":"data-x","data":1}')
        assert read_all(items) == [*LANGCHAIN_ITEMS, chunk, "text"]

    def test_langgraphs_tuples_of_subgraphs_are_read(self, messages: ModuleType):
        items = [(("graph:1",), "messages", (chunk, {})) for chunk in self.chunks(messages)]
        assert read_all([*items, ((), "updates", {})]) == LANGCHAIN_ITEMS

    def test_langgraphs_second_kind_of_event_is_read(self, messages: ModuleType):
        items = [{"type": "messages", "ns": (), "data": (chunk, {})} for chunk in self.chunks(messages)]
        assert read_all([*items, {"type": "updates", "ns": (), "data": {"a": object()}}]) == LANGCHAIN_ITEMS

    @pytest.mark.parametrize("kind", ["ai", "tool", "human", "AIMessageChunk"])
    def test_an_apps_own_event_of_a_like_name_is_a_chunk(self, kind: str):
        (item,) = read_all([{"type": kind, "content": "x"}])
        assert isinstance(item, FormatChunk)


AGUI_ITEMS = ["Hello", Reasoning("hm"), *call('{"city":"Paris"}'), ToolOutput("c1", "sunny")]


class TestAGUI:
    def events(self) -> list[Any]:
        core = library("ag_ui.core")
        return [
            core.RunStartedEvent(thread_id="t", run_id="r"),
            core.TextMessageStartEvent(message_id="m", role="assistant"),
            core.TextMessageContentEvent(message_id="m", delta="Hello"),
            core.TextMessageEndEvent(message_id="m"),
            core.ReasoningMessageContentEvent(message_id="m", delta="hm"),
            core.ToolCallStartEvent(tool_call_id="c1", tool_call_name="weather"),
            core.ToolCallArgsEvent(tool_call_id="c1", delta='{"city":"Paris"}'),
            core.ToolCallEndEvent(tool_call_id="c1"),
            core.ToolCallResultEvent(message_id="m2", tool_call_id="c1", content="sunny"),
            core.StateSnapshotEvent(snapshot={"a": 1}),
            core.RunFinishedEvent(thread_id="t", run_id="r"),
        ]

    def test_objects_are_read(self):
        assert read_all(self.events()) == AGUI_ITEMS

    def test_their_events_are_read(self):
        events = self.events()
        encoder = importlib.import_module("ag_ui.encoder").EventEncoder()
        assert read_all([Encoded(encoder.encode(event)) for event in events]) == AGUI_ITEMS

    def test_a_failure_fails_the_generation(self):
        with pytest.raises(ProducerError, match="secret insides"):
            read_all([{"type": "RUN_ERROR", "message": "secret insides"}])


class TestPydanticAI:
    """Through a whole agent run: the library's own events, by the adapter of either protocol."""

    BODY = json.dumps(
        {
            "id": "c",
            "trigger": "submit-message",
            "messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}],
        }
    ).encode()
    AGUI_BODY = json.dumps(
        {
            "threadId": "t",
            "runId": "r",
            "state": None,
            "tools": [],
            "context": [],
            "forwardedProps": None,
            "messages": [{"id": "u", "role": "user", "content": "Hi"}],
        }
    ).encode()

    def agent(self) -> Any:
        pydantic_ai = library("pydantic_ai")
        function = importlib.import_module("pydantic_ai.models.function")

        async def model(messages: list[Any], info: Any) -> AsyncIterator[Any]:
            if len(messages) == 1:
                yield {0: function.DeltaToolCall(name="weather", json_args='{"city":', tool_call_id="c1")}
                yield {0: function.DeltaToolCall(json_args='"Paris"}', tool_call_id="c1")}
            else:
                yield "Sun"
                yield "ny."

        def weather(city: str) -> None:
            """Return nothing, as tools with side effects do."""

        return pydantic_ai.Agent(function.FunctionModel(stream_function=model), tools=[weather])

    def stream(self, module: str, adapter: str, body: bytes, agent: Any = None, *, encoded: bool) -> AsyncIterator[Any]:
        agent = agent or self.agent()
        adapter_class = getattr(importlib.import_module(module), adapter)
        made = adapter_class(agent=agent, run_input=adapter_class.build_run_input(body))
        events = made.run_stream()
        return (Encoded(event) async for event in made.encode_stream(events)) if encoded else events

    async def collect(self, module: str, adapter: str, body: bytes, *, encoded: bool) -> list[Any]:
        reader = ItemReader()
        source = self.stream(module, adapter, body, encoded=encoded)
        return [piece async for item in source for piece in reader.read(item)]

    @pytest.mark.parametrize("encoded", [False, True])
    async def test_chunks_of_the_vercel_adapter_are_chunks(self, encoded: bool):
        items = await self.collect("pydantic_ai.ui.vercel_ai", "VercelAIAdapter", self.BODY, encoded=encoded)
        types = [item.data["type"] for item in items]
        assert types[0] == "start"
        assert types[-1] == "finish"
        deltas = [item.data["delta"] for item in items if item.data["type"] == "text-delta"]
        assert "".join(deltas) == "Sunny."

    @pytest.mark.parametrize("encoded", [False, True])
    async def test_events_of_the_agui_adapter_are_read(self, encoded: bool):
        items = await self.collect("pydantic_ai.ui.ag_ui", "AGUIAdapter", self.AGUI_BODY, encoded=encoded)
        expected = [*call('{"city":', '"Paris"}'), ToolOutput("c1", ""), "Sun", "ny."]
        assert items == expected

    @pytest.mark.parametrize("encoded", [False, True])
    @pytest.mark.parametrize("name", ["agui", "tanstack"])
    async def test_the_agui_adapters_run_is_the_formats_own(self, name: str, encoded: bool):
        facts = GenerationFacts(generation_id="g", message_id="m", chat_id="chat", run_id="run")
        encoder = get_format(name).encoder(facts)
        chunks = encoder.start()
        async for item in self.stream("pydantic_ai.ui.ag_ui", "AGUIAdapter", self.AGUI_BODY, encoded=encoded):
            chunks += encoder.encode(item)
        chunks += encoder.finish()
        runs = [event for event in map(json.loads, chunks) if event["type"].startswith("RUN_")]
        assert [(event["type"], event["runId"]) for event in runs] == [("RUN_STARTED", "run"), ("RUN_FINISHED", "run")]
        said, called = told(name, chunks)
        assert (said, called) == ("Sunny.", [("weather", '{"city":"Paris"}')])

    @pytest.mark.parametrize("encoded", [False, True])
    @pytest.mark.parametrize("name", ["agui", "tanstack"])
    async def test_the_agui_adapters_error_is_not_shown_to_people(self, name: str, encoded: bool):
        pydantic_ai = library("pydantic_ai")
        function = importlib.import_module("pydantic_ai.models.function")

        async def model(messages: list[Any], info: Any) -> AsyncIterator[Any]:
            yield "Hel"
            raise RuntimeError("secret insides")

        agent = pydantic_ai.Agent(function.FunctionModel(stream_function=model))
        encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
        stream = self.stream("pydantic_ai.ui.ag_ui", "AGUIAdapter", self.AGUI_BODY, agent, encoded=encoded)
        with pytest.raises(ProducerError, match="secret insides"):
            [encoder.encode(item) async for item in stream]
        assert json.loads(encoder.fail("Sorry.")[-1])["message"] == "Sorry."


def told(name: str, chunks: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """What an answer says and calls, in the words of either format."""
    messages = get_format(name).fold([StoredGeneration(generation_id="g", message_id="m", chunks=chunks)])
    if name == "agui":
        texts = [message.get("content", "") for message in messages if message["role"] == "assistant"]
        calls = [call["function"] for message in messages for call in message.get("toolCalls", ())]
    else:
        parts = [part for message in messages for part in message["parts"]]
        texts = [part["content"] for part in parts if part["type"] == "text"]
        calls = [part for part in parts if part["type"] == "tool-call"]
    return "".join(texts), [(call["name"], call["arguments"]) for call in calls]


@pytest.mark.parametrize("name", ["agui", "tanstack"])
@pytest.mark.parametrize(
    ("produced", "said", "called"),
    [
        (CHAT, "Hello", [("weather", '{"city":"Paris"}'), ("search", "{")]),
        (ANTHROPIC, "Hello", [("weather", '{"city":"Paris"}')]),
        (RESPONSES, "Hello No.", [("weather", '{"city":"Paris"}')]),
    ],
    ids=["chat completions", "anthropic", "responses"],
)
def test_what_model_libraries_stream_becomes_a_formats_events(
    name: str, produced: list[Any], said: str, called: list[tuple[str, str]]
):
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    chunks = encoder.start()
    for item in produced:
        chunks += encoder.encode(item)
    assert told(name, chunks + encoder.finish()) == (said, called)


@pytest.mark.parametrize("name", ["agui", "tanstack"])
def test_events_of_the_agui_library_go_out_as_they_are(name: str):
    core = library("ag_ui.core")
    produced = [
        core.TextMessageStartEvent(message_id="m1", role="assistant"),
        core.TextMessageContentEvent(message_id="m1", delta="Hello"),
        core.TextMessageEndEvent(message_id="m1"),
        core.ToolCallStartEvent(tool_call_id="c1", tool_call_name="weather", parent_message_id="m1"),
        core.ToolCallArgsEvent(tool_call_id="c1", delta="{}"),
        core.ToolCallEndEvent(tool_call_id="c1"),
        core.CustomEvent(name="x", value=None),
    ]
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.start()
    events = [json.loads(chunk) for item in produced for chunk in encoder.encode(item)]
    assert events == [
        item.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"type": item.type} for item in produced
    ]


@dataclass
class ForeignDataclass:
    type: str


def test_an_object_that_only_looks_like_a_helper_event_needs_to_be_one():
    assert read_all([SimpleNamespace(type="text", text="x", snapshot="x")]) == []


def test_a_dataclass_of_an_unknown_type_is_a_chunk():
    (item,) = read_all([ForeignDataclass("data-x")])
    assert item.data == {"type": "data-x"}
