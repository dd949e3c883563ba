"""Whatever ends an answer, its connection to the model's provider is closed: nobody pays for tokens that nobody reads.

The libraries are the real ones, against a provider on a loopback port. After the end it sends nothing more to them, or
just one event where a blocking client waits for it in a thread: the connection must be closed by then.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from resumable_stream.chat.engine import ChatEngine
from resumable_stream.records import Record
from resumable_stream.runtime import runtime

from ..support.logs import FaultyLog, use_faulty_log
from ..support.patience import PATIENCE_SECONDS
from ..support.provider import Provider, provider

QUESTION: list[Any] = [{"role": "user", "content": "?"}]


def library(module: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


# -- what apps call ------------------------------------------------------------------------------------------------


def openai(url: str) -> Any:
    return library("openai").AsyncOpenAI(base_url=url, api_key="k", max_retries=0)


def anthropic(url: str) -> Any:
    return library("anthropic").AsyncAnthropic(base_url=url, api_key="k", max_retries=0)


async def openai_chat(url: str) -> Any:
    return await openai(url).chat.completions.create(model="m", messages=QUESTION, stream=True)


async def openai_responses(url: str) -> Any:
    return await openai(url).responses.create(model="m", input="?", stream=True)


async def anthropic_create(url: str) -> Any:
    return await anthropic(url).messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True)


async def anthropic_helper(url: str) -> Any:
    return await anthropic(url).messages.stream(model="m", max_tokens=9, messages=QUESTION).__aenter__()


async def litellm_chat(url: str) -> Any:
    return await library("litellm").acompletion(
        model="openai/m", messages=QUESTION, stream=True, api_base=url, api_key="k", num_retries=0
    )


def openai_chat_sync(url: str) -> Any:
    client = library("openai").OpenAI(base_url=url, api_key="k", max_retries=0)
    return client.chat.completions.create(model="m", messages=QUESTION, stream=True)


def anthropic_create_sync(url: str) -> Any:
    client = library("anthropic").Anthropic(base_url=url, api_key="k", max_retries=0)
    return client.messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True)


def anthropic_helper_sync(url: str) -> Any:
    client = library("anthropic").Anthropic(base_url=url, api_key="k", max_retries=0)
    return client.messages.stream(model="m", max_tokens=9, messages=QUESTION).__enter__()


@cache
def gemini(url: str) -> Any:
    # The package closes the connections of a client that nothing refers to any more.
    return library("google.genai").Client(api_key="k", http_options={"base_url": url})


async def gemini_content(url: str) -> Any:
    return await gemini(url).aio.models.generate_content_stream(model="m", contents="?")


def gemini_content_sync(url: str) -> Any:
    return gemini(url).models.generate_content_stream(model="m", contents="?")


async def mistral_chat(url: str) -> Any:
    client = library("mistralai.client").Mistral(api_key="k", server_url=url)
    return await client.chat.stream_async(model="m", messages=QUESTION)


def mistral_chat_sync(url: str) -> Any:
    client = library("mistralai.client").Mistral(api_key="k", server_url=url)
    return client.chat.stream(model="m", messages=QUESTION)


async def ollama_chat(url: str) -> Any:
    return await library("ollama").AsyncClient(host=url).chat(model="m", messages=QUESTION, stream=True)


def ollama_chat_sync(url: str) -> Any:
    return library("ollama").Client(host=url).chat(model="m", messages=QUESTION, stream=True)


@cache
def bedrock(url: str) -> Any:
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "k", "region_name": "us-east-1"}
    return library("boto3").session.Session(**keys).client("bedrock-runtime", endpoint_url=url)


def bedrock_converse_sync(url: str) -> Any:
    return bedrock(url).converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": "?"}]}])


def bedrock_stream_sync(url: str) -> Any:
    return bedrock_converse_sync(url)["stream"]


ASYNC = [openai_chat, openai_responses, anthropic_create, anthropic_helper, litellm_chat]
ASYNC_MANAGERS = [stream for stream in ASYNC if stream is not litellm_chat]
SYNC = [openai_chat_sync, anthropic_create_sync, anthropic_helper_sync]
OTHERS = [gemini_content, mistral_chat, ollama_chat]
OTHERS_SYNC = [gemini_content_sync, mistral_chat_sync, ollama_chat_sync, bedrock_stream_sync]


# -- how apps write generate() -------------------------------------------------------------------------------------

Failure = Callable[[], None]


def returned(stream: Callable[[str], Any], url: str, _: Failure) -> Any:
    return lambda: stream(url)


def iterated(stream: Callable[[str], Awaitable[Any]], url: str, may_fail: Failure) -> Any:
    async def generate() -> AsyncIterator[Any]:
        events = await stream(url)
        async for event in events:
            yield event
            may_fail()

    return generate


def held_in_async_with(stream: Callable[[str], Awaitable[Any]], url: str, may_fail: Failure) -> Any:
    async def generate() -> AsyncIterator[Any]:
        async with await stream(url) as events:
            async for event in events:
                yield event
                may_fail()

    return generate


def iterated_sync(stream: Callable[[str], Any], url: str, may_fail: Failure) -> Any:
    def generate() -> Iterator[Any]:
        events = stream(url)
        for event in events:
            yield event
            may_fail()

    return generate


# -- what ends an answer -------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """An answer that has had its first words."""

    engine: ChatEngine
    log: FaultyLog
    events: Provider
    settings: Any
    fails: bool = False

    def may_fail(self) -> None:
        if self.fails:
            raise LookupError("no such tool")


async def stopped(answer: Answer) -> None:
    await answer.engine.end("s")


async def lost(answer: Answer) -> None:
    """Another process has stopped the answer."""
    await answer.log.append("s", [Record.fence("end-1a2b3c")])


async def drained(_: Answer) -> None:
    """As when the process gets SIGTERM."""
    registry = runtime().registry
    (generation,) = registry
    # A drain waits for the producer too, which may be in a thread, waiting for the provider.
    registry.keep(registry.drain(0))
    await generation.is_over.wait()


async def grown_too_long(answer: Answer) -> None:
    answer.settings.RESUMABLE_STREAM |= {"MAX_GENERATION_BYTES": 1}
    answer.events.give()


async def failed(answer: Answer) -> None:
    """``generate`` raises."""
    answer.fails = True
    answer.events.give()


async def broken_off(answer: Answer) -> None:
    """The library raises, for the provider says that something is wrong."""
    answer.events.give({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}})


FROM_OUTSIDE = [stopped, lost, drained]
FROM_INSIDE = [grown_too_long, failed, broken_off]
CASES = [
    *((stream, way, end) for stream in ASYNC for way in (returned, iterated) for end in FROM_OUTSIDE + FROM_INSIDE),
    *((stream, held_in_async_with, end) for stream in ASYNC_MANAGERS for end in FROM_OUTSIDE + FROM_INSIDE),
    *((stream, way, end) for stream in SYNC for way in (returned, iterated_sync) for end in FROM_OUTSIDE + FROM_INSIDE),
]
CASES += [
    *((stream, returned, stopped) for stream in [*OTHERS, *OTHERS_SYNC, bedrock_converse_sync]),
    *((stream, iterated, end) for stream in OTHERS for end in (stopped, failed)),
    *((stream, iterated_sync, end) for stream in OTHERS_SYNC for end in (stopped, failed)),
]
# Where the stream is returned, no code of the app's runs that could fail.
CASES = [case for case in CASES if case[1:] != (returned, failed)]


@pytest.mark.parametrize(("stream", "write", "end"), CASES, ids=lambda value: value.__name__)
async def test_the_end_of_an_answer_closes_its_connection_to_the_provider(
    settings: Any, stream: Any, write: Any, end: Any
) -> None:
    log = use_faulty_log(settings)
    engine = ChatEngine(format="aisdk")
    async with provider() as events:
        answer = Answer(engine, log, events, settings)
        await engine.start("s", write(stream, events.url, answer.may_fail))
        await _first_words(log)
        assert events.connections == 1
        await end(answer)
        if not inspect.iscoroutinefunction(stream) and end in FROM_OUTSIDE:
            # Its thread waits for the provider, and can be told nothing before that has sent something.
            events.give()
        given = events.given

        await events.left_alone()
        assert events.given == given


async def _first_words(log: FaultyLog) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(log.follow("s", 0)) as batches:
        async for batch in batches:
            if any("word" in record.body for record in batch.records):
                return
