"""Anthropic's raw message events: what is encoded, and what the stock TypeScript SDK makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.exceptions import InvalidRequestError
from resumable_stream.formats import GenerationFacts, StoredGeneration, get_format
from resumable_stream.formats.anthropic.fold import parse_cut_json
from resumable_stream.formats.jsontext import encode
from resumable_stream.formats.producers import ProducerError

from .ai_client import NodeClient
from .strategies import json_objects, texts

FORMAT = get_format("anthropic")
USER = {"id": "u1", "role": "user", "content": "Hello"}


def encoder(message_id: str = "m1") -> Any:
    return FORMAT.encoder(GenerationFacts(generation_id="g1", message_id=message_id))


def encoded(*items: Any) -> list[dict[str, Any]]:
    making = encoder()
    chunks = [chunk for item in items for chunk in making.encode(item)] + making.finish()
    return [json.loads(chunk) for chunk in chunks]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def frames(chunks: list[str]) -> str:
    return "".join(f"event: {FORMAT.event(chunk)}\nid: 1\ndata: {chunk}\n\n" for chunk in chunks)


def folded(chunks: list[str]) -> Any:
    """As it arrives in JavaScript, which knows one kind of number."""
    message = FORMAT.fold_answer(StoredGeneration(generation_id="g1", chunks=chunks))
    return json.loads(encode(message), parse_int=float)


def block_start(index: int, kind: str = "text", **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def block_delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def message_start(message_id: str = "msg_1", output_tokens: int = 1) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": output_tokens, "cache_read_input_tokens": None}
    message = {"id": message_id, "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None}}


def message_delta(reason: str = "end_turn", output_tokens: int = 5) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}


MESSAGE_STOP = {"type": "message_stop"}
RAW = [
    message_start(),
    block_start(0, "thinking", thinking="", signature=""),
    block_delta(0, "thinking_delta", thinking="hm"),
    block_delta(0, "signature_delta", signature="c2ln"),
    block_stop(0),
    {"type": "ping"},
    block_start(1, text="", citations=None),
    block_delta(1, "text_delta", text="Hel"),
    block_delta(1, "text_delta", text="lo"),
    block_delta(1, "citations_delta", citation={"type": "char_location", "cited_text": "x"}),
    block_stop(1),
    block_start(2, "tool_use", id="t1", name="weather", input={}),
    block_delta(2, "input_json_delta", partial_json='{"city":'),
    block_delta(2, "input_json_delta", partial_json='"Paris"}'),
    block_stop(2),
    block_start(3, "redacted_thinking", data="xyz"),
    block_stop(3),
    {**message_delta("tool_use"), "usage": {"output_tokens": 9, "server_tool_use": {"web_search_requests": 1}}},
    MESSAGE_STOP,
]


class TestEncoding:
    def test_text_becomes_one_block_of_one_message(self):
        events = encoded("Hel", "lo")
        assert kinds(events) == [
            *("message_start", "content_block_start", "content_block_delta", "content_block_delta"),
            *("content_block_stop", "message_delta", "message_stop"),
        ]
        assert events[0]["message"]["id"] == "m1"
        assert events[-2]["delta"]["stop_reason"] == "end_turn"

    def test_raw_events_pass_as_they_are(self):
        events = encoded(*RAW)
        assert events == [event for event in RAW if event["type"] != "ping"]

    def test_every_frame_names_its_event(self):
        making = encoder()
        assert {FORMAT.event(chunk) for chunk in making.encode("x")} == {
            *("message_start", "content_block_start", "content_block_delta"),
        }
        assert FORMAT.event('{"index": 1, "type": "content_block_stop"}') == "content_block_stop"
        for chunk in ("", "[]", '{"type": 1}', '{"type": "a\\nb"}'):
            assert FORMAT.event(chunk) is None

    def test_the_messages_of_a_loop_become_one(self):
        second = [message_start("msg_2"), block_start(0), block_delta(0, "text_delta", text="17 °C"), block_stop(0)]
        events = encoded(*RAW, *second, message_delta("end_turn", 4), MESSAGE_STOP)
        assert kinds(events).count("message_start") == kinds(events).count("message_stop") == 1
        assert [event["index"] for event in events if event["type"] == "content_block_start"] == [0, 1, 2, 3, 4]
        assert events[-2]["usage"]["output_tokens"] == 13
        assert folded([encode(event) for event in events])["content"][-1]["text"] == "17 °C"

    def test_calls_of_other_producers_become_blocks_with_their_whole_input(self):
        chunk = {"object": "chat.completion.chunk"}
        function = {"name": "weather", "arguments": '{"city":'}
        calls = [{"index": 0, "id": "c1", "function": function}]
        rest = [{"index": 0, "function": {"arguments": '"Paris"}'}}]
        deltas = [{"content": "Look: "}, {"tool_calls": calls}, {"tool_calls": rest}]
        message = folded(
            [
                encode(event)
                for event in encoded(*({**chunk, "choices": [{"index": 0, "delta": delta}]} for delta in deltas))
            ]
        )
        assert message["content"] == [
            {"type": "text", "text": "Look: "},
            {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
        ]
        assert message["stop_reason"] == "tool_use"

    def test_an_input_that_is_no_json_is_wrapped(self):
        call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{not"}}
        chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        message = folded([encode(event) for event in encoded(chunk)])
        assert message["content"][0]["input"] == {"INVALID_JSON": "{not"}

    def test_a_stranger_ends_what_it_has_observed(self):
        making, stranger = encoder(), encoder()
        for chunk in [*making.encode("Hello"), "[]", '{"type": "message_delta"}', "no JSON"]:
            stranger.observe(chunk)
        assert [json.loads(chunk)["type"] for chunk in stranger.stop()] == [
            *("content_block_stop", "message_delta", "message_stop")
        ]

    @pytest.mark.parametrize("error", [{"type": "error", "error": {"type": "overloaded_error"}}])
    def test_an_error_of_the_api_is_a_failure_that_clients_are_told_in_our_words(self, error: dict[str, Any]):
        for item in (error, f"event: error\ndata: {json.dumps(error)}\n\n".encode()):
            with pytest.raises(ProducerError):
                encoder().encode(item)

    @pytest.mark.parametrize(
        ("item", "says"),
        [
            ({"type": "text-delta", "delta": "x"}, "know no event of the type 'text-delta'"),
            ({"delta": "x"}, "know no event like"),
            (object(), "Cannot stream builtins.object: Yield str for text"),
            (block_delta(0, "text_delta", text="x"), "yield its content_block_start first"),
            ({"type": "content_block_start", "index": 0}, "mapping with a 'type'"),
        ],
    )
    def test_what_cannot_be_encoded_is_refused_with_the_fix(self, item: Any, says: str):
        with pytest.raises(TypeError, match=says):
            encoder().encode(item)

    @pytest.mark.parametrize("delta", [None, {}, {"type": "text_delta"}, {"type": "text_delta", "text": 1}])
    def test_a_delta_that_clients_would_fail_at_is_refused(self, delta: Any):
        making = encoder()
        making.encode(block_start(0))
        with pytest.raises(TypeError, match="would fail at the delta"):
            making.encode({"type": "content_block_delta", "index": 0, "delta": delta})


# -- what the stock client makes of it ---------------------------------------------------------------------------------


@st.composite
def _calls(draw: st.DrawFn, index: int) -> list[Any]:
    text = encode(draw(json_objects))
    cut = draw(st.integers(0, len(text)))
    pieces = [block_delta(index, "input_json_delta", partial_json=piece) for piece in (text[:cut], text[cut:])]
    return [block_start(index, "tool_use", id="c", name="weather", input={}), *pieces, block_stop(index)]


@st.composite
def _blocks(draw: st.DrawFn, index: int) -> list[Any]:
    kind = draw(st.sampled_from(["text", "thinking", "tool_use"]))
    if kind == "tool_use":
        return draw(_calls(index))
    deltas = [block_delta(index, f"{kind}_delta", **{kind: text}) for text in draw(st.lists(texts, max_size=3))]
    return [block_start(index, kind, **{kind: draw(texts)}), *deltas, block_stop(index)]


@st.composite
def _raw_messages(draw: st.DrawFn) -> list[Any]:
    blocks = [event for index in range(draw(st.integers(0, 3))) for event in draw(_blocks(index))]
    whole = [message_start(), *blocks, message_delta(draw(st.sampled_from(["end_turn", "max_tokens"]))), MESSAGE_STOP]
    return whole[draw(st.integers(0, 1)) : draw(st.integers(1, len(whole)))]


def _chat_chunk(delta: dict[str, Any]) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


@st.composite
def _chat_calls(draw: st.DrawFn) -> list[Any]:
    function = {"name": "weather", "arguments": draw(st.one_of(texts, json_objects.map(encode), st.just("5")))}
    number = draw(st.integers(0, 1))
    return [_chat_chunk({"tool_calls": [{"index": number, "id": f"c{number}", "function": function}]})]


generations = st.lists(
    st.one_of(
        st.lists(texts, max_size=3),
        texts.map(lambda text: [_chat_chunk({"reasoning_content": text})]),
        _chat_calls(),
        _raw_messages(),
    ),
    max_size=4,
).map(lambda parts: [item for part in parts for item in part])
endings = st.sampled_from(["finish", "stop", "fail", "interrupt"])


@settings(max_examples=150)
@given(items=generations, ending=endings, is_observed=st.booleans())
def test_the_stock_client_takes_every_generation_however_it_ends_and_makes_the_same_of_it(
    anthropic: NodeClient, items: list[Any], ending: str, is_observed: bool
):
    making = encoder()
    chunks = [chunk for item in items for chunk in making.encode(item)]
    if is_observed and ending != "finish":
        making = encoder()
        for chunk in chunks:
            making.observe(chunk)
    text = ["It broke."] if ending in ("fail", "interrupt") else []
    chunks += getattr(making, ending)(*text)

    made = anthropic.ask("gather", body=frames(chunks))

    assert made.get("error") == ("It broke." if text else None)
    if made["message"] is not None:
        made["message"].pop("parsed_output", None)
    assert folded(chunks) == made["message"]
    assert made["events"].count("message_start") == (made["message"] is not None)
    assert made["events"].count("message_stop") == (not text)


@settings(max_examples=200)
@given(value=json_objects, cut=st.floats(0, 1), blank=st.sampled_from(["", " "]))
def test_cut_json_is_completed_as_the_client_does(anthropic: NodeClient, value: Any, cut: float, blank: str):
    text = json.dumps(value)
    text = text[: round(len(text) * cut)] + blank

    making = encoder()
    call = block_start(0, "tool_use", id="c", name="weather", input={})
    chunks = making.encode(call) + making.encode(block_delta(0, "input_json_delta", partial_json=text)) + making.stop()
    made = anthropic.ask("gather", body=frames(chunks))

    assert json.loads(json.dumps(parse_cut_json(text)), parse_int=float) == made["message"]["content"][0]["input"]


class TestRequests:
    def test_the_body_of_the_sdk_is_read_with_the_chats_id(self):
        image = {"role": "user", "content": [{"type": "image", "source": {}}, {"type": "text", "text": "?"}]}
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, image]
        asked = FORMAT.parse_request({"id": "c1", "model": "m", "max_tokens": 9, "messages": messages})
        assert asked.chat_id == "c1"
        assert [{**message, "id": ""} for message in asked.messages] == [{**message, "id": ""} for message in messages]
        assert all(message["id"] for message in asked.messages)

    @pytest.mark.parametrize(
        "messages",
        [
            None,
            [],
            ["Hi"],
            [{"role": "tool", "content": "x"}],
            [{"role": "user"}],
            [{"role": "user", "content": [1]}],
            [{"role": "user", "content": [{"type": "text"}]}],
            [{"role": "user", "content": "x", "id": 1}],
        ],
    )
    def test_a_body_that_cannot_be_read_is_refused_with_what_to_send(self, messages: Any):
        with pytest.raises(InvalidRequestError, match="must"):
            FORMAT.parse_request({"id": "c1", "messages": messages})


class TestFolding:
    def test_a_chat_is_the_users_messages_and_anthropics_own(self):
        making = encoder()
        chunks = making.encode("Hi") + making.finish()
        generation = StoredGeneration(generation_id="g1", message_id="m1", user_messages=[USER], chunks=chunks)
        user, answer = FORMAT.fold([generation, StoredGeneration(generation_id="g2")])
        assert user == USER
        assert (answer["id"], answer["role"], answer["content"]) == (
            "m1",
            "assistant",
            [{"type": "text", "text": "Hi"}],
        )

    def test_records_of_other_programs_are_passed_over(self):
        assert folded(["no JSON", "[]", '{"type": 1}', *map(encode, [block_start(0), *RAW])]) == folded(
            list(map(encode, RAW))
        )
