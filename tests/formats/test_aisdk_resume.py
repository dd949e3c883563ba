"""What a client of the AI SDK holds that gets an answer again from its start, whatever it has of it by then."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resumable_stream.formats.jsontext import encode

from .ai_client import AIClient
from .strategies import sensible_answers
from .test_aisdk_rebuild import folded, without_begun_step

QUESTION = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
UNSENT = {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "Never sent"}]}


@pytest.mark.parametrize("following", [[], [UNSENT]], ids=["the answer last", "a message that was not sent"])
@given(data=st.data())
@settings(max_examples=60)
def test_it_holds_the_answer_once_and_whole(ai: AIClient, following: list[Any], data: st.DataObject):
    chunks = [{"type": "start", "messageId": "a1"}, *data.draw(sensible_answers(ai.version))]
    whole = folded(chunks, ai.version)
    # Of the answer it has at least the beginning, or it would not know where it belongs.
    beginning = folded(chunks[: data.draw(st.integers(1, len(chunks)))], ai.version)

    # Version 5 keeps what it has of a message in which the input of a call was cut, and adds to it.
    assume(ai.version > 5 or all(part.get("state") != "input-streaming" for part in beginning["parts"]))

    step = {"kind": "resume", "chunks": [encode(chunk) for chunk in chunks]}
    shown = ai.chat([step], [QUESTION, beginning, *following])

    assert "error" not in shown
    first, answer, *rest = shown["messages"]
    assert (first, rest) == (QUESTION, following)
    assert without_begun_step(answer) == without_begun_step(whole)
