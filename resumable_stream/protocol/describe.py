"""The raw records of a stream, described for people who look at the log."""

from __future__ import annotations

from dataclasses import dataclass

from ..records import SequencedRecord
from .layout import Token

_KINDS = {"begin": "begin", "user": "user", "beat": "heartbeat", "end": "end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one record is."""

    seq_num: int
    time: int
    """Arrival, in milliseconds since the Unix epoch."""
    kind: str
    """``claim``, ``begin``, ``user``, ``chunk``, ``heartbeat``, ``end``, ``fence`` (a terminal one) or ``trim``."""
    bytes: int
    """Metered."""
    text: str
    """What it says: a token, a chunk, facts."""


def describe(record: SequencedRecord) -> Description:
    """Say what a record is."""
    kind, text = _kind_and_text(record)
    return Description(
        seq_num=record.seq_num,
        time=record.timestamp,
        kind=kind,
        bytes=record.metered_bytes,
        text=text,
    )


def _kind_and_text(record: SequencedRecord) -> tuple[str, str]:
    if record.is_fence:
        return ("fence" if Token.parse(record.body).is_free else "claim"), record.body
    if record.is_command:
        return "trim", ""
    facts = dict(record.headers)
    kind = _KINDS.get(facts.pop("rs", ""))
    if kind is None or record.body:
        return "chunk", record.body
    if kind == "user":
        return kind, facts.get("rs-json", "")
    return kind, " ".join(f"{name.removeprefix('rs-')}={value}" for name, value in facts.items())
