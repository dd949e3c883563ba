"""Answers that hold nothing of what their producers have yielded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.turn import Turn
from resumable_stream.exceptions import EmptyAnswerError
from resumable_stream.protocol.layout import new_generation_id
from resumable_stream.readers.reader import Reader
from resumable_stream.types import EndReason
from resumable_stream.utils.log_once import forget
from resumable_stream.views import ResumableChatView

from .formats.seen import FORMATS
from .formats.test_producers import chat_chunk, library
from .support.logs import use_faulty_log
from .support.virtual_time import in_virtual_time
from .support.visitors import Visitor

CHUNK = "openai.types.chat.chat_completion_chunk.ChatCompletionChunk"


def chunk(*parts: Any) -> Any:
    return library("openai.types.chat").ChatCompletionChunk.construct(**chat_chunk(*parts))


async def end_of(name: str, items: list[Any], **facts: Any) -> tuple[EndReason | None, list[Exception], str]:
    """Let an answer run to its end; return how it ended, what on_error got, and what its readers are sent."""
    errors: list[Exception] = []

    async def on_error(_context: Any, error: Exception) -> str:
        errors.append(error)
        return "Sorry."

    engine, stream = ChatEngine(format=name, on_error=on_error), f"chat/empty/{new_generation_id()}"
    started = await engine.start(stream, items, **facts)
    reader = engine.reader(stream, started)
    assert isinstance(reader, Reader)
    async for _ in reader.frames():
        pass
    (generation,) = (await engine.history(stream)).generations
    return generation.end, errors, "".join(generation.chunks)


@pytest.mark.parametrize("name", FORMATS)
async def test_answer_of_which_nothing_is_carried_fails_and_names_classes(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    unheard = chunk({"video": "x"})
    end, (error,), sent = await end_of(name, [chunk({"role": "assistant"}), unheard, chunk({}, "stop")])

    assert end is EndReason.FAILED
    assert isinstance(error, EmptyAnswerError)
    assert f"classes {CHUNK}." in caplog.text
    if name != "text":
        # There it is in the event that ends the body.
        assert "Sorry." in sent


@pytest.mark.parametrize("name", FORMATS)
async def test_answer_that_is_cut_off_before_its_first_word_finishes_and_is_logged_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    forget()
    for _ in range(2):
        end, errors, sent = await end_of(name, [chunk({"role": "assistant"}), chunk({}, "length")])
        assert (end, errors) == (EndReason.FINISHED, [])
        assert "length" in sent or "max_tokens" in sent

    lines = [line for line in caplog.messages if "nothing of what was yielded is carried" in line]
    assert lines == [f"nothing of what was yielded is carried classes={CHUNK} finish=length"]


@pytest.mark.parametrize("items", [[], [None], ["", b""]])
async def test_producer_that_yields_nothing_finishes(items: list[Any]) -> None:
    assert (await end_of("aisdk", items))[:2] == (EndReason.FINISHED, [])


class SilentChat(ResumableChatView):
    format = "aisdk"

    async def generate(self, turn: Turn) -> AsyncIterator[Any]:
        yield chunk({"role": "assistant"})
        yield chunk({}, "stop")


urlpatterns = [path("api/silent", include(SilentChat.urls()))]

ASKED = {"id": "u1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}
CALL = {"type": "tool-ask", "toolCallId": "k1", "state": "output-available", "input": {}, "output": "17"}
ANSWERED = {"id": "a1", "role": "assistant", "parts": [CALL]}


@pytest.mark.urls("tests.test_empty_answers")
@pytest.mark.parametrize("trigger", ["submit-message", "regenerate-message"])
@in_virtual_time
async def test_question_that_gets_nothing_is_told_so(settings: Any, trigger: str) -> None:
    use_faulty_log(settings)
    exchange = await Visitor().post("/api/silent", {"id": "c1", "messages": [ASKED], "trigger": trigger})
    assert json.loads(exchange.events[-1].data)["type"] == "error"


@pytest.mark.urls("tests.test_empty_answers")
@in_virtual_time
async def test_answer_that_goes_on_after_outputs_of_page_may_add_nothing(settings: Any) -> None:
    use_faulty_log(settings)
    body = {"id": "c1", "messages": [ASKED, ANSWERED], "trigger": "submit-message", "messageId": "a1"}
    exchange = await Visitor().post("/api/silent", body)
    assert json.loads(exchange.events[-1].data)["type"] == "finish"


async def test_end_in_words_of_format_is_end() -> None:
    run = {"runId": "r", "threadId": "t"}
    items = [{"type": "RUN_STARTED", **run}, {"type": "RUN_FINISHED", **run}]
    assert (await end_of("agui", items))[:2] == (EndReason.FINISHED, [])


async def test_one_word_is_enough() -> None:
    items = [chunk({"video": "x"}), "Hello", chunk({"video": "x"})]
    assert (await end_of("text", items))[:2] == (EndReason.FINISHED, [])


async def test_people_are_told_that_there_is_no_answer() -> None:
    engine, stream = ChatEngine(format="aisdk"), f"chat/empty/{new_generation_id()}"
    reader = engine.reader(stream, await engine.start(stream, [chunk({}, "stop")]))
    assert isinstance(reader, Reader)
    async for _ in reader.frames():
        pass
    (generation,) = (await engine.history(stream)).generations
    assert "The model has given no answer." in generation.chunks[-1]
