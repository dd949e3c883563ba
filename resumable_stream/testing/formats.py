"""The contract of a format as tests, for people who write one.

Subclass :class:`FormatContract` and say what to test; pytest and hypothesis have to be installed::

    class TestMyFormat(FormatContract):
        format = "my_app.formats.MyFormat"
        request = {"id": "chat-1", "message": {"id": "u1", "role": "user", "content": "Hello"}}
        own_items = [{"type": "my-data", "data": 1}]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ..exceptions import InvalidRequestError
from ..formats import ChatRequest, ChunkEncoder, ChunkFormat, GenerationFacts, StoredGeneration, get_format
from ..types import EndReason, Message
from .format_examples import LOOKALIKES, any_json, any_text, is_finish, odd_bodies, odd_chunks, produced, spoken_text

ENDS = {
    "finish": EndReason.FINISHED,
    "stop": EndReason.STOPPED,
    "fail": EndReason.FAILED,
    "interrupt": EndReason.INTERRUPTED,
}
ERROR_TEXT = "It broke."

# Tests of a base class run for each of its subclasses.
_inherited = settings(
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None, max_examples=50
)


class FormatContract:
    """All of it. A subclass says which format it is, and what its clients send and its apps yield."""

    format: str | ChunkFormat | type[ChunkFormat]
    """As a view names it: a name, a dotted path, a class or an instance."""
    request: Mapping[str, Any]
    """A body that a client POSTs for an answer, with one message of a person; ``messages`` or ``message``."""
    own_items: Sequence[Any] | st.SearchStrategy[Any] = ()
    """Chunks in the format's own words that an app may yield, each for itself; or a strategy that draws such."""

    # -- what a subclass may say otherwise -------------------------------------------------------------------------

    def text_of(self, message: Message) -> str:
        """Return the text of an answer that holds nothing but text."""
        parts: Any = message.get("parts", message.get("content"))
        if isinstance(parts, str):
            return parts
        assert {part["type"] for part in parts} <= {"text"}
        return "".join(part.get("text", part.get("content")) for part in parts)

    def shown(self, text: str) -> str:
        """Return what clients show of a text: all of it as it is, unless they cannot hold some character."""
        return text

    def check_closed(self, chunks: Sequence[str]) -> None:
        """Check that nothing is open after an answer has ended; by default there is nothing to check."""

    # -- helpers ---------------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> ChunkFormat:
        """The format."""
        return get_format(self.format)

    def asked(self) -> ChatRequest:
        """Parse the request."""
        return self.chosen.parse_request(deepcopy(dict(self.request)))

    def encoder(self, user_messages: Sequence[Message] = ()) -> ChunkEncoder:
        """Make the encoder of one generation."""
        facts = GenerationFacts(
            generation_id="g1", message_id="m1", chat_id="c1", run_id="r1", user_messages=user_messages
        )
        return self.chosen.encoder(facts)

    def items(self) -> st.SearchStrategy[list[Any]]:
        """Draw what a producer may yield."""
        own = self.own_items
        drawn = own if isinstance(own, st.SearchStrategy) else st.sampled_from([*own, None])
        return st.lists(st.one_of(produced, drawn), max_size=6)

    def stored(self, chunks: Sequence[str], end: EndReason | None = None, **fields: Any) -> StoredGeneration:
        """Make a generation of chunks as it stands on the log."""
        given_ids = {"generation_id": "g1", "message_id": "m1", "run_id": "r1"}
        return StoredGeneration(**(given_ids | fields), chunks=chunks, end=end)

    def said(self, *texts: str) -> list[str]:
        """Return the chunks of an answer that has finished."""
        encoder = self.encoder()
        return [*encoder.start(), *encode_each(encoder, texts), *encoder.finish()]

    # -- chunks ----------------------------------------------------------------------------------------------------

    def test_name_and_headers_are_strings(self) -> None:
        chosen = self.chosen
        assert chosen.name
        assert isinstance(chosen.name, str)
        assert all(isinstance(text, str) for header in chosen.headers.items() for text in header)

    @_inherited
    @given(items=st.lists(spoken_text, max_size=4))
    @example(items=[f"data: {json.dumps(chunk)}\n\n" for chunk in LOOKALIKES])
    def test_strings_reach_the_client_as_the_same_text(self, items: list[str]) -> None:
        encoder = self.encoder()
        chunks = [*encoder.start(), *encode_each(encoder, items), *encoder.finish()]
        assert encoder.end in (None, EndReason.FINISHED)
        message = self.chosen.fold_answer(self.stored(chunks, EndReason.FINISHED))
        if message is not None:
            assert (message["id"], message["role"]) == ("m1", "assistant")
        assert ("" if message is None else self.text_of(message)) == self.shown("".join(items))

    @_inherited
    @given(data=st.data(), end=st.sampled_from(list(ENDS)))
    def test_every_chunk_is_strict_json_on_one_line(self, data: st.DataObject, end: str) -> None:
        encoder = self.encoder()
        chunks = [*encoder.start(), *encode_each(encoder, data.draw(self.items())), *ended(encoder, end)]
        for chunk in chunks:
            assert_chunk(chunk)
            self.check_event(chunk)
        self.check_closed(chunks)

    def test_encoders_share_nothing(self) -> None:
        first, second = self.encoder(), self.encoder()
        alone = [*first.start(), *first.encode("a"), *first.finish()]
        assert [*second.start(), *second.encode("a"), *second.finish()] == alone

    @pytest.mark.parametrize("item", [object(), 5, {1, 2}], ids=["object", "int", "set"])
    def test_item_that_cannot_be_encoded_is_refused_and_leaves_the_answer_whole(self, item: Any) -> None:
        encoder = self.encoder()
        chunks = [*encoder.start(), *encoder.encode("a")]
        with pytest.raises(TypeError, match=r"yield|Yield"):
            encoder.encode(item)
        chunks += [*encoder.encode("b"), *encoder.finish()]
        message = self.chosen.fold_answer(self.stored(chunks, EndReason.FINISHED))
        assert message is not None
        assert self.text_of(message) == "ab"

    @pytest.mark.parametrize("item", [None, ""], ids=["None", "empty"])
    def test_item_without_content_adds_no_text(self, item: Any) -> None:
        encoder = self.encoder()
        chunks = [*encoder.start(), *encoder.encode(item), *encoder.encode("a"), *encoder.finish()]
        message = self.chosen.fold_answer(self.stored(chunks, EndReason.FINISHED))
        assert message is not None
        assert self.text_of(message) == "a"

    # -- ends ------------------------------------------------------------------------------------------------------

    @_inherited
    @given(data=st.data(), end=st.sampled_from(["stop", "interrupt"]))
    def test_another_process_ends_an_answer_as_its_writer_would(self, data: st.DataObject, end: str) -> None:
        writer, other = self.encoder(), self.encoder()
        for chunk in [*writer.start(), *encode_each(writer, self.observable(data.draw(self.items())))]:
            other.observe(chunk)
        assert ended(other, end) == ended(writer, end)

    def observable(self, items: list[Any]) -> list[Any]:
        """Return those items of which the writer holds nothing back for a later chunk, as the model's reason to end."""
        return [item for item in items if not is_finish(item)]

    @pytest.mark.parametrize("end", ["stop", "fail", "interrupt"])
    def test_text_before_the_end_is_kept(self, end: str) -> None:
        encoder = self.encoder()
        chunks = [*encoder.start(), *encoder.encode("Hel"), *encoder.encode("lo"), *ended(encoder, end)]
        message = self.chosen.fold_answer(self.stored(chunks, ENDS[end]))
        assert message is not None
        assert self.text_of(message) == "Hello"
        self.check_closed(chunks)

    @pytest.mark.parametrize("reason", list(EndReason))
    def test_event_at_the_end_of_a_body_is_a_name_and_data(self, reason: EndReason) -> None:
        for text, cause in ((None, None), (ERROR_TEXT, "shutdown")):
            event = self.chosen.end_event(reason, text, cause)
            assert event is None or [type(part) for part in event] == [str, str]
        assert self.chosen.nothing_left() is None or len(self.chosen.nothing_left() or ()) == 2

    # -- folding ---------------------------------------------------------------------------------------------------

    def test_answer_is_folded_at_every_point_of_it(self) -> None:
        encoder = self.encoder()
        chunks = encoder.start()
        for text in ("a", "ab", "abc"):
            chunks += encoder.encode(text[-1])
            message = self.chosen.fold_answer(self.stored(chunks))
            assert message is not None
            assert self.text_of(message) == text

    def test_chat_is_its_messages_in_order(self) -> None:
        asked = self.asked().messages
        first = self.stored(self.said_to(asked, "Hi"), EndReason.FINISHED, user_messages=asked)
        second = self.stored(self.said("Again"), EndReason.FINISHED, generation_id="g2", message_id="m1-2")
        messages = self.chosen.fold([first])
        assert [(one["id"], one["role"]) for one in messages] == [(asked[-1]["id"], "user"), ("m1", "assistant")]
        assert messages[-1] == self.chosen.fold_answer(first)
        assert [one["role"] for one in self.chosen.fold([first, second])][:2] == ["user", "assistant"]
        assert_chunk(json.dumps(messages))

    def test_question_that_is_asked_again_replaces_what_followed_it(self) -> None:
        asked = self.asked().messages
        first = self.stored(self.said_to(asked, "first"), EndReason.FINISHED, user_messages=asked)
        ids = {"generation_id": "g2", "message_id": "m2", "run_id": "r2"}
        chunks = self.said_to(asked, "second", "m2")
        second = self.stored(chunks, EndReason.FINISHED, **ids, user_messages=asked)
        messages = self.chosen.fold([first, second])
        assert [one["id"] for one in messages] == [asked[-1]["id"], "m2"]

    def said_to(self, asked: Sequence[Message], text: str, message_id: str = "m1") -> list[str]:
        """Return the chunks of an answer to messages."""
        facts = GenerationFacts(
            generation_id=message_id.replace("m", "g"),
            message_id=message_id,
            chat_id="c1",
            run_id=message_id.replace("m", "r"),
            user_messages=asked,
        )
        encoder = self.chosen.encoder(facts)
        return [*encoder.start(), *encoder.encode(text), *encoder.finish()]

    def test_chat_without_generations_is_empty(self) -> None:
        assert self.chosen.fold([]) == []
        assert self.chosen.fold_answer(self.stored([])) is None

    @_inherited
    @given(data=st.data())
    def test_chunks_of_another_program_break_nothing(self, data: st.DataObject) -> None:
        writer = self.encoder(self.asked().messages)
        own = [*writer.start(), *encode_each(writer, data.draw(self.items())), *writer.finish()]
        chunks = data.draw(odd_chunks(own))
        for generation in (self.stored(chunks, EndReason.FAILED), self.stored(chunks, generation_id=None)):
            json.dumps(self.chosen.fold([generation]))
            self.chosen.fold_answer(generation)
        other = self.encoder()
        for chunk in chunks:
            other.observe(chunk)
            self.check_event(chunk)
        for chunk in ended(other, data.draw(st.sampled_from(["stop", "fail", "interrupt"]))):
            assert_chunk(chunk)
            self.check_event(chunk)

    def check_event(self, chunk: str) -> None:
        """Check that a chunk can be sent."""
        name = self.chosen.event(chunk)
        assert name is None or (name and name.splitlines() == [name])
        assert isinstance(self.chosen.data(chunk), str)

    # -- messages that a client is given ---------------------------------------------------------------------------

    def test_message_is_made_again_of_its_rebuilt_chunks(self) -> None:
        message = self.chosen.fold_answer(self.stored(self.said("Hello"), EndReason.FINISHED))
        assert message is not None
        chunks = self.chosen.rebuild(message)
        if chunks:
            for chunk in chunks:
                assert_chunk(chunk)
            rebuilt = self.chosen.fold_answer(self.stored(chunks))
            assert rebuilt is not None
            assert self.text_of(rebuilt) == "Hello"

    def test_snapshot_makes_the_same_messages(self) -> None:
        asked = self.asked().messages
        stored = self.stored(self.said_to(asked, "Hi"), EndReason.FINISHED, user_messages=asked)
        messages = self.chosen.fold([stored])
        snapshot = self.chosen.snapshot(messages)
        if snapshot is not None:
            assert_chunk(snapshot)
            again = self.chosen.fold([self.stored([snapshot])])
            assert [one["id"] for one in again] == [one["id"] for one in messages]

    def test_client_that_tells_what_the_log_knows_changes_nothing(self) -> None:
        asked = self.asked().messages
        stored = self.stored(self.said_to(asked, "Hi"), EndReason.FINISHED, user_messages=asked)
        messages = self.chosen.fold([stored])
        for message in messages:
            assert self.chosen.merge_answers(message, deepcopy(message)) == message
        assert all(one in messages for one in self.chosen.admitted(messages, messages))
        assert self.chosen.begins_turn(messages[0])
        assert not self.chosen.begins_turn(messages[-1])

    # -- requests --------------------------------------------------------------------------------------------------

    def test_request_has_a_chat_and_messages_with_ids_and_roles(self) -> None:
        body = deepcopy(dict(self.request))
        asked = self.chosen.parse_request(body)
        assert body == self.request
        assert isinstance(asked.chat_id, str)
        assert asked.messages[-1]["role"] == "user"
        for message in asked.messages:
            assert isinstance(message["id"], str)
            assert message["id"]
        assert_chunk(json.dumps(asked.messages))

    def test_message_without_an_id_gets_one_of_its_own(self) -> None:
        body = deepcopy(dict(self.request))
        for message in body.get("messages", [body.get("message")]):
            if isinstance(message, dict):
                message.pop("id", None)
        first, second = self.chosen.parse_request(deepcopy(body)), self.chosen.parse_request(body)
        assert first.messages[-1]["id"] != second.messages[-1]["id"]

    @pytest.mark.parametrize("messages", [None, [], "Hi", {}, 5], ids=repr)
    def test_request_without_messages_is_refused(self, messages: Any) -> None:
        rest = {name: value for name, value in self.request.items() if name not in ("message", "messages")}
        for body in (rest, {**rest, "messages": messages}):
            with pytest.raises(InvalidRequestError, match="message"):
                self.chosen.parse_request(body)

    @_inherited
    @given(data=st.data(), value=st.one_of(any_json, any_text))
    def test_odd_request_is_read_or_refused_with_what_to_send(self, data: st.DataObject, value: Any) -> None:
        body = data.draw(odd_bodies(self.request, value))
        try:
            asked = self.chosen.parse_request(body)
        except InvalidRequestError:
            return
        assert asked.messages
        assert all(isinstance(one["id"], str) and isinstance(one["role"], str) for one in asked.messages)


def assert_chunk(chunk: str) -> None:
    """Check that a chunk is strict JSON, valid UTF-8 and one line by Python's idea of a line."""
    assert chunk.splitlines() == [chunk]
    chunk.encode()
    json.loads(chunk, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise AssertionError(f"JSON has no {name}.")


def encode_each(encoder: ChunkEncoder, items: Iterable[Any]) -> list[str]:
    """Encode items, and leave out those that the format does not take."""
    chunks: list[str] = []
    for item in items:
        try:
            chunks += encoder.encode(item)
        except TypeError:
            continue
    return chunks


def ended(encoder: ChunkEncoder, end: str) -> list[str]:
    """End an answer."""
    match end:
        case "finish":
            return encoder.finish()
        case "stop":
            return encoder.stop()
        case "fail":
            return encoder.fail(ERROR_TEXT)
        case _:
            return encoder.interrupt(ERROR_TEXT)
