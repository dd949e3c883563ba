"""A format that raises at what stands on the log: everybody reads on, and the chat can be stopped and gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from django.urls import include, path

from resumable_stream.chat.turn import Turn
from resumable_stream.formats import get_format
from resumable_stream.formats.base import ChunkEncoder, GenerationFacts, StoredGeneration
from resumable_stream.formats.text import TextFormat
from resumable_stream.formats.text.format import TextEncoder
from resumable_stream.protocol.layout import Token
from resumable_stream.readers.plans import last_word
from resumable_stream.records import Record
from resumable_stream.types import Message
from resumable_stream.utils import log_once as oddities
from resumable_stream.views import ResumableChatView

from .fuzz.values import FORMATS
from .support.logs import FaultyLog
from .support.producers import of
from .support.virtual_time import in_virtual_time
from .support.visitors import Visitor

pytestmark = pytest.mark.urls("tests.test_raising_formats")

STREAM = "raising"
BAD = '{"type":"start","messageId":"a1"}'
"""With this every answer of the AI SDK begins: as good as any record of another program."""


class RaisingEncoder(TextEncoder):
    def observe(self, chunk: str) -> None:
        raise LookupError(chunk)

    def stop(self) -> list[str]:
        raise LookupError("stop")

    def interrupt(self, text: str) -> list[str]:
        raise LookupError("interrupt")


class RaisingFormat(TextFormat):
    name = "raising"

    def encoder(self, facts: GenerationFacts) -> ChunkEncoder:
        return RaisingEncoder() if facts.generation_id == "" or not facts.user_messages else TextEncoder()

    def event(self, chunk: str) -> str | None:
        if chunk == BAD:
            raise LookupError(chunk)
        return super().event(chunk)

    def fold(self, generations: Sequence[StoredGeneration]) -> list[Message]:
        if any(BAD in one.chunks for one in generations):
            raise LookupError("fold")
        return super().fold(generations)

    def fold_answer(self, generation: StoredGeneration) -> Message | None:
        if BAD in generation.chunks:
            raise LookupError("fold_answer")
        return super().fold_answer(generation)


class Chat(ResumableChatView):
    name = "raising-text"
    format = RaisingFormat()

    def get_owner(self, request: Any) -> str:
        return "owner"

    def get_stream_name(self, request: Any, chat_id: str) -> str:
        return STREAM

    def generate(self, turn: Turn) -> Any:
        return of("Hello")()


class HTMLChat(Chat):
    name = "raising-html"
    format = "html"


urlpatterns = [path("text", include(Chat.urls())), path("html", include(HTMLChat.urls()))]


@pytest.fixture(autouse=True)
def fresh_chat() -> None:
    oddities.forget()


async def run_of_another_program(log: FaultyLog) -> None:
    token = Token.owner("A" * 20, 10)
    await log.append(STREAM, [Record.fence(token.text)])
    await log.append(STREAM, [Record(BAD), Record('"good"')])


@pytest.mark.parametrize("prefix", ["/text", "/html"])
@in_virtual_time
async def test_chat_is_stopped_read_and_gone_on_with(log: FaultyLog, prefix: str) -> None:
    await run_of_another_program(log)

    stopped = await Visitor().delete(prefix, {"id": "c1"})
    messages = await Visitor().get(f"{prefix}/c1/messages")
    started = await Visitor().post(prefix, {"id": "c1", "message": "Hi"})

    assert stopped.status == 202
    assert messages.status == 200
    assert started.status == 200
    assert "Hello" in started.text


@pytest.mark.parametrize("prefix", ["/text", "/html"])
@in_virtual_time
async def test_silent_owner_is_taken_over(log: FaultyLog, prefix: str) -> None:
    await run_of_another_program(log)
    await asyncio.sleep(30)

    started = await Visitor().post(prefix, {"id": "c1", "message": "Hi"})

    assert started.status == 200
    assert "Hello" in started.text


@in_virtual_time
async def test_reader_gets_every_chunk_but_the_one_at_which_the_format_raises(
    log: FaultyLog, caplog: pytest.LogCaptureFixture
) -> None:
    await run_of_another_program(log)
    await Visitor().delete("/text", {"id": "c1"})
    for _ in range(2):
        exchange = await Visitor().get("/text/c1/stream?from=0")
        assert [event.data for event in exchange.events if event.type == "message"] == ['"good"']
        assert exchange.is_complete

    assert len([line for line in caplog.messages if "cannot show a stored chunk" in line]) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_last_word_of_a_run_without_chunks_is_none_or_a_chunk(name: str) -> None:
    word = last_word(get_format(name), StoredGeneration(generation_id="g"), ())
    assert word is None or word.startswith("{")
