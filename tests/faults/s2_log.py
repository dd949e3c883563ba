"""What stands on an S2 log, read by a process that is not the server."""

from __future__ import annotations

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.records import SequencedRecord
from resumable_stream.testing import read_all

from ..s2_lite import S2Lite


async def records_of(server: S2Lite, chat: str) -> list[SequencedRecord]:
    """Read every record of the one stream whose name ends with the chat's id."""
    backend = S2Backend("inspection", server.options())
    try:
        listed = await backend.list_streams("chat/")
        [stream] = [info.name for info in listed.streams if info.name.endswith(chat)]
        return list(await read_all(backend, stream))
    finally:
        await backend.close()
