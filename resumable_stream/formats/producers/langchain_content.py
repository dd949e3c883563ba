"""What a LangChain message holds: text, or blocks in the words of the provider or in those of LangChain's version 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..item_types import File, Finish, Item, Reasoning
from .base import Sources, look, reasoning, text
from .finishes import finish


def read_content(message: Any, sources: Sources) -> list[Item]:
    """Read a message's content, and what providers' packages keep beside it."""
    beside = look(message, "additional_kwargs")
    items = reasoning(look(beside, "reasoning_content")) + _read_summary(look(look(beside, "reasoning"), "summary"))
    content = look(message, "content")
    for block in [content] if isinstance(content, str) else content or ():
        items += text(block) if isinstance(block, str) else read_block(block, sources)
    return [*items, *text(look(look(beside, "audio"), "transcript")), *_read_refusal(look(beside, "refusal"))]


def read_finish(message: Any) -> list[Item]:
    """Read why the model has stopped, by the name that the provider's package gives to it."""
    return finish_of(look(message, "response_metadata"))


def finish_of(metadata: Any) -> list[Item]:
    """Read the same from the metadata of a response."""
    for name in ("finish_reason", "stop_reason", "stopReason", "done_reason"):
        if found := finish(look(metadata, name)):
            return found
    if look(metadata, "status") == "incomplete":
        return finish(look(look(metadata, "incomplete_details"), "reason") or "incomplete")
    return []


def read_block(block: Any, sources: Sources) -> list[Item]:
    """Read one block of content."""
    items: list[Item] = []
    match look(block, "type"):
        case "text" | "output_text":
            items = text(look(block, "text"))
        case "thinking" | "reasoning":
            items = reasoning(look(block, "thinking") or look(block, "reasoning"))
            items += _read_summary(look(block, "summary"))
        case "reasoning_content":
            # Of Amazon Bedrock.
            items = reasoning(look(look(block, "reasoning_content"), "text"))
        case "refusal":
            items = _read_refusal(look(block, "refusal"))
        case "image" | "image_url" | "file":
            items = _read_file(block)
    for citation in [*(look(block, "annotations") or ()), *(look(block, "citations") or ())]:
        items += sources.take(look(citation, "url") or look(citation, "source"), look(citation, "title"))
    return items


def _read_summary(pieces: Any) -> list[Item]:
    items: list[Item] = []
    for piece in pieces if isinstance(pieces, (list, tuple)) else ():
        # Each paragraph begins with an empty piece.
        is_next = look(piece, "index") and not look(piece, "text")
        items += [Reasoning("\n\n")] if is_next else reasoning(look(piece, "text"))
    return items


def _read_refusal(refusal: Any) -> list[Item]:
    said = text(refusal)
    return [*said, Finish("content-filter")] if said else []


def _read_file(block: Any) -> list[Item]:
    address = look(block, "url") or look(block, "image_url")
    address = look(address, "url") if isinstance(address, Mapping) else address
    media_type, data = look(block, "mime_type"), look(block, "base64") or look(block, "data")
    if isinstance(data, str) and isinstance(media_type, str):
        return [File(media_type, f"data:{media_type};base64,{data}")]
    if isinstance(address, str) and address.startswith("data:image/"):
        return [File(address[5:].partition(";")[0], address)]
    is_web = isinstance(address, str) and address.startswith(("https://", "http://"))
    return [File(media_type if isinstance(media_type, str) else "image/*", str(address))] if is_web else []


def is_message(item: Any) -> bool:
    """Return whether something is a message or a piece of one."""
    return isinstance(look(item, "type"), str) and look(item, "response_metadata") is not None
