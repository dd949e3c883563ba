"""What AI SDK clients take for a chunk (``ui-message-chunks.ts`` of the npm package ``ai``).

A client that gets a chunk it does not take gives up on the whole answer. Fields that a version does not know are
ignored by it; types that it does not know are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

NEWEST_VERSION = 7
OLDEST_VERSION = 5

FieldCheck = Callable[[Any], bool]


def _is_anything(_: Any) -> bool:
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_provider_metadata(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(entry, Mapping) for entry in value.values())


def _is_index(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # To JavaScript, 1.0 is a whole number.
    return 0 <= value < 2**53 and value == int(value)


def _is_encoding(value: Any) -> bool:
    return value in ("json", "text")


_FINISH_REASONS = ("stop", "length", "content-filter", "tool-calls", "error", "other")


def _is_finish_reason_5(value: Any) -> bool:
    return value in (*_FINISH_REASONS, "unknown")


def _is_finish_reason_6(value: Any) -> bool:
    return value in _FINISH_REASONS


def _is_finish_reason_7(value: Any) -> bool:
    return value in (*_FINISH_REASONS, "interrupted")


def _fits(value: Any, fields: Mapping[str, FieldCheck], optional: Mapping[str, FieldCheck]) -> bool:
    if not isinstance(value, Mapping):
        return False
    required = all(name in value and check(value[name]) for name, check in fields.items())
    return required and all(check(value[name]) for name, check in optional.items() if name in value)


def _is_citation_source(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.get("type") != "source":
        return False
    optional = {"title": _is_text, "filename": _is_text, "providerMetadata": _is_provider_metadata}
    if value.get("sourceType") == "url":
        del optional["filename"]
        return _fits(value, {"id": _is_text, "url": _is_text}, optional)
    if value.get("sourceType") == "document":
        return _fits(value, {"id": _is_text, "mediaType": _is_text, "title": _is_text}, optional)
    return False


def _are_citations(value: Any) -> bool:
    optional = {"startIndex": _is_index, "endIndex": _is_index, "citedText": _is_text}
    return isinstance(value, list) and all(_fits(entry, {"source": _is_citation_source}, optional) for entry in value)


def _is_steering_part(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if value.get("type") == "text":
        return _fits(value, {"text": _is_text}, {"providerMetadata": _is_provider_metadata})
    optional = {"filename": _is_text, "providerReference": _is_reference, "providerMetadata": _is_provider_metadata}
    return value.get("type") == "file" and _fits(value, {"mediaType": _is_text, "url": _is_text}, optional)


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(entry, str) for entry in value.values())


def _are_steering_parts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_steering_part, value))


_CHECKS: dict[str, FieldCheck] = {
    "any": _is_anything,
    "text": _is_text,
    "flag": _is_flag,
    "object": _is_object,
    "metadata": _is_provider_metadata,
    "encoding": _is_encoding,
    "citations": _are_citations,
    "parts": _are_steering_parts,
    "finish5": _is_finish_reason_5,
    "finish6": _is_finish_reason_6,
    "finish7": _is_finish_reason_7,
}

# One field is ``name[?][:check]``, with ``?`` if it may be missing, and "text" if no check is named. Not listed are
# fields that may be missing and may hold anything.
_TYPES_5 = {
    "text-start": "id providerMetadata?:metadata",
    "text-delta": "id delta providerMetadata?:metadata",
    "text-end": "id providerMetadata?:metadata",
    "reasoning-start": "id providerMetadata?:metadata",
    "reasoning-delta": "id delta providerMetadata?:metadata",
    "reasoning-end": "id providerMetadata?:metadata",
    "error": "errorText",
    "tool-input-start": "toolCallId toolName providerExecuted?:flag dynamic?:flag",
    "tool-input-delta": "toolCallId inputTextDelta",
    "tool-input-available": (
        "toolCallId toolName input:any providerExecuted?:flag providerMetadata?:metadata dynamic?:flag"
    ),
    "tool-input-error": (
        "toolCallId toolName input:any errorText providerExecuted?:flag providerMetadata?:metadata dynamic?:flag"
    ),
    "tool-output-available": "toolCallId output:any providerExecuted?:flag dynamic?:flag preliminary?:flag",
    "tool-output-error": "toolCallId errorText providerExecuted?:flag dynamic?:flag",
    "source-url": "sourceId url title? providerMetadata?:metadata",
    "source-document": "sourceId mediaType title filename? providerMetadata?:metadata",
    "file": "url mediaType providerMetadata?:metadata",
    "start-step": "",
    "finish-step": "",
    "start": "messageId?",
    "finish": "finishReason?:finish5",
    "abort": "",
    "message-metadata": "messageMetadata:any",
}
_ADDED_IN_6 = {
    "tool-input-start": "title? inputEncoding?:encoding providerMetadata?:metadata toolMetadata?:object",
    "tool-input-available": "title? toolMetadata?:object",
    "tool-input-error": "title? toolMetadata?:object",
    "tool-output-available": "providerMetadata?:metadata toolMetadata?:object",
    "tool-output-error": "providerMetadata?:metadata toolMetadata?:object",
    "tool-approval-request": "approvalId toolCallId signature?",
    "tool-output-denied": "toolCallId",
    "finish": "finishReason?:finish6",
    "abort": "reason?",
}
_ADDED_IN_7 = {
    "text-end": "citations?:citations",
    "tool-approval-request": "reason? isAutomatic?:flag",
    "tool-approval-response": ("approvalId approved:flag reason? providerExecuted?:flag providerMetadata?:metadata"),
    "custom": "kind providerMetadata?:metadata",
    "reasoning-file": "url mediaType providerMetadata?:metadata",
    "steering-message": "id parts:parts",
    "reset-step": "",
    "finish": "finishReason?:finish7",
}
_DATA_FIELDS = "data:any id? transient?:flag"

_FIELD = re.compile(r"(?P<name>\w+)(?P<optional>\??)(?::(?P<check>\w+))?")

Fields = dict[str, tuple[bool, FieldCheck]]


def _read_fields(line: str) -> Fields:
    found = (_FIELD.fullmatch(field) for field in line.split())
    return {match["name"]: (match["optional"] == "", _CHECKS[match["check"] or "text"]) for match in found if match}


def _tables() -> dict[int, dict[str, Fields]]:
    """Each version takes what the one before it took, and more."""
    tables: dict[int, dict[str, Fields]] = {}
    fields: dict[str, Fields] = {}
    for version, added in ((5, _TYPES_5), (6, _ADDED_IN_6), (7, _ADDED_IN_7)):
        fields = dict(fields)
        for kind, line in added.items():
            fields[kind] = fields.get(kind, {}) | _read_fields(line)
        tables[version] = fields
    return tables


_TABLES = _tables()
_DATA = _read_fields(_DATA_FIELDS)

CHUNK_TYPES = frozenset(_TABLES[NEWEST_VERSION])
"""All types that the newest version knows, beside ``data-…``."""


def is_taken(chunk: Any, version: int = NEWEST_VERSION) -> bool:
    """Tell whether clients of ``version`` take the decoded chunk."""
    if not isinstance(chunk, dict) or not isinstance(kind := chunk.get("type"), str):
        return False
    fields = _DATA if kind.startswith("data-") else _TABLES[version].get(kind)
    if fields is None:
        return False
    for name, (required, check) in fields.items():
        if name in chunk:
            if not check(chunk[name]):
                return False
        elif required:
            return False
    return True
