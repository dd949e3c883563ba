"""Following a stream: one read session after the other, each from exactly where the one before it broke off.

S2 sends events (Server-Sent Events): ``batch`` with records, ``ping`` whenever everything has been delivered and then
at least every 15 seconds, ``error`` before it gives up. A session may end at any time, also cleanly, and none of its
ends says anything about the stream: only the next session does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

from ...exceptions import ReadUnwrittenError, RecordsTrimmedError, StreamNotFoundError
from ...records import FollowBatch, SequencedRecord
from ...utils.event_parser import ParsedEvent
from .api import NOT_FOUND_TRIES, S2Http
from .backoff import RetryDelays
from .client import REQUEST_ERRORS
from .codec import decode_records, first_gap
from .errors import Fault, Kind
from .read_session import ReadSession, SessionInDoubtError

CheckKept = Callable[[str, int], Awaitable[None]]
"""Raises :exc:`RecordsTrimmedError` if a stream's record at a position is gone."""


class FollowedBatch(NamedTuple):
    """What one event tells."""

    records: tuple[SequencedRecord, ...]
    tail: int | None
    """Where the stream ends, if the event says so."""


class S2Follower:
    """One reader of one stream, with its position."""

    def __init__(self, http: S2Http, stream: str, start: int, check_kept: CheckKept) -> None:
        self._http = http
        self._stream = stream
        self._position = start
        self._check_kept = check_kept
        self._caught_up = False
        self._was_open = False
        self._not_found = 0
        self._fault: Fault
        """Why the last session ended."""
        self._backoff = RetryDelays(http.config.follow_retry_seconds, first=0.02)

    async def batches(self) -> AsyncGenerator[FollowBatch, None]:
        """Yield batches for ever, over as many sessions as it takes."""
        while True:
            opened = await self._http.open_session(self._stream, self._position)
            if isinstance(opened, Fault):
                self._fault = opened
            else:
                self._was_open, self._not_found = True, 0
                try:
                    while (delivery := await self._next(opened)) is not None:
                        batch = await self._take(delivery)
                        if batch is not None:
                            yield batch
                finally:
                    await opened.close()
            await self._recover()

    async def _next(self, session: ReadSession) -> FollowedBatch | None:
        """Wait for what a session brings next; at its end, leave the reason in ``_fault``."""
        try:
            event = await session.next_event()
            delivery = _decode(event) if event is not None else None
        except SessionInDoubtError as error:
            self._fault = self._http.judge.ended(str(error))
        except (ValueError, KeyError, TypeError) as error:
            self._fault = self._http.judge.malformed(f"{type(error).__name__}: {error}")
        except REQUEST_ERRORS as error:
            self._fault = self._http.fault(error)
        else:
            if delivery is None:
                self._fault = self._http.judge.ended(event.data if event is not None else "the connection was closed")
            return delivery
        return None

    async def _take(self, delivery: FollowedBatch) -> FollowBatch | None:
        records, tail = delivery
        gap = first_gap(records, self._position)
        if gap is not None:
            raise RecordsTrimmedError(gap)
        self._position += len(records)
        if records:
            self._backoff.got_on()
        else:
            self._backoff.got_a_sign()
        if tail is not None and tail > self._position:
            # S2 skips in silence what was trimmed before it could be sent. A read tells that from a ping that overtook
            # a batch, which S2 does not promise not to do.
            await self._check_kept(self._stream, self._position)
        was_caught_up, self._caught_up = self._caught_up, tail == self._position
        if records or (self._caught_up and not was_caught_up):
            return FollowBatch(records=records, caught_up=self._caught_up)
        return None

    async def _recover(self) -> None:
        """Wait before the next session, or raise what ends the follow."""
        error = self._fault.error
        if isinstance(error, ReadUnwrittenError) and self._was_open:
            # The stream that had these positions is gone; another one has its name.
            raise StreamNotFoundError(self._stream)
        if isinstance(error, StreamNotFoundError):
            self._not_found += 1
        is_final = self._fault.kind is Kind.FINAL and not 0 < self._not_found < NOT_FOUND_TRIES
        if is_final or not await self._backoff.wait(self._fault.retry_after):
            raise error


def _decode(event: ParsedEvent) -> FollowedBatch | None:
    """Decode an event; ``None`` for one that ends the session (``error``, ``[DONE]``)."""
    if event.kind == "batch":
        data = json.loads(event.data)
        return FollowedBatch(decode_records(data["records"]), data["tail"]["seq_num"] if "tail" in data else None)
    if event.kind == "ping":
        return FollowedBatch((), json.loads(event.data)["tail"]["seq_num"])
    return None
