"""Following a stream: one read session after the other, each from exactly where the one before it broke off.

S2 sends events (Server-Sent Events): ``batch`` with records, ``ping`` whenever everything has been delivered and then
at least every 15 seconds, ``error`` before it gives up. A session may end at any time, also cleanly, and none of its
ends says anything about the stream: only the next session does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import NamedTuple

from httpx_sse import EventSource, ServerSentEvent, SSEError

from ..exceptions import ReadUnwrittenError, RecordsTrimmedError, StreamNotFoundError
from ..records import FollowBatch, SequencedRecord
from .backoff import Backoff
from .s2_client import REQUEST_ERRORS
from .s2_codec import decode_records, first_gap
from .s2_doubts import Session, SessionInDoubtError
from .s2_errors import Fault, Kind
from .s2_http import NOT_FOUND_TRIES, S2Http

CheckKept = Callable[[int], Awaitable[None]]
"""Raises :exc:`RecordsTrimmedError` if the stream's record at a position is gone."""


class Delivery(NamedTuple):
    """What one event tells."""

    records: tuple[SequencedRecord, ...]
    tail: int | None
    """Where the stream ends, if the event says so."""


class Follower:
    """One reader of one stream, with its position."""

    def __init__(self, http: S2Http, stream: str, start: int, check_kept: CheckKept) -> None:
        self._http = http
        self._stream = stream
        self._position = start
        self._check_kept = check_kept
        self._caught_up = False
        self._was_open = False
        self._not_found = 0
        self._fault = http.judge.ended("it had not begun")
        self._backoff = Backoff(http.config.follow_retry_seconds, first=0.02)

    async def batches(self) -> AsyncGenerator[FollowBatch, None]:
        """Yield batches for ever, over as many sessions as it takes."""
        while True:
            async with aclosing(self._session()) as session:
                async for batch in session:
                    yield batch
            await self._recover()

    async def _session(self) -> AsyncGenerator[FollowBatch, None]:
        """Yield what one session brings; leave the reason of its end in ``_fault``."""
        async with self._http.events(self._stream, self._position) as opened:
            if isinstance(opened, Fault):
                self._fault = opened
                return
            self._was_open, self._not_found = True, 0
            async with aclosing(self._deliveries(opened)) as deliveries:
                async for delivery in deliveries:
                    batch = await self._take(delivery)
                    if batch is not None:
                        yield batch

    async def _deliveries(self, session: Session) -> AsyncGenerator[Delivery, None]:
        self._fault = self._http.judge.ended("the connection was closed")
        try:
            async with aclosing(EventSource(session.response).aiter_sse()) as events:
                while (event := await session.next_of(events)) is not None:
                    delivery = _decode(event)
                    if delivery is None:
                        self._fault = self._http.judge.ended(event.data)
                        return
                    yield delivery
        except SessionInDoubtError as error:
            self._fault = self._http.judge.ended(str(error))
        except (SSEError, ValueError, KeyError, TypeError) as error:
            self._fault = self._http.judge.malformed(f"{type(error).__name__}: {error}")
        except REQUEST_ERRORS as error:
            self._fault = self._http.fault(error)
        except RuntimeError as error:
            # aiohttp's word for a session that was closed under the read.
            self._fault = self._http.judge.ended(str(error))

    async def _take(self, delivery: Delivery) -> FollowBatch | None:
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
            await self._check_kept(self._position)
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


def _decode(event: ServerSentEvent) -> Delivery | None:
    """Decode an event; ``None`` for one that ends the session (``error``, ``[DONE]``)."""
    if event.event == "batch":
        data = json.loads(event.data)
        return Delivery(decode_records(data["records"]), data["tail"]["seq_num"] if "tail" in data else None)
    if event.event == "ping":
        return Delivery((), json.loads(event.data)["tail"]["seq_num"])
    return None
