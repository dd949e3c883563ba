from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import ChunkEncoder, ChunkFormat, EndReason, GenerationFacts, StoredGeneration
from resumable_stream.formats.agui import AGUIFormat
from resumable_stream.formats.jsontext import encode
from resumable_stream.formats.tanstack import TanStackFormat

from .agui_strategies import chat_chunk, foreign_items, items_and_snapshots, items_of_every_version, with_ids_of
from .ai_client import NodeClient

FORMAT = AGUIFormat()
ENDS = {
    "finish": lambda encoder: encoder.finish(),
    "stop": lambda encoder: encoder.stop(),
    "fail": lambda encoder: encoder.fail("Sorry."),
    "interrupt": lambda encoder: encoder.interrupt("Gone."),
}
RUN = {"runId": "run-0", "threadId": "chat"}
STARTED = {"type": "RUN_STARTED", **RUN}
FINISHED = {"type": "RUN_FINISHED", **RUN}


def facts(number: int = 0, protocol_version: str = "1.0") -> GenerationFacts:
    user = {"id": f"u{number}", "role": "user", "content": "Hello"}
    names = {"generation_id": f"g{number}", "message_id": f"a-{number}", "run_id": f"run-{number}"}
    return GenerationFacts(chat_id="chat", user_messages=[user], protocol_version=protocol_version, **names)


def generation(encoder: ChunkEncoder, produced: list[Any], end: str) -> list[str]:
    chunks = encoder.start()
    for item in produced:
        chunks += encoder.encode(item)
    return chunks + ENDS[end](encoder)


def events(*produced: Any, end: str = "finish") -> list[dict[str, Any]]:
    return [json.loads(chunk) for chunk in generation(FORMAT.encoder(facts()), list(produced), end)]


def kinds(*produced: Any, end: str = "finish") -> list[str]:
    """The types of the events between the run's beginning and its end."""
    return [event["type"] for event in events(*produced, end=end)][1:-1]


def text(message_id: str, *deltas: str) -> list[dict[str, Any]]:
    message = {"messageId": message_id}
    pieces = [{"type": "TEXT_MESSAGE_CONTENT", **message, "delta": delta} for delta in deltas]
    begin = {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
    return [begin, *pieces, {"type": "TEXT_MESSAGE_END", **message}]


def call(call_id: str, name: str, *deltas: str, parent: str) -> list[dict[str, Any]]:
    named = {"toolCallId": call_id}
    begin = {"type": "TOOL_CALL_START", **named, "toolCallName": name, "parentMessageId": parent}
    return [
        begin,
        *({"type": "TOOL_CALL_ARGS", **named, "delta": delta} for delta in deltas),
        {"type": "TOOL_CALL_END", **named},
    ]


def answer(call_id: str, content: str) -> dict[str, Any]:
    ids = {"messageId": f"tool-{call_id}", "toolCallId": call_id}
    return {"type": "TOOL_CALL_RESULT", **ids, "role": "tool", "content": content}


def model_message(kind: str, **fields: Any) -> dict[str, Any]:
    """A LangChain message, which says things that have events of their own in one."""
    return {"type": kind, "response_metadata": {}, "content": "", **fields}


CALL = model_message("ai", tool_calls=[{"id": "c1", "name": "weather", "args": {"city": "Paris"}}])
RESULT = model_message("tool", tool_call_id="c1", content=[{"type": "text", "text": "Sunny"}])


def comparable(messages: list[dict[str, Any]]) -> Any:
    return json.loads(encode(messages), parse_int=float)


def runs_of(produced: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[list[Any], str]]]:
    """Several runs, each of what is produced and its end; none comes after one that waits for people."""
    run = st.tuples(st.lists(produced, max_size=10), st.sampled_from(list(ENDS)))
    return st.lists(run, min_size=1, max_size=3).filter(lambda runs: not any(waits(items) for items, _ in runs[:-1]))


def waits(items: list[Any]) -> bool:
    outcomes = [item.get("outcome") for item in items if isinstance(item, dict)]
    return any(outcome["type"] == "interrupt" for outcome in outcomes if outcome)


played = runs_of(items_and_snapshots)


def play(
    format_: ChunkFormat, played: list[tuple[list[Any], str]], protocol_version: str = "1.0"
) -> list[StoredGeneration]:
    return [
        StoredGeneration(
            generation_id=f"g{number}",
            message_id=f"a-{number}",
            user_messages=facts(number).user_messages,
            chunks=generation(format_.encoder(facts(number, protocol_version)), with_ids_of(number, produced), end),
        )
        for number, (produced, end) in enumerate(played)
    ]


def as_runs(stored: list[StoredGeneration]) -> list[dict[str, Any]]:
    return [{"runId": f"run-{at}", "users": one.user_messages, "chunks": one.chunks} for at, one in enumerate(stored)]


class TestTheStockClient:
    @settings(max_examples=150)
    @given(played=played)
    def test_it_takes_every_run_and_holds_what_the_fold_says(
        self, agui: NodeClient, played: list[tuple[list[Any], str]]
    ):
        stored = play(FORMAT, played)
        client = agui.ask("runs", runs=as_runs(stored))
        assert client["errors"] == []
        assert comparable(client["messages"]) == comparable(FORMAT.fold(stored))

    @settings(max_examples=100)
    @given(played=played)
    def test_it_takes_every_run_of_the_tanstack_format_too(self, agui: NodeClient, played: list[tuple[list[Any], str]]):
        client = agui.ask("runs", runs=as_runs(play(TanStackFormat(), played)))
        assert client["errors"] == []

    @settings(max_examples=50)
    @given(produced=st.lists(foreign_items, max_size=10), end=st.sampled_from(list(ENDS)))
    def test_it_knows_every_field_of_what_is_made_of_other_producers(
        self, agui: NodeClient, produced: list[Any], end: str
    ):
        client = agui.ask("runs", runs=as_runs(play(FORMAT, [(produced, end)])))
        assert (client["errors"], client["warnings"]) == ([], [])

    @pytest.mark.parametrize(("end", "outcome"), [("finish", None), ("stop", "cancelled")])
    def test_it_is_told_of_a_stop(self, agui: NodeClient, end: str, outcome: str | None):
        client = agui.ask("runs", runs=as_runs(play(FORMAT, [(["Hel"], end)])))
        assert client["outcomes"] == [outcome]

    def test_a_snapshot_takes_the_place_of_its_messages(self, agui: NodeClient):
        messages = FORMAT.fold(play(FORMAT, [(["Hi", CALL, RESULT, "Sunny."], "finish")]))
        run = {"runId": "run-1", "users": [], "chunks": [encode(STARTED), FORMAT.snapshot(messages), encode(FINISHED)]}
        client = agui.ask("runs", runs=[run])
        assert (client["errors"], client["warnings"]) == ([], [])
        assert client["messages"] == messages


class TestAClientBefore10:
    @settings(max_examples=150)
    @given(played=runs_of(items_of_every_version))
    def test_it_takes_every_run(self, old_agui: NodeClient, played: list[tuple[list[Any], str]]):
        client = old_agui.ask("runs", runs=as_runs(play(FORMAT, played, protocol_version="")))
        assert client["errors"] == []

    @pytest.mark.parametrize("end", list(ENDS))
    def test_it_takes_every_end_of_text_and_calls(self, old_agui: NodeClient, end: str):
        stored = play(FORMAT, [(["Hel", CALL, RESULT, "lo"], end)], protocol_version="")
        client = old_agui.ask("runs", runs=as_runs(stored))
        assert client["errors"] == []
        assert comparable(client["messages"]) == comparable(FORMAT.fold(stored))

    def test_it_is_told_of_a_stop_where_it_looks_at_nothing(self):
        encoder = FORMAT.encoder(facts(protocol_version=""))
        assert json.loads(encoder.stop()[-1]) == {
            **FINISHED,
            "metadata": {"resumable_stream": {"outcome": "cancelled"}},
        }

    def test_the_producers_own_stop_is_one_for_the_server(self):
        encoder = FORMAT.encoder(facts(protocol_version=""))
        encoder.encode({**FINISHED, "outcome": {"type": "cancelled"}, "metadata": {"a": 1}})
        assert encoder.end is EndReason.STOPPED
        assert json.loads(encoder.finish()[-1]) == {
            **FINISHED,
            "metadata": {"a": 1, "resumable_stream": {"outcome": "cancelled"}},
        }

    @pytest.mark.parametrize(
        ("parts", "text"),
        [
            ([{"type": "text", "text": "Sun"}, {"type": "text", "text": "ny"}], "Sunny"),
            ([{"type": "image", "source": {}}], '[{"type":"image","source":{}}]'),
            ([], "[]"),
        ],
    )
    def test_a_tools_result_of_parts_becomes_text(self, parts: list[Any], text: str):
        result = {"type": "TOOL_CALL_RESULT", "messageId": "t", "toolCallId": "c"}
        encoder = FORMAT.encoder(facts(protocol_version=""))
        encoder.start()
        assert [json.loads(chunk) for chunk in encoder.encode({**result, "content": parts})] == [
            {**result, "content": text}
        ]


class TestTheRun:
    def test_it_begins_with_the_claim(self):
        assert [json.loads(chunk) for chunk in FORMAT.encoder(facts()).start()] == [STARTED]

    def test_a_run_without_a_name_has_the_generations(self):
        encoder = FORMAT.encoder(GenerationFacts(generation_id="g", message_id="m"))
        assert json.loads(encoder.start()[0]) == {"type": "RUN_STARTED", "runId": "g", "threadId": ""}

    def test_the_producers_own_beginning_and_ends_are_one_with_ours(self):
        found = events(
            {"type": "RUN_STARTED", "runId": "its", "threadId": "own"},
            *call("c1", "weather", "{}", parent="m"),
            {"type": "RUN_FINISHED", "runId": "its", "threadId": "own", "finishReason": "tool_calls"},
            {**answer("c1", "Sunny"), "messageId": "t"},
            {"type": "RUN_STARTED", "runId": "its second", "threadId": "own"},
            *text("m2", "Sunny"),
            {"type": "RUN_FINISHED", "runId": "its second", "threadId": "own", "result": 5},
        )
        assert [found[0], found[-1]] == [STARTED, {**FINISHED, "result": 5}]
        assert not [event for event in found[1:-1] if event["type"].startswith("RUN_")]

    def test_the_producers_error_is_its_last_word(self):
        encoder = FORMAT.encoder(facts())
        chunks = generation(encoder, ["Hel", {"type": "RUN_ERROR", "message": "Full.", "code": "x"}, "lo"], "finish")
        assert encoder.end is EndReason.FAILED
        assert [json.loads(chunk) for chunk in chunks] == [
            STARTED,
            *text("a-0", "Hel", "lo"),
            {"type": "RUN_ERROR", "message": "Full.", "code": "x"},
        ]

    @pytest.mark.parametrize("end", ["finish", "fail"])
    def test_of_several_errors_of_the_producer_the_first_is_told(self, end: str):
        errors = [{"type": "RUN_ERROR", "message": message} for message in ("first", "second")]
        assert events(*errors, end=end) == [STARTED, errors[0]]

    @pytest.mark.parametrize(
        ("outcome", "end"),
        [
            ({}, EndReason.FINISHED),
            ({"outcome": {"type": "cancelled"}}, EndReason.STOPPED),
            ({"outcome": {"type": "interrupt", "interrupts": []}}, EndReason.FINISHED),
        ],
    )
    def test_the_producers_end_says_how_it_ended(self, outcome: dict[str, Any], end: EndReason):
        encoder = FORMAT.encoder(facts())
        encoder.encode({**FINISHED, **outcome})
        assert encoder.end is end
        assert json.loads(encoder.finish()[-1]) == {**FINISHED, **outcome}

    def test_more_after_the_producers_end_takes_it_back(self):
        encoder = FORMAT.encoder(facts())
        encoder.encode({**FINISHED, "result": 1})
        encoder.encode("Hello")
        assert encoder.end is None
        assert json.loads(encoder.finish()[-1]) == FINISHED

    def test_failure_and_interruption_differ_by_a_code(self):
        assert events(end="fail")[-1] == {"type": "RUN_ERROR", "message": "Sorry."}
        assert events(end="interrupt")[-1] == {"type": "RUN_ERROR", "message": "Gone.", "code": "interrupted"}

    @pytest.mark.parametrize("end", ["finish", "stop", "fail", "interrupt"])
    def test_whatever_is_open_is_closed_from_within(self, end: str):
        opened = [
            {"type": "STEP_STARTED", "stepName": "plan"},
            {"type": "SUBAGENT_STARTED", "subagentRunId": "sub", "name": "helper"},
            {"type": "STEP_STARTED", "stepName": "plan", "subagentRunId": "sub"},
            {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
            {"type": "REASONING_START", "messageId": "r"},
            {"type": "REASONING_MESSAGE_START", "messageId": "r", "role": "reasoning"},
            {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "weather"},
        ]
        assert events(*opened, end=end)[1 + len(opened) : -1] == [
            {"type": "TOOL_CALL_END", "toolCallId": "c"},
            {"type": "REASONING_MESSAGE_END", "messageId": "r"},
            {"type": "REASONING_END", "messageId": "r"},
            {"type": "TEXT_MESSAGE_END", "messageId": "m"},
            {"type": "STEP_FINISHED", "stepName": "plan", "subagentRunId": "sub"},
            {"type": "STEP_FINISHED", "stepName": "plan"},
            {"type": "SUBAGENT_FINISHED", "subagentRunId": "sub"},
        ]

    @settings(max_examples=60)
    @given(
        produced=st.lists(items_and_snapshots, max_size=10),
        cut=st.integers(0, 30),
        end=st.sampled_from(["stop", "interrupt"]),
        format_=st.sampled_from([FORMAT, TanStackFormat()]),
    )
    def test_a_stranger_ends_a_run_as_its_writer_would(
        self, produced: list[Any], cut: int, end: str, format_: ChunkFormat
    ):
        writer = format_.encoder(facts())
        stored = writer.start()
        for item in produced[:cut]:
            stored += writer.encode(item)
        stranger = format_.encoder(GenerationFacts(generation_id="g0", message_id="a-0", protocol_version="1.0"))
        for chunk in stored:
            stranger.observe(chunk)
        assert ENDS[end](copy.deepcopy(stranger)) == ENDS[end](writer)

    def test_another_programs_records_are_passed_over(self):
        encoder = FORMAT.encoder(facts())
        for chunk in ["", "no JSON", "5", '{"no": "type"}', '{"type": 5}', "NaN"]:
            encoder.observe(chunk)
        assert [json.loads(chunk) for chunk in encoder.stop()] == [
            STARTED,
            {**FINISHED, "outcome": {"type": "cancelled"}},
        ]

    def test_a_run_that_another_program_ended_is_not_ended_again(self):
        encoder = FORMAT.encoder(facts())
        encoder.observe(encode(STARTED))
        encoder.observe(encode({**FINISHED, "finishReason": "tool_calls"}))
        assert [json.loads(chunk)["type"] for chunk in copy.deepcopy(encoder).stop()] == ["RUN_FINISHED"]
        encoder.observe(encode(FINISHED))
        assert encoder.stop() == []


class TestOtherProducers:
    def test_text_is_one_message(self):
        assert events("Hel", "", "lo", None)[1:-1] == text("a-0", "Hel", "lo")

    def test_reasoning_is_a_message_of_its_own(self):
        found = events(chat_chunk({"reasoning_content": "Hm"}), chat_chunk({"reasoning_content": "m"}), "Hi")
        message = {"messageId": "a-0-reasoning-1"}
        assert found[1:-1] == [
            {"type": "REASONING_START", **message},
            {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"},
            {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": "Hm"},
            {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": "m"},
            {"type": "REASONING_MESSAGE_END", **message},
            {"type": "REASONING_END", **message},
            *text("a-0", "Hi"),
        ]

    def test_what_follows_a_result_is_a_message_of_its_own(self):
        content = '[{"type":"text","text":"Sunny"}]'
        assert events("Let me see.", CALL, RESULT, "Sunny.")[1:-1] == [
            *text("a-0", "Let me see."),
            *call("c1", "weather", '{"city":"Paris"}', parent="a-0"),
            answer("c1", content),
            *text("a-0-2", "Sunny."),
        ]

    def test_a_calls_input_is_sent_once(self):
        def delta(arguments: str, **fields: Any) -> dict[str, Any]:
            return chat_chunk(
                {"tool_calls": [{"index": 0, "function": {"arguments": arguments, **fields}, "id": "c1"}]}
            )

        found = events(delta('{"city":', name="weather"), delta('"Paris"}'), CALL)
        assert found[1:-1] == call("c1", "weather", '{"city":', '"Paris"}', parent="a-0")

    def test_a_call_without_input_has_an_empty_object(self):
        empty = chat_chunk({"tool_calls": [{"index": 0, "function": {"name": "now", "arguments": ""}, "id": "c1"}]})
        assert events(empty)[1:-1] == call("c1", "now", "{}", parent="a-0")

    def test_input_that_is_no_json_is_sent_as_it_is(self):
        torn = chat_chunk({"tool_calls": [{"index": 0, "function": {"name": "now", "arguments": "{"}, "id": "c1"}]})
        assert events(torn)[1:-1] == call("c1", "now", "{", parent="a-0")

    def test_a_tools_failure_is_its_result(self):
        failed = {**RESULT, "status": "error", "content": "No network."}
        assert events(CALL, failed)[-2] == answer("c1", '{"error":"No network."}')

    def test_the_protocols_shorthands_become_whole_messages(self):
        found = events(
            {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "Hi"},
            {"type": "TOOL_CALL_CHUNK", "toolCallId": "c1", "toolCallName": "weather", "delta": "{"},
            {"type": "TOOL_CALL_CHUNK", "delta": "}"},
            {"type": "TOOL_CALL_CHUNK", "toolCallId": "c2", "toolCallName": "search", "delta": "{}"},
        )
        assert found[1:-1] == [
            *text("a-0", "Hi"),
            *call("c1", "weather", "{", "}", parent="a-0"),
            *call("c2", "search", "{}", parent="a-0"),
        ]

    def test_text_after_a_snapshot_is_a_message_of_its_own(self):
        snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": []}
        assert events("Hel", snapshot, "lo")[1:-1] == [*text("a-0", "Hel"), snapshot, *text("a-0-2", "lo")]


class TestOwnEvents:
    def test_they_go_out_as_they_are(self):
        own = [
            *text("m1", "Hi"),
            {"type": "CUSTOM", "name": "sources", "value": [1, {"a": None}]},
            {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/a", "value": 1}], "timestamp": 5},
            *call("c1", "weather", "{}", parent="m1"),
        ]
        assert events(*own)[1:-1] == own

    def test_the_text_so_far_is_not_stored_with_every_piece(self):
        begin, piece, end = text("m1", "Hi")
        assert events(begin, {**piece, "content": "Hi"}, end)[1:-1] == [begin, piece, end]

    def test_a_message_that_goes_on_unopened_is_opened(self):
        begin, piece, end = text("m1", "Hi")
        assert events(piece)[1:-1] == [begin, piece, end]
        assert kinds({"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "Hm"}) == [
            *("REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END")
        ]

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "TEXT_MESSAGE_END", "messageId": "m1"},
            {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": "{}"},
            {"type": "TOOL_CALL_END", "toolCallId": "c1"},
            {"type": "REASONING_END", "messageId": "r"},
            {"type": "STEP_FINISHED", "stepName": "plan"},
            {"type": "SUBAGENT_FINISHED", "subagentRunId": "sub"},
        ],
        ids=lambda event: event["type"],
    )
    def test_what_has_no_place_is_left_out(self, event: dict[str, Any]):
        assert kinds(event) == []

    def test_values_that_a_model_leaves_out_are_null(self):
        assert events({"type": "CUSTOM", "name": "x"})[1] == {"type": "CUSTOM", "name": "x", "value": None}

    @pytest.mark.parametrize(
        ("item", "problem"),
        [
            ({"type": "text-delta", "delta": "Hi"}, "no event of the type 'text-delta'.* Yield str .*'CUSTOM'"),
            ({"kind": "x"}, r"a mapping with the keys \['kind'\]"),
            (b"data: 5\n\n", "not 5"),
            ({"type": "TEXT_MESSAGE_CONTENT", "delta": "Hi"}, "TEXT_MESSAGE_CONTENT needs 'messageId', a str"),
            ({"type": "TOOL_CALL_START", "toolCallId": "c"}, "TOOL_CALL_START needs 'toolCallName', a str"),
            (object(), "Cannot stream builtins.object"),
        ],
    )
    def test_what_cannot_be_encoded_is_named(self, item: object, problem: str):
        with pytest.raises(TypeError, match=problem):
            FORMAT.encoder(facts()).encode(item)

    def test_what_came_before_it_is_kept(self):
        encoder = FORMAT.encoder(facts())
        encoder.start()
        with pytest.raises(TypeError):
            encoder.encode(b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hi"}\n\ndata: {}\n\n')
        assert [json.loads(chunk) for chunk in encoder.fail("Sorry.")][:-1] == text("m", "Hi")
