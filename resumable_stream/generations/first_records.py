"""What a generation brings along when it claims its stream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence

from ..formats.base import ChunkEncoder
from ..protocol.claim import Claim
from ..protocol.layout import MAX_APPEND_BYTES, Begin, Chunk, Decoder, chunk_records, user_records
from ..readers.preview import Preview
from ..records import MAX_BATCH_RECORDS, Record, SequencedRecord
from ..types import Message


def opening_records(
    begin: Begin, user_messages: Sequence[Message], encoder: ChunkEncoder, *, told: Collection[str] = ()
) -> list[Record]:
    """Lay out the generation's facts, the messages it brings, and what the format says before the producer does.

    ``told`` are the ids of answers that only the client tells of.
    """
    records = [begin.record()]
    for message in user_messages:
        records += user_records(message, is_told=message.get("id") in told)
    records += [record for chunk in encoder.start() for record in chunk_records(chunk)]
    return records


def key_hash(key: str) -> str:
    """Shorten an idempotency key: clients choose them, and it stands in a header of the log."""
    if not key:
        return ""
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]).decode()


def preview_of(claim: Claim, records: Sequence[Record]) -> Preview:
    """Show what went with the claim, which is on the log already."""
    opening = records[: claim.end - claim.start - 1]
    sequenced = (SequencedRecord(claim.start + 1 + at, 0, *record) for at, record in enumerate(opening))
    entries = Decoder(claim.start, skips_messages=True).feed(sequenced)
    return Preview(claim.end, [entry for entry in entries if isinstance(entry, Chunk)])


def first_append(records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """Split ``records`` into those that go with the claim, beside the end of an abandoned generation, and the rest."""
    room = MAX_APPEND_BYTES // 2
    for index, record in enumerate(records[: MAX_BATCH_RECORDS // 2]):
        room -= record.metered_bytes
        if room < 0 and index:
            return records[:index], records[index:]
    return records[: MAX_BATCH_RECORDS // 2], records[MAX_BATCH_RECORDS // 2 :]
