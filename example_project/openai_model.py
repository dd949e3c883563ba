"""Answers from any server that speaks OpenAI's chat completions API: OpenAI, vLLM, Ollama, LiteLLM and many more.

Closing the iterator, which is what stopping an answer does, closes the connection; that is how these servers learn that
nobody wants the rest.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from .demo_model import Item, message_text

OPENAI_URL = "https://api.openai.com/v1"

# A model may think for minutes before its next token, but a server that is there accepts a connection at once.
_TIMEOUT = httpx.Timeout(10, read=300)


class ModelServerError(Exception):
    """The model server refused, failed or fell silent; the message is fit for people."""


class OpenAIModel:
    """A model behind ``base_url`` (the part before ``/chat/completions``)."""

    def __init__(self, *, model: str, base_url: str = "", api_key: str = "") -> None:
        self._model = model
        self._url = (base_url or OPENAI_URL).rstrip("/") + "/chat/completions"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    async def answer(self, messages: Sequence[Mapping[str, Any]]) -> AsyncGenerator[Item]:
        """Yield the model's answer to ``messages`` (UI messages) as text, and its reasoning as AI SDK chunks.

        Raises:
            ModelServerError: No answer, or only a part of one.
        """
        reasoning = _Reasoning()
        # Closed with this iterator, not whenever it is collected: until then the server goes on, and bills.
        async with aclosing(self._deltas(messages)) as deltas:
            async for delta in deltas:
                for item in _items(delta, reasoning):
                    yield item
        for chunk in reasoning.end():
            yield chunk

    async def _deltas(self, messages: Sequence[Mapping[str, Any]]) -> AsyncGenerator[dict[str, Any]]:
        body = {"model": self._model, "stream": True, "messages": chat_messages(messages)}
        try:
            async with (
                httpx.AsyncClient(timeout=_TIMEOUT, headers=self._headers) as client,
                client.stream("POST", self._url, json=body) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise await _refusal(response)
                async for delta in _read_deltas(response):
                    yield delta
        except httpx.TransportError as error:
            raise ModelServerError("The model server cannot be reached, or broke off its answer.") from error


class _Reasoning:
    """Wraps pieces of reasoning into the chunks of one part at a time."""

    def __init__(self) -> None:
        self._count = 0
        self._is_open = False

    def chunks(self, text: str | None) -> list[Item]:
        if not text:
            return []
        opening: list[Item] = []
        if not self._is_open:
            self._is_open = True
            self._count += 1
            opening = [{"type": "reasoning-start", "id": self._part}]
        return [*opening, {"type": "reasoning-delta", "id": self._part, "delta": text}]

    def end(self) -> list[Item]:
        if not self._is_open:
            return []
        self._is_open = False
        return [{"type": "reasoning-end", "id": self._part}]

    @property
    def _part(self) -> str:
        return f"reasoning-{self._count}"


def _items(delta: Mapping[str, Any], reasoning: _Reasoning) -> list[Item]:
    # Not in OpenAI's own API; the first name is DeepSeek's and vLLM's, the second OpenRouter's.
    items = reasoning.chunks(delta.get("reasoning_content") or delta.get("reasoning"))
    if text := delta.get("content"):
        items += [*reasoning.end(), text]
    return items


def chat_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Turn UI messages into the API's messages: their text, without those that have none."""
    texts = ((message.get("role"), message_text(message)) for message in messages)
    return [{"role": str(role), "content": text} for role, text in texts if text]


async def _read_deltas(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the ``delta`` of each event; the end of the body counts only after the model said that it is done."""
    is_done = False
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = _parse(data)
        for choice in event.get("choices") or ():
            is_done = is_done or bool(choice.get("finish_reason"))
            yield choice.get("delta") or {}
    if not is_done:
        raise ModelServerError("The model server broke off its answer.")


def _parse(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise ModelServerError("The model server sent something that is not JSON.") from error
    if not isinstance(event, dict):
        raise ModelServerError("The model server sent something that is not an event.")
    if event.get("error"):
        raise ModelServerError("The model server reported an error.") from RuntimeError(event["error"])
    return event


async def _refusal(response: httpx.Response) -> ModelServerError:
    detail = (await response.aread()).decode(errors="replace")[:1000]
    hint = {
        401: " Check OPENAI_API_KEY.",
        403: " Check OPENAI_API_KEY.",
        404: " Check OPENAI_BASE_URL and OPENAI_MODEL.",
        429: " It has too many requests, or your quota is used up.",
    }.get(response.status_code, "")
    error = ModelServerError(f"The model server answered {response.status_code}.{hint}")
    # For the server's log only: what others say about our key or account is not for visitors.
    error.__cause__ = RuntimeError(detail)
    return error
