"""The built-in formats hold the published contract."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from resumable_stream.formats import ChatRequest, ChunkFormat, GenerationFacts, StoredGeneration
from resumable_stream.formats.aisdk import AISDKFormat
from resumable_stream.formats.anthropic import AnthropicFormat
from resumable_stream.formats.anthropic.encoder import AnthropicEncoder
from resumable_stream.formats.javascript import trim
from resumable_stream.formats.text import TextFormat
from resumable_stream.formats.text.format import TextEncoder
from resumable_stream.testing import FormatContract
from resumable_stream.types import Message

from . import agui_strategies, test_aisdk_encoder, test_anthropic

QUESTION = {"id": "u1", "role": "user", "content": "Hello"}


def types_of(chunks: Sequence[str]) -> Counter[str]:
    return Counter(json.loads(chunk)["type"] for chunk in chunks)


class TestAISDK(FormatContract):
    format = "aisdk"
    request: ClassVar = {
        "id": "c1",
        "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
    }

    def items(self) -> st.SearchStrategy[list[Any]]:
        return st.one_of(test_aisdk_encoder.items(7), super().items())

    def text_of(self, message: Message) -> str:
        parts = [part for part in message["parts"] if part["type"] != "step-start"]
        return super().text_of({**message, "parts": parts})


class TestAGUI(FormatContract):
    format = "agui"
    request: ClassVar = {"threadId": "c1", "runId": "r1", "messages": [QUESTION]}
    own_items = agui_strategies.items_and_snapshots

    def check_closed(self, chunks: Sequence[str]) -> None:
        types = types_of(chunks)
        for kind in ("TEXT_MESSAGE", "REASONING_MESSAGE", "REASONING", "TOOL_CALL"):
            assert types[f"{kind}_START"] == types[f"{kind}_END"]
        assert types["RUN_STARTED"] == types["RUN_FINISHED"] + types["RUN_ERROR"] == 1


class TestTanStack(TestAGUI):
    format = "tanstack"
    request: ClassVar = {
        "threadId": "c1",
        "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "content": "Hi"}]}],
    }

    def shown(self, text: str) -> str:
        # The client drops an answer of nothing but blanks.
        return text if trim(text) else ""


class TestAnthropic(FormatContract):
    format = "anthropic"
    request: ClassVar = {"id": "c1", "messages": [QUESTION]}
    own_items = test_anthropic.RAW

    def items(self) -> st.SearchStrategy[list[Any]]:
        return st.one_of(test_anthropic.generations, super().items())

    def check_closed(self, chunks: Sequence[str]) -> None:
        types = types_of(chunks)
        assert types["content_block_start"] == types["content_block_stop"]
        assert types["message_stop"] + types["error"] == 1


class TestHTML(FormatContract):
    format = "html"
    request: ClassVar = {"id": "c1", "message": {"id": "u1", "content": "Hello"}}
    own_items: ClassVar = [{"type": "note", "text": "n"}]

    def shown(self, text: str) -> str:
        # HTML knows one end of a line, and no NUL.
        return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")

    def observable(self, items: list[Any]) -> list[Any]:
        # The end of a piece waits for the next one, if it may be half of a character or of the end of a line.
        return [item for item in super().observable(items) if "\\r" not in repr(item) and "\\ud" not in repr(item)]


class TestText(FormatContract):
    format = "text"
    request: ClassVar = {"id": "c1", "message": "Hello"}
    own_items: ClassVar = [{"type": "data", "value": 1}]


# -- the contract finds faults -----------------------------------------------------------------------------------------


class RawText(TextFormat):
    """Stores text as it is, which is no JSON."""

    def encoder(self, facts: GenerationFacts) -> TextEncoder:
        made = super().encoder(facts)
        made.open_part = lambda kind: str  # type: ignore[assignment, method-assign]
        return made


class BlindEncoder(AnthropicEncoder):
    def note_stored(self, data: Any) -> None:
        """Ignore what is stored."""


class Blind(AnthropicFormat):
    def encoder(self, facts: GenerationFacts) -> AnthropicEncoder:
        return BlindEncoder(message_id=facts.message_id)


class Trusting(TextFormat):
    def parse_request(self, body: Mapping[str, Any]) -> ChatRequest:
        return ChatRequest(chat_id=body["id"], messages=[{"id": "u1", "role": "user", "content": body["message"]}])


class Forgetful(TextFormat):
    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        return [answer for one in generations if (answer := self.fold_answer(one))]


class Gullible(AISDKFormat):
    def event(self, chunk: str) -> str | None:
        return str(json.loads(chunk)["type"])


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (RawText, "test_every_chunk_is_strict_json_on_one_line"),
        (Blind, "test_another_process_ends_an_answer_as_its_writer_would"),
        (Trusting, "test_odd_request_is_read_or_refused_with_what_to_send"),
        (Forgetful, "test_chat_is_its_messages_in_order"),
        (Gullible, "test_chunks_of_another_program_break_nothing"),
    ],
)
def test_contract_finds_the_fault(faulty: type[ChunkFormat], test: str) -> None:
    class Contract(FormatContract):
        format = faulty
        request = TestText.request if faulty is not Blind else TestAnthropic.request

    with pytest.raises(Exception) as caught:  # noqa: PT011 - what a format raises itself is a fault too.
        getattr(Contract(), test)()
    assert not isinstance(caught.value, AttributeError)
