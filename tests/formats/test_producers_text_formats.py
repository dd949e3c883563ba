"""What model libraries stream, from their own classes, through the formats that make something of their own of it.

What an answer holds is compared after the fold: text, thoughts and calls, in the words of each format.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.formats import GenerationFacts, StoredGeneration, get_format
from resumable_stream.protocol.layout import new_generation_id
from resumable_stream.readers.reader import Reader

from . import test_producers as known
from .test_producers import library

CHAT = [
    *(known.chat_chunk({"reasoning_content": "hm"}), *known.CHAT[:3]),
    known.chat_chunk(known.chat_call('{"city":', "c1", "weather")),
    known.chat_chunk(known.chat_call('"Paris"}')),
    known.chat_chunk({}, finish_reason="tool_calls"),
]


def chat_objects() -> list[Any]:
    chunk_class = library("openai.types.chat").ChatCompletionChunk
    return [chunk_class.model_validate(chunk) for chunk in CHAT]


def litellm_objects() -> list[Any]:
    chunk_class = library("litellm.types.utils").ModelResponseStream
    return [chunk_class(**chunk) for chunk in CHAT]


def response_objects() -> list[Any]:
    return known.validate_response_events([known.RESPONSES[0], known.RESPONSES[3], *known.RESPONSES[6:]])


def anthropic_objects() -> list[Any]:
    return known.TestAnthropic().raw_events()


def anthropic_helper_objects() -> list[Any]:
    anthropic = library("anthropic")
    client = anthropic.Anthropic(api_key="x", http_client=known.answering(anthropic, known.ANTHROPIC))
    with client, client.messages.stream(model="m", max_tokens=9, messages=[]) as stream:
        return list(stream)


def langchain_objects() -> list[Any]:
    messages = library("langchain_core.messages")
    call = {"name": "weather", "args": {"city": "Paris"}, "id": "c1"}
    thought = messages.AIMessageChunk(content=[{"type": "thinking", "thinking": "hm"}])
    return [thought, messages.AIMessageChunk(content="Hello"), messages.AIMessage(content="", tool_calls=[call])]


def langgraph_objects() -> list[Any]:
    return [("messages", (message, {})) for message in langchain_objects()]


def agui_objects() -> list[Any]:
    events = known.TestAGUI().events()
    # What is thought comes first here.
    return [events[4], *events[1:4], *events[5:8]]


PRODUCERS: dict[str, Callable[[], list[Any]]] = {
    "openai chat completions": chat_objects,
    "openai responses": response_objects,
    "litellm": litellm_objects,
    "anthropic raw": anthropic_objects,
    "anthropic helper": anthropic_helper_objects,
    "langchain": langchain_objects,
    "langgraph": langgraph_objects,
    "ag-ui": agui_objects,
    "dict": lambda: CHAT,
    "encoded": lambda: [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in CHAT],
}


@pytest.fixture(params=PRODUCERS.values(), ids=PRODUCERS)
def items(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The items of one producer: a thought, a text and a call."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    found: list[Any] = request.param()
    return found


def answer_of(name: str, items: list[Any]) -> dict[str, Any]:
    format_ = get_format(name)
    making = format_.encoder(GenerationFacts(generation_id="g1", message_id="m1"))
    chunks = making.start() + [chunk for item in items for chunk in making.encode(item)] + making.finish()
    message = format_.fold_answer(StoredGeneration(generation_id="g1", message_id="m1", chunks=chunks))
    assert message is not None
    return message


def test_anthropic_makes_blocks_of_them(items: list[Any]) -> None:
    message = answer_of("anthropic", items)

    thinking, text, call = message["content"]
    assert (thinking["type"], thinking["thinking"]) == ("thinking", "hm")
    assert (text["type"], text["text"]) == ("text", "Hello")
    assert (call["type"], call["id"], call["name"], call["input"]) == ("tool_use", "c1", "weather", {"city": "Paris"})
    assert message["stop_reason"] == "tool_use"


def test_anthropics_own_events_keep_what_only_they_say() -> None:
    for items in (anthropic_objects(), anthropic_helper_objects()):
        message = answer_of("anthropic", items)
        assert (message["id"], message["model"], message["usage"]["output_tokens"]) == ("x", "m", 9)
        assert message["content"][0]["signature"] == "s"


def test_html_makes_parts_of_them(items: list[Any]) -> None:
    message = answer_of("html", items)

    assert message["parts"] == [
        {"type": "reasoning", "text": "hm"},
        {"type": "text", "text": "Hello"},
        {"type": "tool-call", "call_id": "c1", "name": "weather", "input": {"city": "Paris"}},
    ]
    assert message["content"] == "Hello"


def test_text_makes_text_of_them(items: list[Any]) -> None:
    assert answer_of("text", items)["content"] == "Hello"


@pytest.mark.parametrize("name", ["anthropic", "html"])
async def test_an_agent_of_pydantic_ai_is_taken_by_its_agui_adapter(name: str) -> None:
    run = known.TestPydanticAI()
    adapter_class = library("pydantic_ai.ui.ag_ui").AGUIAdapter
    made = adapter_class(agent=run.agent(), run_input=adapter_class.build_run_input(run.AGUI_BODY))

    message = answer_of(name, [event async for event in made.run_stream()])

    if name == "html":
        assert message["content"] == "Sunny."
    else:
        assert [block["type"] for block in message["content"]] == ["tool_use", "text"]
        assert (message["content"][1]["text"], message["stop_reason"]) == ("Sunny.", "end_turn")


class Response(pydantic.BaseModel):
    """What an SDK streams that nobody here knows."""

    text: str
    headers: dict[str, str]


@dataclass
class Delta:
    content: str
    tool: Any = None


class Event(pydantic.BaseModel):
    type: str
    delta: str


UNKNOWN: list[Any] = [
    Response(text="Hello", headers={"x-request-id": "secret"}),
    Delta("Hello"),
    SimpleNamespace(text="Hello"),
]
# A template of the app's own may know any type of part.
UNKNOWN_TYPES = [
    (name, Event(type="content-delta", delta="Hello")) for name in ("agui", "aisdk", "anthropic", "tanstack", "text")
]


@pytest.mark.parametrize(
    ("name", "item"),
    [*itertools.product(("agui", "aisdk", "anthropic", "html", "tanstack", "text"), UNKNOWN), *UNKNOWN_TYPES],
)
def test_object_of_unknown_class_is_an_error_that_names_the_class_and_shows_how_to_map_it(name: str, item: Any) -> None:
    encoder = get_format(name).encoder(GenerationFacts(generation_id="g", message_id="m"))
    encoder.start()

    with pytest.raises(TypeError) as caught:
        encoder.encode(item)

    kind = type(item)
    assert f"Cannot stream {kind.__module__}.{kind.__qualname__}: " in str(caught.value)
    assert "        yield item.text\n" in str(caught.value)
    assert "docs/producers.md" in str(caught.value)
    assert "secret" not in "".join(encoder.fail("Sorry."))


@pytest.mark.parametrize("name", ["anthropic", "html"])
async def test_what_a_format_cannot_encode_fails_the_generation_and_says_the_fix(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = library("pydantic_ai.ui.vercel_ai").VercelAIAdapter
    run = known.TestPydanticAI()
    chunks = adapter(agent=run.agent(), run_input=adapter.build_run_input(run.BODY)).run_stream()
    engine, stream = ChatEngine(format=name), f"chat/producers/{new_generation_id()}"

    started = await engine.start(stream, chunks)
    reader = engine.reader(stream, started)
    assert isinstance(reader, Reader)
    async for _ in reader.frames():
        pass

    (generation,), _, _ = await engine.history(stream)
    assert generation.end is not None
    assert generation.end.value == "failed"
    assert "TypeError" in caplog.text
    assert "choose the format that these chunks belong to" in caplog.text
