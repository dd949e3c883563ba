"""Readers that gather what they see."""

from __future__ import annotations

from contextlib import aclosing

from resumable_stream.protocol.layout import Chunk, Ended, Entry
from resumable_stream.readers.reader import Reader


async def gather(reader: Reader, into: list[Entry] | None = None) -> list[Entry]:
    """Read to the end; what has come so far is in ``into``."""
    found = [] if into is None else into
    async with aclosing(reader.frames()) as batches:
        async for frames in batches:
            found += [frame.entry for frame in frames]
    return found


def bodies(entries: list[Entry]) -> list[str]:
    return [entry.body for entry in entries if isinstance(entry, Chunk)]


def ends(entries: list[Entry]) -> list[str]:
    return [entry.facts.reason.value for entry in entries if isinstance(entry, Ended)]
