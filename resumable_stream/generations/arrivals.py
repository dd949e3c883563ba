"""Requests in the order in which they came, so that a stop also finds a start that has not got far.

Nothing of a start is on the log before its claim, and its stream is not even known while the app's hooks decide on it.
A stop that comes meanwhile would find nothing, and the answer would be written all the same. Therefore each start and
each stop is noted as it arrives. A stop leaves a mark for its stream, and a start that came before it is stopped as
soon as it has claimed that stream: before its producer is asked for anything.

This holds within one process: what another one has not yet put on the log, nobody can know. Nor can a stop leave a note
on the log for it. A first question has no stream yet that could hold one, and a request that is refused must not make
one. And whether a start came before or after the note could be told only by the two machines' clocks, or by a read of
the stream as the request arrives, before it is known whether its client may read that. A note that outlives its moment
would end the next question, which is worse than a stop that has to be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

StreamKey = tuple[str, str]
"""A log's alias and a stream's name."""


class Arrival:
    """One request to start or to stop an answer."""

    def __init__(self, number: int, chat_id: str) -> None:
        self.number = number
        """Grows with each request."""
        self.chat_id = chat_id
        """Empty if the request does not say."""
        self.stream: StreamKey | None = None
        """What a start will claim, once that is known."""
        self.is_stopped = False
        """Whether somebody has stopped this very start."""
        self.stopped_id: str | None = None
        """The generation that this start has begun, if it was stopped at once."""
        self.is_over = asyncio.Event()
        """Set when a start has begun its generation, or failed."""
        self.holders = 0

    def may_be_for(self, stream: StreamKey, chat_id: str) -> bool:
        """Return whether this start may claim ``stream``, as far as that is known."""
        return self.stream == stream if self.stream is not None else self.chat_id == chat_id


class Arrivals:
    """The starts that one event loop is looking at, and the stops that came meanwhile."""

    def __init__(self) -> None:
        self._count = 0
        self._starting: dict[int, Arrival] = {}
        self._stops: dict[StreamKey, int] = {}
        """The newest stop of each stream, by its number, in their order; as long as an earlier start may claim it."""

    def arrive(self, chat_id: str = "") -> Arrival:
        """Note a request that has just come."""
        self._count += 1
        return Arrival(self._count, chat_id)

    @contextmanager
    def starting(self, arrival: Arrival) -> Iterator[None]:
        """Let stops find a start. May be entered again while it is; the last one to leave ends it."""
        arrival.holders += 1
        self._starting[arrival.number] = arrival
        try:
            yield
        finally:
            arrival.holders -= 1
            if not arrival.holders:
                del self._starting[arrival.number]
                arrival.is_over.set()
                self._forget()

    def stop(self, stream: StreamKey, stop: Arrival) -> list[Arrival]:
        """Mark ``stream`` as stopped, and return the earlier starts that may claim it."""
        earlier = [start for start in self._starting.values() if start.number < stop.number]
        if earlier:
            # Taken out first: the newest mark stands last.
            self._stops[stream] = max(self._stops.pop(stream, 0), stop.number)
        return [start for start in earlier if start.may_be_for(stream, stop.chat_id)]

    def is_stopped(self, start: Arrival) -> bool:
        """Return whether a stop has come after ``start`` for the stream that it has claimed."""
        return start.is_stopped or (start.stream is not None and self._stops.get(start.stream, 0) > start.number)

    async def carry(self, start: Arrival, work: Coroutine[Any, Any, T]) -> T:
        """Await what ``start`` is about; until it is done, stops find it, whoever waits for it."""
        with self.starting(start):
            return await work

    def _forget(self) -> None:
        """Drop marks that no start can meet any more."""
        oldest = min(self._starting, default=self._count + 1)
        for stream, number in list(self._stops.items()):
            if number > oldest:
                break
            del self._stops[stream]
