"""Turn an AI SDK message back into chunks: the reverse of the fold.

A generation may continue a message that the client brought along (with a tool's output, or an approval). Its own
chunks then make sense only after that message, and a client that replays them from nothing needs these chunks first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...types import Message
from ..jsontext import encode
from ..outgoing import encode_each
from .chunks import NEWEST_VERSION, is_taken
from .parts import UIPart, is_dynamic, is_static, parts_of, pick, tool_name
from .tools import ToolChunk

_AS_THEY_ARE = ("file", "reasoning-file", "source-url", "source-document", "custom", "steering-message")
"""Parts that say what their chunks said, in the same words."""


def rebuild(message: Message, *, version: int | None) -> list[str]:
    """Return chunks that make ``message`` for a client of ``version``; ``None`` is a client of any version.

    What no chunk can say is left out: for clients of versions 5 and 6 how an approval was answered, and so too if the
    version is not known, since they would fail at the chunk that says it.
    """
    start = {"type": "start", "messageId": message["id"]}
    if message.get("metadata") is not None:
        start["messageMetadata"] = message["metadata"]
    chunks: list[ToolChunk] = [start]
    for index, part in enumerate(parts_of(message)):
        rebuilt = list(_rebuild_part(part, f"rebuilt-{index}", version))
        # The message came from a client. A part that its version would not take, it cannot have had: it is made up.
        if all(is_taken(chunk, version or NEWEST_VERSION) for chunk in rebuilt):
            chunks += rebuilt
    return encode_each(chunks)


def _rebuild_part(part: UIPart, part_id: str, version: int | None) -> Iterator[ToolChunk]:
    if part["type"] == "step-start":
        yield {"type": "start-step"}
    elif part["type"] in ("text", "reasoning"):
        if isinstance(part.get("text"), str):
            yield from _rebuild_text(part, str(part.get("id", part_id)))
    elif part["type"] in _AS_THEY_ARE or part["type"].startswith("data-"):
        yield part
    elif not is_static(part) and not is_dynamic(part):
        # Of no type that a message has parts of. Some chunks have it, and would end the answer.
        return
    elif not isinstance(part.get("toolCallId"), str):
        return
    elif part.get("state") == "input-streaming":
        yield from _rebuild_streamed_input(part)
    elif part.get("state") == "output-error" and "rawInput" in part and "input" not in part:
        yield from _rebuild_erroneous_input(part, version)
    else:
        yield _call("tool-input-available", part) | {"input": part.get("input")}
        yield from _rebuild_approval(part, version)
        yield from _rebuild_result(part)


def _rebuild_text(part: UIPart, part_id: str) -> Iterator[ToolChunk]:
    kind = part["type"]
    yield {"type": f"{kind}-start", "id": part_id} | pick(part, "providerMetadata")
    if part["text"]:
        yield {"type": f"{kind}-delta", "id": part_id, "delta": part["text"]}
    if part.get("state") != "streaming":
        yield {"type": f"{kind}-end", "id": part_id} | pick(part, "citations")


def _call(kind: str, part: UIPart) -> ToolChunk:
    chunk = {"type": kind, "toolCallId": part["toolCallId"], "toolName": tool_name(part)}
    chunk |= pick(part, "providerExecuted", "title", "toolMetadata")
    if is_dynamic(part):
        chunk["dynamic"] = True
    if "callProviderMetadata" in part:
        chunk["providerMetadata"] = part["callProviderMetadata"]
    return chunk


def _rebuild_streamed_input(part: UIPart) -> Iterator[ToolChunk]:
    yield _call("tool-input-start", part) | pick(part, "inputEncoding")
    raw_input = part.get("rawInput") or (encode(part["input"]) if "input" in part else "")
    if raw_input:
        yield {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": raw_input}


def _rebuild_erroneous_input(part: UIPart, version: int | None) -> Iterator[ToolChunk]:
    error = _call("tool-input-error", part) | {"input": part["rawInput"], "errorText": part.get("errorText", "")}
    if version != 5 and ("callProviderMetadata" in part or "title" in part):
        # From version 6 on, what the error chunk brings along is the result's; the call's own came with its start.
        yield _call("tool-input-start", part)
        error.pop("providerMetadata", None)
    if "resultProviderMetadata" in part:
        error["providerMetadata"] = part["resultProviderMetadata"]
    yield error


def _rebuild_approval(part: UIPart, version: int | None) -> Iterator[ToolChunk]:
    approval = part.get("approval")
    if not isinstance(approval, dict) or not isinstance(approval.get("id"), str):
        return
    request = {"type": "tool-approval-request", "approvalId": approval["id"], "toolCallId": part["toolCallId"]}
    request |= pick(approval, "inputSchemaInput", "signature", "isAutomatic")
    if "descriptor" in approval:
        request["approvalDescriptor"] = approval["descriptor"]
    if "requestReason" in approval:
        request["reason"] = approval["requestReason"]
    yield request
    if version is not None and version >= 7 and "approved" in approval:
        response = {"type": "tool-approval-response", "approvalId": approval["id"]}
        yield response | pick(approval, "approved", "reason")


def _rebuild_result(part: UIPart) -> Iterator[ToolChunk]:
    make = _RESULTS.get(str(part.get("state")))
    if make is None:
        return
    chunk = make(part) | {"toolCallId": part["toolCallId"]} | pick(part, "providerExecuted")
    if is_dynamic(part):
        chunk["dynamic"] = True
    if "resultProviderMetadata" in part:
        chunk["providerMetadata"] = part["resultProviderMetadata"]
    yield chunk


_RESULTS: dict[str, Callable[[UIPart], dict[str, Any]]] = {
    "output-available": lambda part: {
        "type": "tool-output-available",
        "output": part.get("output"),
        **pick(part, "preliminary"),
    },
    "output-error": lambda part: {"type": "tool-output-error", "errorText": part.get("errorText", "")},
    "output-denied": lambda _: {"type": "tool-output-denied"},
}
