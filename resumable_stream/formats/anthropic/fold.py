"""Fold raw message events into the message that Anthropic's TypeScript SDK makes of them (``MessageStream.ts``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...types import Message
from ..jsontext import decode, mend_surrogates

_CALLS = ("tool_use", "server_tool_use")
_USAGE = (
    *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
    *("server_tool_use", "output_tokens_details"),
)
"""Counters of the whole message; one that is missing or null leaves what was told before."""

# What JSON consists of, as far as it takes to close what was cut.
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<cut>"(?:[^"\\]|\\.)*\\?\Z)|-?[0-9.][0-9.eE+-]*|-|[A-Za-z]+|[{}\[\]:,]', re.DOTALL
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CLOSERS = {"{": "}", "[": "]"}
_COMPLETE = ("true", "false", "null", "{", "}", "[", "]")


def fold_events(chunks: Iterable[str]) -> Message | None:
    """Fold the events of one message; ``None`` if it never started."""
    message: Message | None = None
    pieces: dict[int, list[str]] = {}
    """What deltas added to blocks, by index: joined at the end, for answers come in many small pieces."""
    for event in _events(chunks):
        if event["type"] == "error":
            break
        try:
            if message is not None:
                _add(message, pieces, event)
            elif event["type"] == "message_start":
                message = _begun(event["message"])
        except (KeyError, TypeError, ValueError):
            # Another program's; clients fail here too, and take nothing of what follows.
            break
    for index in pieces:
        assert message is not None
        _join(message["content"][index], pieces[index])
    return message


def _begun(message: Mapping[str, Any]) -> Message:
    return {**message, "id": str(message["id"]), "content": list(message["content"]), "usage": {**message["usage"]}}


def _events(chunks: Iterable[str]) -> Iterator[dict[str, Any]]:
    for chunk in chunks:
        try:
            event = decode(chunk)
        except (ValueError, TypeError):
            # Another program's record, which no client could read either.
            continue
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            yield event


def _add(message: Message, pieces: dict[int, list[str]], event: dict[str, Any]) -> None:
    kind = event["type"]
    if kind == "message_start":
        raise ValueError("a message within a message")
    if kind == "message_delta":
        _add_message_delta(message, event)
    elif kind == "content_block_start":
        message["content"].append({**event["content_block"]})
    elif kind == "content_block_delta" and 0 <= event["index"] < len(message["content"]):
        _add_delta(message["content"][event["index"]], pieces.setdefault(event["index"], []), event["delta"])


def _add_message_delta(message: Message, event: Mapping[str, Any]) -> None:
    delta, usage = event["delta"], event["usage"]
    message["stop_reason"] = delta["stop_reason"]
    message["stop_sequence"] = delta["stop_sequence"]
    message.pop("stop_details", None)
    if "stop_details" in delta:
        message["stop_details"] = delta["stop_details"]
    if delta.get("container") is not None:
        message["container"] = delta["container"]
    message["usage"]["output_tokens"] = usage["output_tokens"]
    message["usage"] |= {name: usage[name] for name in _USAGE if usage.get(name) is not None}


def _add_delta(block: dict[str, Any], pieces: list[str], delta: Mapping[str, Any]) -> None:
    match block["type"], delta["type"]:
        case "text", "text_delta":
            pieces.append(_text(delta["text"]))
        case "text", "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        case "thinking", "thinking_delta":
            pieces.append(_text(delta["thinking"]))
        case "thinking", "signature_delta":
            block["signature"] = delta["signature"]
        case kind, "input_json_delta" if kind in _CALLS:
            pieces.append(_text(delta["partial_json"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a piece that is no text")
    return value


def _join(block: dict[str, Any], pieces: list[str]) -> None:
    if not pieces:
        return
    if block["type"] in _CALLS:
        block["input"] = parse_cut_json("".join(pieces))
    else:
        block[block["type"]] = mend_surrogates(str(block.get(block["type"], "")) + "".join(pieces))


def parse_cut_json(text: str) -> Any:
    """Decode JSON that may have been cut: what was cut within is dropped, what was open is closed.

    A text that is not JSON either way, at which the client fails, is an empty object.
    """
    try:
        return decode(text)
    except (ValueError, TypeError):
        pass
    try:
        return decode("".join(_completed(text)))
    except (ValueError, TypeError):
        return {}


def _completed(text: str) -> list[str]:
    tokens = [match[0] for match in _TOKEN.finditer(text) if match["cut"] is None]
    closers: list[str] = []
    for token in tokens:
        if token in _CLOSERS:
            closers.append(_CLOSERS[token])
        elif token in ("}", "]") and closers:
            closers.pop()
    # A number that the text ends with might have gone on.
    if not tokens or text.endswith(tokens[-1]) or not _NUMBER.fullmatch(tokens[-1]):
        _drop_cut(tokens, is_in_object=closers[-1:] == ["}"])
    return [*tokens, *reversed(closers)]


def _drop_cut(tokens: list[str], *, is_in_object: bool) -> None:
    """Drop from the end what needs something after it, or might have gone on."""
    while tokens and tokens[-1] != ",":
        last, before = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
        is_text = last.startswith('"') and not (is_in_object and before in ("{", ","))
        if is_text or last in _COMPLETE:
            return
        tokens.pop()
    # What stands before a comma is complete.
    del tokens[-1:]
