from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resumable_stream.formats import GenerationFacts, Message, StoredGeneration
from resumable_stream.formats.javascript import trim
from resumable_stream.formats.jsontext import encode
from resumable_stream.formats.tanstack import TanStackFormat

from .agui_strategies import chat_chunk, items, with_ids_of
from .ai_client import NodeClient
from .test_agui_encoder import CALL, ENDS, FINISHED, RESULT, STARTED, answer, call, generation, text

FORMAT = TanStackFormat()
STOP = {"finishReason": "stop", "metadata": {"tanstack": {"finishReason": "stop"}}}


REASONING = [
    {"type": "REASONING_START", "messageId": "r1"},
    {"type": "REASONING_MESSAGE_START", "messageId": "r1", "role": "reasoning"},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r1", "delta": "Hm"},
    {"type": "REASONING_MESSAGE_END", "messageId": "r1"},
    {"type": "REASONING_END", "messageId": "r1"},
]
OWN_CALL = [*call("c1", "weather", "{}", parent="m1"), answer("c1", "Sunny")]
OWN_MESSAGES = {
    "reasoning and text": [*REASONING, *text("m1", "Hello")],
    "reasoning under the message's id": [
        *({**event, "messageId": "m1"} for event in REASONING[:3]),
        *text("m1", "Hello"),
        *({**event, "messageId": "m1"} for event in REASONING[3:]),
    ],
    "reasoning and a call": [*REASONING, *OWN_CALL],
    "reasoning, a call and text": [*REASONING, *OWN_CALL, *text("m1", "Sunny.")],
    "reasoning, text and a call": [*REASONING, *text("m1", "Let me see."), *OWN_CALL],
    "a call and text": [*OWN_CALL, *text("m1", "Sunny.")],
    "a step, a call and text": [
        {"type": "STEP_STARTED", "stepName": "plan"},
        {"type": "STEP_FINISHED", "stepName": "plan"},
        *OWN_CALL,
        *text("m1", "Sunny."),
    ],
}


def user_message(number: int, *parts: Any) -> Message:
    return {"id": f"u{number}", "role": "user", "parts": list(parts or [{"type": "text", "content": "Hello"}])}


def facts(number: int = 0, *, users: list[Message] | None = None) -> GenerationFacts:
    names = {"generation_id": f"g{number}", "message_id": f"a-{number}", "run_id": f"run-{number}"}
    return GenerationFacts(chat_id="chat", user_messages=[user_message(number)] if users is None else users, **names)


def events(*produced: Any, end: str = "finish") -> list[dict[str, Any]]:
    """The events after the run's beginning."""
    encoder = FORMAT.encoder(facts(users=[]))
    return [json.loads(chunk) for chunk in generation(encoder, list(produced), end)][1:]


def echo(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    encoder = FORMAT.encoder(facts(users=[user_message(0, *parts)]))
    return [json.loads(chunk) for chunk in encoder.start()][1:]


def empty(message_id: str) -> list[dict[str, Any]]:
    """What begins a message that has no text yet."""
    return text(message_id)


def comparable(messages: list[dict[str, Any]]) -> Any:
    """As they are in JavaScript, without times, and without blank answers: after an error, clients keep those."""
    bare = json.loads(encode([message for message in messages if not is_blank(message)]), parse_int=float)
    return [{name: value for name, value in message.items() if name != "createdAt"} for message in bare]


def is_blank(message: dict[str, Any]) -> bool:
    parts = message["parts"]
    return bool(parts) and all(part["type"] == "text" and not trim(part["content"]) for part in parts)


# A tab that listens goes on with some things of the generation before, where the sender's forgets them.
_forgotten = ("structured-output.start", "approval-requested")
ended = st.tuples(
    st.lists(items.filter(lambda item: not (isinstance(item, dict) and item.get("name") in _forgotten)), max_size=10),
    st.sampled_from(list(ENDS)),
)


class TestTheStockClient:
    @settings(max_examples=150)
    @given(played=st.lists(ended, min_size=1, max_size=3))
    def test_a_tab_that_only_listens_holds_what_the_fold_says(
        self, tanstack: NodeClient, played: list[tuple[list[Any], str]]
    ):
        stored = [
            StoredGeneration(
                generation_id=f"g{number}",
                message_id=f"a-{number}",
                user_messages=facts(number).user_messages,
                chunks=generation(FORMAT.encoder(facts(number)), with_ids_of(number, produced), end),
            )
            for number, (produced, end) in enumerate(played)
        ]
        client = tanstack.ask("listener", chunks=[chunk for one in stored for chunk in one.chunks], messages=[])
        assert comparable(client["messages"]) == comparable(FORMAT.fold(stored))

    @pytest.mark.parametrize("library", ["tanstack", "old_tanstack"])
    @pytest.mark.parametrize(
        "parts",
        [
            [{"type": "text", "content": "Hello"}],
            [{"type": "text", "content": "See"}, {"type": "image", "source": {"type": "url", "value": "https://x"}}],
            [{"type": "image", "source": {"type": "url", "value": "https://x"}}, {"type": "text", "content": "See"}],
            [],
        ],
        ids=["text", "text and image", "image and text", "nothing"],
    )
    def test_the_senders_own_message_stays_as_it_is(
        self, request: pytest.FixtureRequest, library: str, parts: list[dict[str, Any]]
    ):
        message = {"id": "u0", "role": "user", "parts": parts}
        chunks = generation(FORMAT.encoder(facts(users=[message])), ["Hi"], "finish")
        client = request.getfixturevalue(library).ask("listener", chunks=chunks, messages=[message])
        assert [one["parts"] for one in client["messages"]] == [parts, [{"type": "text", "content": "Hi"}]]

    @pytest.mark.parametrize("tab", ["sender", "listener"])
    @pytest.mark.parametrize("library", ["tanstack", "old_tanstack"])
    @pytest.mark.parametrize("produced", OWN_MESSAGES.values(), ids=OWN_MESSAGES)
    def test_a_producers_message_is_one_message(
        self, request: pytest.FixtureRequest, library: str, tab: str, produced: list[dict[str, Any]]
    ):
        client, user = request.getfixturevalue(library), user_message(0)
        chunks = generation(FORMAT.encoder(facts()), produced, "finish")
        raw = [encode(event) for event in produced]

        def parts_after(given: list[str]) -> list[Any]:
            played = {"generations": [{"users": [user], "chunks": given}], "messages": []}
            if tab == "listener":
                played = {"chunks": given, "messages": [user]}
            messages = client.ask(tab, **played)["messages"]
            return [message["parts"] for message in messages if message["role"] == "assistant"]

        assert len(parts_after(raw)) == 1
        assert parts_after(chunks) == parts_after(raw)

    def test_structured_output_after_reasoning_is_in_the_same_message(self, tanstack: NodeClient):
        produced = [
            *REASONING,
            {"type": "CUSTOM", "name": "structured-output.start", "value": {"messageId": "m1"}},
            *text("m1", '{"a":1}'),
            {"type": "CUSTOM", "name": "structured-output.complete", "value": {"object": {"a": 1}, "raw": '{"a":1}'}},
        ]
        chunks = generation(FORMAT.encoder(facts()), produced, "finish")
        messages = tanstack.ask("listener", chunks=chunks, messages=[])["messages"]
        assert [(message["id"], [part["type"] for part in message["parts"]]) for message in messages] == [
            ("u0", ["text"]),
            ("a-0", ["thinking", "structured-output"]),
        ]

    @pytest.mark.parametrize("library", ["tanstack", "old_tanstack"])
    def test_a_snapshot_takes_the_place_of_all_messages(self, request: pytest.FixtureRequest, library: str):
        first = generation(FORMAT.encoder(facts(0)), ["Let me see.", CALL, RESULT, "Sunny."], "finish")
        second = generation(FORMAT.encoder(facts(1)), [chat_chunk({"reasoning": "Hm"}), "Yes"], "stop")
        stored = [
            StoredGeneration(
                generation_id=f"g{number}", message_id=f"a-{number}", user_messages=one.user_messages, chunks=chunks
            )
            for number, (one, chunks) in enumerate([(facts(0), first), (facts(1), second)])
        ]
        messages = FORMAT.fold(stored)
        dated = [{**message, "createdAt": "2026-01-01T00:00:00Z"} for message in messages]
        client = request.getfixturevalue(library).ask(
            "listener", chunks=[FORMAT.snapshot(dated)], messages=[user_message(9)]
        )
        assert [message["id"] for message in messages] == ["u0", "a-0", "u1", "a-1"]
        assert client["messages"] == messages

    def test_a_run_goes_on_after_the_snapshot_of_what_was_before(self, tanstack: NodeClient):
        history = [user_message(8), {"id": "a-8", "role": "assistant", "parts": [{"type": "text", "content": "Hi"}]}]
        chunks = generation(FORMAT.encoder(facts(0)), [chat_chunk({"reasoning": "Hm"}), "Yes"], "finish")
        client = tanstack.ask("listener", chunks=[FORMAT.snapshot(history), *chunks], messages=[])
        assert [message["id"] for message in client["messages"]] == ["u8", "a-8", "u0", "a-0"]
        assert [part["type"] for part in client["messages"][-1]["parts"]] == ["thinking", "text"]


class TestTheEcho:
    def test_it_follows_the_beginning_of_the_run(self):
        chunks = [json.loads(chunk) for chunk in FORMAT.encoder(facts()).start()]
        begin, piece, end = text("u0", "Hello")
        assert chunks == [STARTED, {**begin, "role": "user"}, piece, end]

    def test_it_is_the_text_that_the_message_ends_with(self):
        parts = [{"type": "text", "content": "Hel"}, {"type": "image"}, {"type": "text", "content": "lo"}]
        assert echo(*parts)[1] == {"type": "TEXT_MESSAGE_CONTENT", "messageId": "u0", "delta": "lo"}

    @pytest.mark.parametrize(
        "part", [{"type": "image"}, {"type": "text", "content": ""}, {"type": "text"}, {"type": "text", "content": 5}]
    )
    def test_a_message_that_ends_otherwise_is_named_without_text(self, part: dict[str, Any]):
        assert [event["type"] for event in echo(part)] == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_END"]

    def test_what_is_not_the_users_is_not_echoed(self):
        continued = {"id": "a", "role": "assistant", "parts": [{"type": "text", "content": "Hi"}]}
        assert len(FORMAT.encoder(facts(users=[continued])).start()) == 1


class TestTheEnd:
    def test_it_says_twice_why(self):
        assert events("Hi")[-1] == {**FINISHED, **STOP}

    def test_a_stop_suits_every_client(self):
        assert events("Hi", end="stop")[-1] == {**FINISHED, "outcome": {"type": "cancelled"}, **STOP}

    @pytest.mark.parametrize("end", ["finish", "stop"])
    def test_only_a_stop_keeps_clients_from_going_on_after_their_own_tools(self, end: str):
        assert events(CALL, end=end)[-1].get("finishReason") == {"finish": None, "stop": "stop"}[end]
        assert events(CALL, RESULT, end=end)[-1]["finishReason"] == "stop"

    @pytest.mark.parametrize(
        "reason",
        [{"finishReason": "tool_calls"}, {"metadata": {"tanstack": {"finishReason": "tool_calls"}}}],
        ids=["top", "metadata"],
    )
    def test_it_never_says_that_the_run_goes_on(self, reason: dict[str, Any]):
        assert events({**FINISHED, **reason})[-1] == FINISHED

    def test_the_producers_reason_is_told_in_both_places(self):
        own = {**FINISHED, "finishReason": "length", "metadata": {"a": 1, "tanstack": {"model": "m"}}}
        metadata = {"a": 1, "tanstack": {"model": "m", "finishReason": "length"}}
        assert events(own)[-1] == {**own, "metadata": metadata}

    def test_an_interrupt_is_told_as_it_is(self):
        outcome = {"type": "interrupt", "interrupts": [{"id": "i", "reason": "approval_required", "toolCallId": "c1"}]}
        last = events(CALL, {**FINISHED, "finishReason": "tool_calls", "outcome": outcome})[-1]
        assert (last["outcome"], last["finishReason"]) == (outcome, "tool_calls")

    @pytest.mark.parametrize(("end", "code"), [("fail", {}), ("interrupt", {"code": "interrupted"})])
    def test_an_error_names_its_run_and_a_message(self, end: str, code: dict[str, str]):
        words = {"fail": "Sorry.", "interrupt": "Gone."}[end]
        error = {"message": words, **code, "runId": "run-0", "threadId": "chat", "error": {"message": words}}
        assert events(end=end) == [*empty("a-0"), {"type": "RUN_ERROR", **error}]
        assert events("Hi", end=end) == [*text("a-0", "Hi"), {"type": "RUN_ERROR", **error}]

    @pytest.mark.parametrize("error", [{"message": "Full."}, {"error": {"message": "Full.", "code": "x"}}])
    def test_the_producers_error_gets_the_runs_name(self, error: dict[str, Any]):
        last = events({"type": "RUN_ERROR", "runId": "its", **error})[-1]
        assert (last["message"], last["runId"], last["error"]) == (
            "Full.",
            "run-0",
            {"message": "Full.", **error.get("error", {})},
        )


class TestTheAnswer:
    def test_it_is_one_message(self):
        content = '[{"type":"text","text":"Sunny"}]'
        assert events("Let me see.", CALL, RESULT, "Sunny.")[:-1] == [
            *text("a-0", "Let me see."),
            *call("c1", "weather", '{"city":"Paris"}', parent="a-0"),
            answer("c1", content),
            *text("a-0", "Sunny."),
        ]

    def test_it_is_begun_before_calls(self):
        assert events(CALL)[:3] == [*empty("a-0"), call("c1", "weather", parent="a-0")[0]]

    def test_reasoning_is_a_step_of_it(self):
        found = events(chat_chunk({"reasoning": "Hm"}), "Hi")
        step, message = {"stepName": "a-0-reasoning-1"}, {"messageId": "a-0-reasoning-1"}
        assert found[:-1] == [
            *empty("a-0"),
            {"type": "STEP_STARTED", **step},
            {"type": "REASONING_START", **message},
            {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"},
            {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": "Hm"},
            {"type": "REASONING_MESSAGE_END", **message},
            {"type": "REASONING_END", **message},
            {"type": "STEP_FINISHED", **step},
            *text("a-0", "Hi"),
        ]

    def test_text_that_reasoning_interrupts_goes_on_in_another_message(self, tanstack: NodeClient):
        chunks = generation(FORMAT.encoder(facts()), ["One", chat_chunk({"reasoning": "Hm"}), "Two"], "finish")
        client = tanstack.ask("listener", chunks=chunks, messages=[])
        assert [(message["id"], [part["content"] for part in message["parts"]]) for message in client["messages"]] == [
            ("u0", ["Hello"]),
            ("a-0", ["One"]),
            ("a-0-2", ["Hm", "Two"]),
        ]

    def test_a_tools_failure_is_told_as_such(self, tanstack: NodeClient):
        failed = {**RESULT, "status": "error", "content": "No network."}
        chunks = generation(FORMAT.encoder(facts()), [CALL, failed], "finish")
        *_, message = tanstack.ask("listener", chunks=chunks, messages=[])["messages"]
        assert [part["state"] for part in message["parts"]] == ["error", "error"]
        assert message["parts"][1]["error"] == "No network."


class TestOwnEvents:
    def test_they_go_out_as_they_are(self):
        own = [*text("m1", "Hi"), *call("c1", "weather", "{}", parent="m1"), *text("m2", "Bye")]
        assert events(*own)[:-1] == own

    def test_the_text_so_far_is_not_stored_with_every_piece(self):
        begin, piece, end = text("m1", "Hi")
        assert events(begin, {**piece, "content": "Hi"}, end)[:-1] == [begin, piece, end]

    def test_a_call_in_a_message_that_is_not_begun_begins_it(self):
        begin, *rest = call("c1", "weather", "{}", parent="m1")
        assert events(begin, *rest)[:-1] == [*empty("m1"), begin, *rest]

    def test_text_after_reasoning_goes_to_the_message_that_was_begun_for_that(self):
        thought = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "Hm"}
        found = events(thought, *text("m1", "Hi"), *call("c1", "weather", "{}", parent="m1"), *text("m2", "Bye"))
        begun = [event["messageId"] for event in found if event["type"] == "TEXT_MESSAGE_START"]
        assert begun == ["a-0", "a-0", "m2"]
        assert [event["parentMessageId"] for event in found if event["type"] == "TOOL_CALL_START"] == ["a-0"]

    def test_our_text_does_not_go_on_after_the_producers_reasoning(self, tanstack: NodeClient):
        thought = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "Hm"}
        chunks = generation(FORMAT.encoder(facts(users=[])), ["One", thought, "Two"], "finish")
        client = tanstack.ask("listener", chunks=chunks, messages=[])
        assert [[part["content"] for part in message["parts"]] for message in client["messages"]] == [
            ["One", "Hm"],
            ["Two"],
        ]
