"""S2's JSON in both directions: appends out; acknowledgements, records, tails and listings in. No I/O.

S2 takes and gives header names, values and bodies as text (``s2-format: raw``) or as base64. Text is cheaper on both
sides, so base64 is used only for what text cannot carry.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from ...exceptions import InvalidRecordError
from ...records import TRIM_HEADERS, AppendAck, Record, SequencedRecord, StreamInfo

MAX_CONTENT_BYTES = 2_000_000
"""Most bytes of an append's JSON. S2 refuses 2 MiB, and resets the connection on much more, which looks like an unknown
outcome that no repetition resolves; so nothing near it is sent."""

# Escapes would cost two to three times the bytes for anything that is not ASCII.
_encode_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class AppendContent(NamedTuple):
    """The body of an append request."""

    content: bytes
    is_base64: bool
    """Whether the request must say ``s2-format: base64``."""


def encode_append(records: Sequence[Record], *, fencing_token: str | None, match_seq_num: int | None) -> AppendContent:
    """Encode an append as S2 wants it; the same arguments always give the same bytes.

    Raises:
        InvalidRecordError: The JSON would be larger than S2 takes, which within the metered limits only thousands of
            tiny headers can bring about.
    """
    conditions: dict[str, Any] = {}
    if fencing_token is not None:
        conditions["fencing_token"] = fencing_token
    if match_seq_num is not None:
        conditions["match_seq_num"] = match_seq_num
    if not any(_needs_base64(record) for record in records):
        content = _encode({"records": [_text(record) for record in records], **conditions})
        if len(content) <= MAX_CONTENT_BYTES:
            return AppendContent(content, False)
    # A body of control characters is six times its size in JSON, but never more than 4/3 in base64.
    content = _encode({"records": [_base64(record) for record in records], **conditions})
    if len(content) > MAX_CONTENT_BYTES:
        raise InvalidRecordError(
            f"The append takes {len(content)} bytes as JSON, more than the {MAX_CONTENT_BYTES} that S2 takes. "
            "Split it, or use fewer headers."
        )
    return AppendContent(content, True)


def decode_ack(data: dict[str, Any]) -> AppendAck:
    """Decode the answer to an append."""
    return AppendAck(start=data["start"]["seq_num"], end=data["end"]["seq_num"], tail=data["tail"]["seq_num"])


def decode_records(rows: list[dict[str, Any]]) -> tuple[SequencedRecord, ...]:
    """Decode the records of a batch; S2 leaves out empty bodies and headers."""
    return tuple(
        [
            SequencedRecord(row["seq_num"], row["timestamp"], row.get("body", ""), _headers(row["headers"]))
            if "headers" in row
            else SequencedRecord(row["seq_num"], row["timestamp"], row.get("body", ""))
            for row in rows
        ]
    )


def first_gap(records: Sequence[SequencedRecord], position: int) -> int | None:
    """Return the ``seq_num`` found where ``position`` or a later one was due, or ``None`` if nothing is missing."""
    if not records or (records[0].seq_num == position and records[-1].seq_num == position + len(records) - 1):
        return None
    return next(record.seq_num for due, record in enumerate(records, position) if record.seq_num != due)


def decode_listing(data: dict[str, Any]) -> tuple[tuple[StreamInfo, ...], bool, str]:
    """Decode a page of a listing: its streams but those being deleted, whether there are more, and its last name."""
    rows = data["streams"]
    streams = tuple(_stream(row) for row in rows if row.get("deleted_at") is None)
    return streams, data["has_more"] and bool(rows), rows[-1]["name"] if rows else ""


def decode_date(value: str | None) -> int | None:
    """Decode an HTTP date into milliseconds since the Unix epoch."""
    try:
        return int(parsedate_to_datetime(value).timestamp() * 1000) if value else None
    except ValueError:
        return None


def _stream(row: dict[str, Any]) -> StreamInfo:
    created = datetime.fromisoformat(row["created_at"])
    return StreamInfo(name=row["name"], created_at=int(created.timestamp() * 1000))


def _encode(data: dict[str, Any]) -> bytes:
    return _encode_json(data).encode()


def _needs_base64(record: Record) -> bool:
    # A trim's body is eight bytes; those of 0x80 and above are no UTF-8 of their own.
    return record.headers == TRIM_HEADERS and not record.body.isascii()


def _text(record: Record) -> dict[str, Any]:
    body, headers = record
    return {"body": body, "headers": headers} if headers else {"body": body}


def _base64(record: Record) -> dict[str, Any]:
    body = record.body.encode("latin-1" if record.headers == TRIM_HEADERS else "utf-8")
    headers = [[_b64(name.encode()), _b64(value.encode())] for name, value in record.headers]
    return {"body": _b64(body), "headers": headers}


def _b64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _headers(pairs: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple([(name, value) for name, value in pairs])
