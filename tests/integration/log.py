"""What stands on the log, read by a process that is not the server, and judged by the layout's own public rules."""

from __future__ import annotations

from pathlib import Path

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.records import SequencedRecord

from .servers import log_path


async def records_of(directory: Path, chat: str) -> list[SequencedRecord]:
    """Read every record of the one stream whose name ends with the chat's id."""
    backend = SQLiteBackend("inspection", {"path": log_path(directory)})
    try:
        listed = await backend.list_streams()
        [stream] = [info.name for info in listed.streams if info.name.endswith(chat)]
        records: list[SequencedRecord] = []
        while batch := (await backend.read(stream, len(records))).records:
            records += batch
        return records
    finally:
        await backend.close()


def fences_of(records: list[SequencedRecord]) -> list[str]:
    """List the kinds of the fences in their order: ``claim``, or a terminal's end reason."""
    return [_kind(record.body) for record in records if record.is_fence]


def _kind(token: str) -> str:
    if not token.startswith(("end-", "error-")):
        return "claim"
    return token.split("-")[1]


def strays_of(records: list[SequencedRecord]) -> list[SequencedRecord]:
    """List the records that stand after a terminal and before the next claim, where nothing belongs."""
    strays, is_owned = [], False
    for record in records:
        if record.is_fence:
            is_owned = _kind(record.body) == "claim"
        elif not is_owned:
            strays.append(record)
    return strays
