"""What the fuzz suites are made of: JSON that looks like the formats' own, until it does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from resumable_stream.formats.agui.events import EVENT_TYPES
from resumable_stream.formats.aisdk.chunks import CHUNK_TYPES

FORMATS = ("aisdk", "tanstack", "agui", "anthropic", "text", "html")

IDS = ("m1", "m2", "m3", "c1", "c2", "", "__proto__", "\ud800", "é" * 5)
ROLES = ("user", "assistant", "tool", "reasoning", "activity", "system", "developer", "constructor", "")
TEXTS = ("Hi", "", '{"a":1}', '{"a":', "[" * 30, "1e999", "\ud83d", "<b>&", "a\n\r\u2028b", "data: {}\n\n", "x" * 300)
PART_TYPES = (
    *("text", "reasoning", "thinking", "tool-call", "tool-result", "tool-weather", "dynamic-tool"),
    *(
        "ui-resource",
        "file",
        "source-url",
        "data-x",
        "step-start",
        "image",
        "input_json_delta",
        "text_delta",
        "tool_use",
    ),
)
CHUNK_KINDS = (
    *sorted(CHUNK_TYPES),
    *sorted(EVENT_TYPES),
    *("message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop", "error"),
    *("start", "part", "delta", "end", "data-x", "constructor", "toString", "__proto__"),
)
STATES = ("input-streaming", "input-available", "output-available", "output-error", "approval-requested", "complete")
RAW_NUMBERS = ("1e999", "-1e999", "NaN", "Infinity", "1e-999", "-0", "0.1", "9" * 400, "12")
OPERATIONS = ("add", "replace", "remove", "move", "copy", "test", "jump")
POINTERS = ("", "/", "/a", "/a/b", "/a/0", "/a/-", "a", "/~1")
CUSTOM_NAMES = ("structured-output.start", "structured-output.complete", "approval-requested", "ui-resource", "x")


class RawNumber(str):
    """A number as it stands in a JSON text, though Python may have no such number."""

    __slots__ = ()


def to_json(value: Any) -> str:
    """Encode a value with its raw numbers."""
    if isinstance(value, RawNumber):
        return str.__str__(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{to_json(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value)


class Maker:
    """Makes values from one source of randomness."""

    def __init__(self, random: Random, *, oddity: float = 0.1) -> None:
        """``oddity`` is how often a value is none that its place should hold."""
        self._random = random
        self._oddity = oddity
        self._fields: dict[str, Callable[[int], Any]] = {
            **dict.fromkeys(
                ("id", "messageId", "toolCallId", "parentMessageId", "entityId", "approvalId", "stepId", "runId"),
                lambda _: self.one_of(IDS),
            ),
            **dict.fromkeys(
                ("text", "content", "delta", "inputTextDelta", "arguments", "raw", "errorText", "encryptedValue"),
                lambda _: self.one_of(TEXTS),
            ),
            **dict.fromkeys(("toolName", "toolCallName", "name"), lambda _: self.one_of((*CUSTOM_NAMES, "weather"))),
            **dict.fromkeys(("metadata", "providerMetadata", "messageMetadata", "tanstack", "data"), self.json_object),
            **dict.fromkeys(("input", "output", "value", "rawInput", "object"), self.json_value),
            **dict.fromkeys(("parts", "citations"), lambda depth: self.listed(self.part, depth)),
            **dict.fromkeys(("dynamic", "replace", "preliminary", "approved"), lambda _: self.one_of((True, False))),
            "role": lambda _: self.one_of(ROLES),
            "state": lambda _: self.one_of(STATES),
            "type": lambda _: self.one_of(CHUNK_KINDS),
            "index": lambda _: self.one_of((0, 1, 2, -1, 10**30)),
            "messages": lambda depth: self.listed(self.message, depth),
            "toolCalls": lambda depth: self.listed(self.call, depth),
            "approval": lambda depth: self.made(depth, "id", often="approved"),
            "outcome": lambda depth: self.made(depth, "type", often="interrupts"),
            "interrupts": lambda depth: self.listed(self.part, depth),
            "function": lambda depth: self.made(depth, "name", "arguments"),
            "patch": lambda depth: self.listed(self.operation, depth),
            "message": lambda depth: self.made(depth, "id", "role", "content", "usage"),
            "usage": lambda depth: self.made(depth, "output_tokens", often="input_tokens"),
            "content_block": self.part,
            "part": self.part,
            "subtype": lambda _: self.one_of(("tool-call", "message")),
        }

    def one_of(self, values: Sequence[Any]) -> Any:
        """Choose one."""
        return self._random.choice(values)

    def is_odd(self) -> bool:
        """Choose whether a value is to be an odd one."""
        return self._random.random() < self._oddity

    def json_value(self, depth: int = 3) -> Any:
        """Make any value of JSON."""
        kind = self._random.randrange(8 if depth > 0 else 5)
        if kind == 5:
            return [self.json_value(depth - 1) for _ in range(self._random.randrange(3))]
        if kind > 5:
            return self.json_object(depth - 1)
        plain = (None, True, self._random.randrange(-3, 10**6), RawNumber(self.one_of(RAW_NUMBERS)), self.one_of(TEXTS))
        return plain[kind] if kind != 3 or self.is_odd() else 1.5

    def json_object(self, depth: int = 3) -> dict[str, Any]:
        """Make any object of JSON."""
        names = ("a", "b", "type", "tanstack", "signature", "toolCallMetadata", "__proto__", "constructor", *IDS)
        return {self.one_of(names): self.json_value(depth - 1) for _ in range(self._random.randrange(4))}

    def listed(self, make: Callable[[int], Any], depth: int) -> list[Any]:
        """Make a short list."""
        return [make(depth - 1) for _ in range(self._random.randrange(4))] if depth > 0 else []

    def made(self, depth: int, *names: str, often: str = "", rarely: str = "") -> dict[str, Any]:
        """Make an object with these fields, and some others by chance; the latter are named in one text."""
        chosen = [name for name in names if not self.is_odd()]
        chosen += [name for name in often.split() if self._random.random() < 0.5]
        chosen += [name for name in rarely.split() if self._random.random() < 0.15]
        if self.is_odd():
            chosen.append(self.one_of(tuple(self._fields)))
        return {name: self.field(name, depth - 1) for name in chosen}

    def field(self, name: str, depth: int = 3) -> Any:
        """Make what usually stands in a field."""
        if depth < 0 or self.is_odd() or name not in self._fields:
            return self.json_value(depth)
        return self._fields[name](depth)

    def call(self, depth: int = 3) -> Any:
        """Make a call as AG-UI's messages have it."""
        return self.json_value(depth) if self.is_odd() else self.made(depth, "id", "function", rarely="metadata type")

    def operation(self, depth: int = 3) -> Any:
        """Make an operation of a JSON Patch."""
        if self.is_odd():
            return self.json_value(depth)
        places = {"path": self.one_of(POINTERS), "from": self.one_of(POINTERS)}
        return {"op": self.one_of(OPERATIONS), **places, "value": self.json_value(depth)}

    def part(self, depth: int = 3) -> Any:
        """Make a part of a message."""
        if self.is_odd():
            return self.json_value(depth)
        often = "text content id toolCallId toolName name state input output"
        rarely = "approval arguments data stepId raw providerMetadata citations rawInput preliminary"
        return {"type": self.one_of(PART_TYPES), **self.made(depth, often=often, rarely=rarely)}

    def message(self, depth: int = 4) -> Any:
        """Make a message, of whichever client."""
        if self.is_odd():
            return self.json_value(depth)
        rarely = "toolCalls toolCallId metadata name encryptedValue"
        return self.made(depth, "id", "role", often="content parts", rarely=rarely)

    def body(self) -> Any:
        """Make the body of a request for an answer."""
        if self.is_odd():
            return self.json_value()
        messages = [self.message() for _ in range(self._random.randrange(1, 5))]
        body: dict[str, Any] = {"id": self.one_of(("chat", "chat", "", "c/d")), "messages": messages}
        if self.one_of((True, False, False, False)):
            body["message"] = body.pop("messages")[0]
        return body | self.made(2, rarely="runId threadId messageId trigger metadata")

    def chunk(self) -> str:
        """Make a stored chunk, of whichever format; now and then no chunk at all."""
        if self.is_odd():
            odd = ("", "[DONE]", "{", "null", "5", '"text"', '{"type":5}', "[" * 600, to_json(self.json_value()))
            return str(self.one_of(odd))
        often = "messageId id toolCallId delta index"
        rarely = (
            "toolCallName toolName role inputTextDelta input output metadata messageMetadata approvalId patch messages "
            "content part message name value content_block usage parentMessageId entityId encryptedValue subtype "
            "replace activityType parts errorText outcome runId dynamic stepName end error"
        )
        chunk = self.made(3, often=often, rarely=rarely)
        return to_json({**chunk, "type": self.field("type")})
