"""A log in this process's memory, for tests and demonstrations: lost when the process ends, unseen by others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from threading import Lock
from typing import Any

from ..exceptions import InvalidBackendError, StreamNotFoundError
from ..records import (
    MAX_BATCH_BYTES,
    AppendAck,
    FollowBatch,
    ReadBatch,
    Record,
    SequencedRecord,
    StreamInfo,
    StreamList,
    StreamTail,
    validate_stream_name,
)
from .base import BaseBackend
from .followers import Committed, Followers, RecordPage, characters_of
from .state import (
    StreamState,
    now_ms,
    require_readable,
    validate_append,
    validate_limit,
    validate_listing,
    validate_position,
)


@dataclass(slots=True, kw_only=True)
class _Stream(StreamState):
    """A stream with its kept records."""

    stream_id: int
    created_at: int
    records: list[SequencedRecord] = field(default_factory=list)
    """From ``first`` to ``tail``."""

    def append(self, records: Sequence[Record]) -> tuple[SequencedRecord, ...]:
        """Take in a whole append and return it as it can be read."""
        first = self.first
        start = self.extend(records, now_ms())
        added = tuple(
            SequencedRecord(seq_num, self.timestamp, *record) for seq_num, record in enumerate(records, start)
        )
        self.records += added
        del self.records[: self.first - first]
        return added

    def page(self, start: int, limit: int = 1000) -> RecordPage:
        """Return up to ``limit`` records from ``start`` that fit into one read."""
        require_readable(start, first=self.first, tail=self.tail)
        found = self.records[start - self.first : start - self.first + limit]
        size = 0
        for index, record in enumerate(found):
            size += record.metered_bytes
            if index and size > MAX_BATCH_BYTES:
                del found[index:]
                break
        return RecordPage(self.stream_id, tuple(found), self.tail)


class MemoryBackend(BaseBackend):
    """Keeps streams in a dictionary of this process. Takes no options."""

    is_durable = False
    is_shared = False

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        if options:
            raise InvalidBackendError(
                f"Backend {alias!r}: OPTIONS has unknown {', '.join(sorted(options))}. The memory backend takes none."
            )
        self._streams: dict[str, _Stream] = {}
        self._followers = Followers()
        self._stream_ids = count(1)
        # Several event loops, each in a thread of its own, may use the backend at once.
        self._lock = Lock()

    async def append(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        fencing_token: str | None = None,
        match_seq_num: int | None = None,
    ) -> AppendAck:
        """See :meth:`BaseBackend.append`."""
        validate_append(stream, records, fencing_token)
        await asyncio.sleep(0)  # Give way like every log that does I/O.
        with self._lock:
            found = self._streams.get(stream) or _Stream(stream_id=next(self._stream_ids), created_at=now_ms())
            refusal = found.refusal(fencing_token, match_seq_num)
            if refusal is not None:
                raise refusal
            self._streams[stream] = found
            added = found.append(records)
            # Under the lock, so that followers get the appends in their order.
            self._followers.deliver([Committed(stream, found.stream_id, added, characters_of(added))])
            return AppendAck(start=added[0].seq_num, end=found.tail, tail=found.tail)

    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        """See :meth:`BaseBackend.read`."""
        validate_position(start)
        validate_limit(limit)
        await asyncio.sleep(0)
        with self._lock:
            page = self._find(stream).page(start, limit)
        return ReadBatch(records=page.records, tail=page.tail)

    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        """See :meth:`BaseBackend.tail`."""
        validate_limit(last, minimum=0)
        await asyncio.sleep(0)
        with self._lock:
            found = self._find(stream)
            return StreamTail(
                seq_num=found.tail,
                timestamp=found.timestamp,
                server_time=max(now_ms(), found.timestamp),
                records=tuple(found.records[-last:] if last else ()),
            )

    def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        """See :meth:`BaseBackend.follow`."""
        validate_position(start)
        return self._followers.follow(stream, start, self._page)

    async def list_streams(self, prefix: str = "", *, start_after: str = "", limit: int = 1000) -> StreamList:
        """See :meth:`BaseBackend.list_streams`."""
        validate_listing(prefix, start_after, limit)
        await asyncio.sleep(0)
        after = start_after.encode()
        with self._lock:
            names = sorted((name.encode(), name) for name in self._streams if name.startswith(prefix))
            found = list(islice((name for key, name in names if key > after), limit + 1))
            page = tuple(StreamInfo(name=name, created_at=self._streams[name].created_at) for name in found[:limit])
        return StreamList(streams=page, has_more=len(found) > limit)

    async def delete_stream(self, stream: str) -> None:
        """See :meth:`BaseBackend.delete_stream`."""
        await asyncio.sleep(0)
        with self._lock:
            self._find(stream)
            del self._streams[stream]
        self._followers.look([stream])

    async def _page(self, stream: str, position: int, stream_id: int | None) -> RecordPage:
        await asyncio.sleep(0)
        with self._lock:
            found = self._find(stream)
            if stream_id not in (None, found.stream_id):
                raise StreamNotFoundError(stream)
            return found.page(position)

    def _find(self, stream: str) -> _Stream:
        validate_stream_name(stream)
        try:
            return self._streams[stream]
        except KeyError:
            raise StreamNotFoundError(stream) from None
