"""A reader comes back near the end of an answer: it pays for what it gets, however long the answer is."""

from __future__ import annotations

import asyncio
from functools import partial

from ..client import Exchange, Seeker, begin, download, fetch_json, get, post_chat
from ..logs import Log
from ..measure import medians
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

CHUNK_CHARACTERS = 80
SHORT_CHUNKS = 100
MISSED_CHUNKS = 5
"""So few that the server surely has them in memory while the answer runs (``hub.SPARE_BYTES``): how many more it has
depends on how they came."""
QUIET_SECONDS = 0.1
FIRST_CHUNK = 3
"""Its ``seq_num``: claim, begin record and user message come before it."""


async def run(scale: Scale, log: Log) -> list[Figure]:
    with serve_pair(log, counts=True) as pair:
        return [figure for hold in (0, 1) for figure in await _reconnects(pair.product, scale, log, hold)]


async def _reconnects(server: Server, scale: Scale, log: Log, hold: int) -> list[Figure]:
    state = "running" if hold else "finished"
    counts = SHORT_CHUNKS, scale.replay_chunks
    for count in counts:
        await _write(server, f"{state}-{count}", count, hold)
    requests = [
        get(f"/chat/{state}-{count}/stream", Last_Event_ID=str(count + FIRST_CHUNK - MISSED_CHUNKS)) for count in counts
    ]
    (short_records, records) = [await _records_read(server, request) for request in requests]
    (short, long) = await medians(scale.reconnects, *(partial(_seconds, server, request) for request in requests))
    who = f"reconnect {MISSED_CHUNKS} chunks before the end of {scale.replay_chunks:,}, {state}"
    return [
        Figure(
            name=f"{who}: time (peer: of {SHORT_CHUNKS})",
            unit="ms",
            product=long * 1000,
            bare=short * 1000,
            at_most=log.aims.reconnect,
            is_ratio=True,
        ),
        Figure(
            name=f"{who}: records read (peer: of {SHORT_CHUNKS})",
            unit="",
            product=records,
            bare=short_records,
            at_most=log.aims.reconnect,
            is_ratio=True,
        ),
    ]


async def _write(server: Server, chat_id: str, count: int, hold: int) -> None:
    """Have an answer written, and return when all its chunks, and its end if it has one, are on the log."""
    await download(server, post_chat("/background", chat_id, count=count, size=CHUNK_CHARACTERS, hold=hold))
    reader = await begin(server, Seeker(get(f"/chat/replay?id={chat_id}&from=0"), cursor=count + FIRST_CHUNK))
    await reader.has_come
    if hold:
        reader.transport.abort()
    await reader.over


async def _records_read(server: Server, request: bytes) -> int:
    before = await _quiet_count(server)
    await _seconds(server, request)
    return await _quiet_count(server) - before


async def _quiet_count(server: Server) -> int:
    """Return how many records were read from the log, once earlier readers have surely left."""
    count, last = -1, -2
    while count != last:
        await asyncio.sleep(QUIET_SECONDS)
        count, last = (await fetch_json(server, "/counts"))["records"], count
    return count


async def _seconds(server: Server, request: bytes) -> float:
    """Reconnect; return how long it took until the missed chunks came."""
    reader = await begin(server, Exchange(request))
    await reader.has_frame
    reader.transport.abort()
    await reader.over
    assert reader.first_frame_seconds is not None, "The server had nothing to give."
    return reader.first_frame_seconds
