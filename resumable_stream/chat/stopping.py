"""Stop what runs on a stream, in this process or in another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ..generations.arrivals import Arrival
from ..protocol.ending import stop
from ..protocol.perform import perform
from ..runtime import runtime
from ..types import EndReason
from .chat_stream import ChatStream

STOP_WAIT_SECONDS = 5.0
"""How long a stop waits for its terminal record before it answers."""


async def stop_running(stream: ChatStream, generation_id: str | None, arrival: Arrival | None) -> str | None:
    """Stop what runs; see :meth:`~resumable_stream.chat.engine.ChatEngine.end`."""
    here = runtime()
    starts: list[Arrival] = []
    if generation_id is None:
        starts = here.arrivals.stop(stream.key, arrival or here.arrivals.arrive())
    generation = here.registry.get(stream.backend, stream.name)
    # Only the log knows of any other: what this process writes may have ended there, its reply being lost.
    if generation is not None and generation_id in (None, generation.id):
        generation.stop()
        # The log may be out of reach; what was asked for happens all the same as soon as it is back.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT_SECONDS):
                await generation.is_over.wait()
        if generation.end is EndReason.STOPPED:
            return generation.id
    # As with a start: what is begun is done, on_end included, should the client go away meanwhile.
    stopped = await here.registry.carry_through(_stop(stream, generation_id))
    return stopped if stopped is not None else await _stopped_of(starts)


async def _stopped_of(starts: Sequence[Arrival]) -> str | None:
    """Wait for starts that a stop is meant for, and return the generation that one of them has begun."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_WAIT_SECONDS):
            for start_ in starts:
                await start_.is_over.wait()
    found = next((start_.stopped_id for start_ in starts if start_.stopped_id is not None), None)
    is_open = any(not start_.is_over.is_set() for start_ in starts)
    return "" if found is None and is_open else found


async def _stop(stream: ChatStream, generation_id: str | None) -> str | None:
    ended = await perform(stop(generation_id, stream.encoder_for), stream.backend, stream.name)
    if ended is None:
        return None
    await stream.ends.notify_foreign(stream.backend, stream.name, ended)
    return ended.facts.generation_id
