"""Describe the raw records of a stream for people who watch the log."""

from __future__ import annotations

from typing import Any

from resumable_stream.layout import Token
from resumable_stream.records import Record, SequencedRecord

_MOST_CHARACTERS = 200
_KINDS = {"begin": "begin", "user": "user", "beat": "heartbeat", "end": "end"}


def describe(record: SequencedRecord) -> dict[str, Any]:
    """Say in JSON what a record is: position, time (ms since the Unix epoch), kind, metered bytes, and what it says."""
    kind, text = _kind_and_text(record)
    return {
        "seq_num": record.seq_num,
        "time": record.timestamp,
        "kind": kind,
        "bytes": Record(record.body, record.headers).metered_bytes,
        "text": text[:_MOST_CHARACTERS],
    }


def _kind_and_text(record: SequencedRecord) -> tuple[str, str]:
    if record.is_fence:
        token = Token.parse(record.body)
        return ("fence" if token.is_free else "claim"), record.body
    if record.is_command:
        return "trim", ""
    facts = dict(record.headers)
    kind = _KINDS.get(facts.pop("rs", ""))
    if kind is None:
        return "chunk", record.body
    if kind == "user":
        return kind, facts.get("rs-json", "")
    return kind, " ".join(f"{name.removeprefix('rs-')}={value}" for name, value in facts.items())
