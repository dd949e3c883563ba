"""The errors that tell an app what it has yielded, and what to yield in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .item_types import FormatChunk

_EXAMPLE = """\
    async for item in stream:
        yield item.text"""


_HINTS = {
    "pydantic_ai.messages.ModelResponse": "stream_response() gives the whole response with each step: yield what "
    "stream_text(delta=True) gives, or the events of run_stream_events().",
    "pydantic_ai._agent_graph.": "This is a node of agent.iter(): yield the events of its stream(run.ctx), or those of "
    "agent.run_stream_events().",
    "pydantic_graph.": "This is the end of agent.iter(), and not part of the answer: leave it out.",
    "pydantic_ai.result.": "Yield what its stream_text(delta=True) gives.",
}


def class_name(kind: type) -> str:
    """Name a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def unknown_class(name: str, why: str) -> TypeError:
    """Make the error for an object that no producer's reader knows and that is no chunk of the format."""
    hint = next((hint for start, hint in _HINTS.items() if name.startswith(start)), None)
    if hint is not None:
        return TypeError(f"Cannot stream {name}: {hint} See docs/producers.md.")
    return TypeError(
        f"Cannot stream {name}: {why}\nYield the text that it holds, wherever its class keeps it:\n"
        f"{_EXAMPLE}\n"
        "docs/producers.md lists the libraries whose objects may be yielded as they are."
    )


def unknown_type(chunk: FormatChunk, why: str, fix: str) -> TypeError:
    """Make the error for a chunk that is none of the format's; it names the class of what was an object."""
    return unknown_class(chunk.made_of, f"{why} {fix}") if chunk.made_of else TypeError(f"{why} {fix}")


def unknown_chunk(chunk: FormatChunk, wanted: str, fix: str) -> TypeError:
    """Make the same error for what is no chunk of any format; ``wanted`` says what a chunk is."""
    return unknown_type(chunk, f"{wanted}, not {shown(chunk.data)}.", fix)


def shown(data: Any) -> str:
    """Describe what cannot be a chunk, in few words."""
    text = f"a mapping with the keys {sorted(map(str, data))}" if isinstance(data, Mapping) else repr(data)
    return f"{text:.200}"
