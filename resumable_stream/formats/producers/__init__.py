"""Read what model libraries stream, by its shape and without importing any of them.

Each is read from the library's own objects and from their JSON alike. May import the types of items, and no format.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import cached_property
from typing import Any

from ..item_types import Item
from . import bedrock, google, google_interactions, mistral_conversations, ollama, pydantic_ai
from .agui import AGUI, FAILURE
from .anthropic import Anthropic
from .base import ProducerError, ToolCalls, look
from .failures import refuse_failure
from .langchain import LangChain
from .langgraph import LangGraph
from .langgraph_modes import LangGraphModes
from .mistral import unwrap
from .openai import ChatCompletions, Responses, is_chat_chunk

__all__ = ["ProducerError", "Producers"]

_HELPER_EVENTS = frozenset(Anthropic.helper_events + ChatCompletions.helper_events)


_SHAPES: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (google.is_response, "_gemini"),
    (ollama.is_response, "_ollama"),
    (bedrock.is_event, "_bedrock"),
    (google_interactions.is_event, "_interactions"),
    (pydantic_ai.is_event, "_pydantic_ai"),
)
"""What tells items without a type apart, and the reader of each."""


class Producers:
    """Reads one generation's items; remembers the tool calls that span several of them."""

    def __init__(self, own_types: Container[str] = ()) -> None:
        """Begin a generation, and leave items of ``own_types`` to the format, whose own chunks they are."""
        self._own_types = own_types
        self._calls = ToolCalls()

    # Made when they are needed: most answers come from one producer, or are the app's own text.

    @cached_property
    def _chat(self) -> ChatCompletions:
        return ChatCompletions(self._calls)

    @cached_property
    def _gemini(self) -> google.Gemini:
        return google.Gemini()

    @cached_property
    def _ollama(self) -> ollama.Ollama:
        return ollama.Ollama()

    @cached_property
    def _bedrock(self) -> bedrock.Bedrock:
        return bedrock.Bedrock(self._calls)

    @cached_property
    def _interactions(self) -> google_interactions.Interactions:
        return google_interactions.Interactions(self._calls)

    @cached_property
    def _responses(self) -> Responses:
        return Responses(self._calls)

    @cached_property
    def _langchain(self) -> LangChain:
        return LangChain(self._calls)

    @cached_property
    def _pydantic_ai(self) -> pydantic_ai.PydanticAI:
        return pydantic_ai.PydanticAI(self._calls)

    @cached_property
    def _modes(self) -> LangGraphModes:
        return LangGraphModes(self._langchain)

    @cached_property
    def _readers(self) -> dict[str, Callable[[Any], list[Item] | None]]:
        calls = self._calls
        graph = (self._langchain, LangGraph(calls), self._modes)
        others = (AGUI(calls), mistral_conversations.Conversations(calls))
        kinds = (self._chat, self._responses, Anthropic(calls), *graph, *others)
        return {kind: reader for producer in kinds for kind, reader in producer.readers().items()}

    def flush(self) -> list[Item]:
        """Complete the calls that the producer left open when it came to its end."""
        return [*self._calls.end_all(), *self._gemini.flush()]

    def read(self, item: Any, *, is_apps_own: bool = False) -> list[Item] | None:
        """Read an item of a known producer; ``None`` if it is not one.

        What the app itself has written is taken at its word also where it says that something failed.

        Raises:
            ProducerError: The item says that the producer failed.
        """
        kind = look(item, "type")
        if not isinstance(kind, str):
            return self._read_untyped(item, is_apps_own=is_apps_own)
        if kind in self._own_types and (is_apps_own or kind != FAILURE):
            return None
        reader = self._readers.get(kind)
        if reader is not None and (read := reader(item)) is not None:
            return read
        refuse_failure(item, is_apps_own=is_apps_own)
        # Helper events exist as objects only; a mapping of such a type is an event of the app's own.
        is_helper = kind in _HELPER_EVENTS and not isinstance(item, Mapping)
        return [] if is_helper or self._responses.is_event(kind, item) else None

    def _read_untyped(self, item: Any, *, is_apps_own: bool) -> list[Item] | None:
        chunk = unwrap(item)
        if is_chat_chunk(chunk):
            return self._chat.read(chunk)
        for is_of, reader in _SHAPES:
            if is_of(item):
                read: list[Item] = getattr(self, reader).read(item)
                return read
        if (event := mistral_conversations.unwrap(item)) is not None:
            return self.read(event) or []
        if (found := self._modes.read(item)) is not None:
            return found
        refuse_failure(item, is_apps_own=is_apps_own)
        return None
