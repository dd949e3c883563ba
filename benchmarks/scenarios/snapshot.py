"""A page with a long chat is loaded: what is over comes as one snapshot, rather than chunk by chunk."""

from __future__ import annotations

import json
from functools import partial
from typing import NamedTuple

from ..client import Exchange, begin, download, get, post_json
from ..logs import Log
from ..measure import medians_of, rounds
from ..processes import Server, serve_pair
from ..report import Figure
from ..scale import Scale

CHUNK_CHARACTERS = 20
"""About what a model says at a time."""
CHAT = "long"


class Load(NamedTuple):
    """What it takes until a client has it all."""

    seconds: float
    mebibytes: float
    cpu_seconds: float


class Loader(Exchange):
    """Leaves as soon as it has received ``marker`` so many times."""

    def __init__(self, request: bytes, marker: bytes, count: int) -> None:
        super().__init__(request)
        self._marker = marker
        self._missing = count
        self._rest = b""

    def take(self, data: bytes) -> None:
        joined = self._rest + data
        self._missing -= joined.count(self._marker)
        # No marker fits into what is kept, but its beginning does.
        self._rest = joined[-(len(self._marker) - 1) :]
        if self._missing <= 0:
            self.transport.abort()


async def run(scale: Scale, log: Log) -> list[Figure]:
    with serve_pair(log) as pair:
        for turn in range(scale.turns):
            await _say(pair.product, turn, scale.replay_chunks // scale.turns)
        # A snapshot is one frame, the only one with messages; without it, each turn ends.
        folded = partial(_load, pair.product, f"/session/replay?id={CHAT}", b'"}]}]}\n\n', 1)
        raw = partial(_load, pair.product, f"/session/replay?id={CHAT}&from=0", b'"type":"RUN_FINISHED"', scale.turns)
        with_snapshot, without = map(medians_of, await rounds(scale.repeats, folded, raw))
    who = f"first load of {scale.turns} turns, {scale.replay_chunks:,} chunks"
    return [
        Figure(name=f"{who}: {what} (peer: without a snapshot)", unit=unit, product=product, bare=peer)
        for (what, unit), product, peer in zip(
            [("time", "s"), ("received", "MiB"), ("CPU", "s")], with_snapshot, without, strict=True
        )
    ]


async def _say(server: Server, turn: int, count: int) -> None:
    """Have one turn written, and return when it is over."""
    said = json.dumps({"count": count, "size": CHUNK_CHARACTERS})
    message = {"id": f"u{turn}", "role": "user", "parts": [{"type": "text", "content": said}]}
    await download(server, post_json("/session", {"id": CHAT, "runId": f"r{turn}", "messages": [message]}))


async def _load(server: Server, path: str, marker: bytes, count: int) -> Load:
    before = server.cpu()
    loader = await begin(server, Loader(get(path), marker, count))
    await loader.over
    return Load(loader.seconds, loader.received_bytes / 2**20, server.cpu().since(before).app)
