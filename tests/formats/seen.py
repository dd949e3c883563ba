"""What a client of each format has seen of an answer, in words that all formats have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from resumable_stream.formats import EndReason, GenerationFacts, StoredGeneration, get_format

FORMATS = ("agui", "aisdk", "anthropic", "html", "tanstack", "text")
WITH_FILES = ("aisdk", "html")
WITH_RESULTS = ("agui", "aisdk", "html", "tanstack")

CUT_OFF = {
    "agui": {"finishReason": "length"},
    "aisdk": "length",
    "anthropic": "max_tokens",
    "html": "length",
    "tanstack": "length",
    "text": "length",
}
FILTERED = {
    "agui": {"finishReason": "content-filter"},
    "aisdk": "content-filter",
    "anthropic": "refusal",
    "html": "content-filter",
    "tanstack": "content_filter",
    "text": "content-filter",
}
USUAL = {"agui": None, "aisdk": None, "anthropic": "end_turn", "html": None, "tanstack": "stop", "text": None}
CALLING = USUAL | {"anthropic": "tool_use", "tanstack": None}


@dataclass(slots=True, kw_only=True)
class Seen:
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Names and inputs."""
    call_ids: list[str] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)
    finish: Any = None
    """The client's own word for why the model has stopped."""


def see(name: str, items: Iterable[Any]) -> Seen:
    """Encode what a producer yields, fold it, and read it as a page does that shows the message."""
    format_ = get_format(name)
    encoder = format_.encoder(GenerationFacts(generation_id="g1", message_id="m1", run_id="r1", chat_id="c"))
    chunks = [*encoder.start(), *(chunk for item in items for chunk in encoder.encode(item)), *encoder.finish()]
    stored = StoredGeneration(generation_id="g1", message_id="m1", chunks=chunks, end=EndReason.FINISHED)
    seen = Seen()
    _READERS[name](seen, format_.fold([stored]), [json.loads(chunk) for chunk in chunks])
    return seen


def _see_aisdk(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    (message,) = messages
    for part in message["parts"]:
        match part["type"]:
            case "text" | "reasoning" as kind:
                setattr(seen, kind, getattr(seen, kind) + part["text"])
            case "file":
                seen.files.append((part["mediaType"], part["url"]))
            case "source-url":
                seen.sources.append((part["url"], part["title"]))
            case str() as kind if kind.startswith("tool-"):
                seen.calls.append((kind.removeprefix("tool-"), part["input"]))
                seen.call_ids.append(part["toolCallId"])
                seen.results += [part[name] for name in ("output", "errorText") if name in part]
    seen.finish = chunks[-1].get("finishReason")


def _see_anthropic(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    (message,) = messages
    for block in message["content"]:
        match block["type"]:
            case "text":
                seen.text += block["text"]
            case "thinking":
                seen.reasoning += block["thinking"]
            case "tool_use":
                seen.calls.append((block["name"], block["input"]))
                seen.call_ids.append(block["id"])
    seen.finish = message["stop_reason"]


def _see_html(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    (message,) = messages
    seen.finish = message.get("finish_reason")
    for part in message["parts"]:
        match part["type"]:
            case "text" | "reasoning" as kind:
                setattr(seen, kind, getattr(seen, kind) + part["text"])
            case "file":
                seen.files.append((part["media_type"], part["url"]))
            case "source":
                seen.sources.append((part["url"], part["title"]))
            case "tool-call":
                seen.calls.append((part["name"], part["input"]))
                seen.call_ids.append(part["call_id"])
            case "tool-result":
                seen.results.append(part["output"])
            case "tool-error":
                seen.results.append(part["error"])


def _see_agui(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    for message in messages:
        if message["role"] == "reasoning":
            seen.reasoning += message["content"]
        elif message["role"] == "tool":
            seen.results.append(message["content"])
        else:
            seen.text += message.get("content") or ""
            calls = message.get("toolCalls", ())
            seen.calls += [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
            seen.call_ids += [call["id"] for call in calls]
    seen.finish = chunks[-1].get("result")


def _see_tanstack(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    for part in (part for message in messages for part in message["parts"]):
        match part["type"]:
            case "text":
                seen.text += part["content"]
            case "thinking":
                seen.reasoning += part["content"]
            case "tool-call":
                seen.calls.append((part["name"], json.loads(part["arguments"])))
                seen.call_ids.append(part["id"])
            case "tool-result":
                seen.results.append(part["content"])
    seen.finish = chunks[-1].get("finishReason")


def _see_text(seen: Seen, messages: list[Any], chunks: list[Any]) -> None:
    seen.text = messages[0]["content"] if messages else ""
    finishes = [chunk["reason"] for chunk in chunks if isinstance(chunk, dict) and chunk.get("type") == "finish"]
    seen.finish = finishes[-1] if finishes else None


_READERS = {
    "aisdk": _see_aisdk,
    "agui": _see_agui,
    "anthropic": _see_anthropic,
    "html": _see_html,
    "tanstack": _see_tanstack,
    "text": _see_text,
}
