"""The log on S2 (s2.dev, or the open-source server s2-lite), over its REST API.

All streams belong to one basin. Records travel as JSON, a follow as Server-Sent Events. S2 itself gives what the
contract in ``base`` asks for; this backend tells faults on the way apart, and tries again only where that is safe.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from django.core import checks

from ...exceptions import (
    AppendOutcomeUnknownError,
    BackendUnavailableError,
    InvalidBackendError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    StreamNotFoundError,
)
from ...records import (
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
from ..base import BaseBackend
from ..state import validate_append, validate_limit, validate_listing, validate_position
from .codec import decode_ack, decode_date, decode_listing, decode_records, encode_append, first_gap
from .config import S2Config
from .errors import ErrorAnswer

try:
    from .api import S2Http, records_path, stream_path
    from .basin import basin_config, ensure_basin
    from .follow import S2Follower
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"aiohappyeyeballs", "httptools", "httpx"}:
        raise
    raise InvalidBackendError(
        f'The S2 backend needs the package {error.name}. Run: pip install "django-resumable-stream[s2]"'
    ) from error

CHECK_UNENCRYPTED = "resumable_stream.W101"

T = TypeVar("T")


class S2Backend(BaseBackend):
    """Keeps streams in an S2 basin. The options are the fields of :class:`~.s2_config.S2Config`.

    ``S2_BASIN`` and ``S2_ACCESS_TOKEN`` in the environment are enough for S2's cloud; s2-lite needs
    ``S2_ACCOUNT_ENDPOINT`` and ``S2_BASIN_ENDPOINT`` as well, both its address.
    """

    server_time_resolution = 1000
    """The clock comes from the ``Date`` header, which has whole seconds."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        super().__init__(alias, options)
        self.config = S2Config.from_options(alias, options)
        if "retention_seconds" not in options:
            self.unstated_retention = "for as long as its basin says (S2's own default: 7 days)"
        self._http = S2Http(self.config)

    def __repr__(self) -> str:
        return f"<S2Backend {self.alias!r}: basin {self.config.basin!r} at {self.config.basin_endpoint}>"

    async def append(
        self,
        stream: str,
        records: Sequence[Record],
        *,
        fencing_token: str | None = None,
        match_seq_num: int | None = None,
    ) -> AppendAck:
        """See :meth:`BaseBackend.append`.

        What was surely not applied is tried again inside, for ``retry_seconds``. To resolve an unknown outcome is up
        to the caller, who knows what the stream should hold.
        """
        validate_append(stream, records, fencing_token)
        content = encode_append(records, fencing_token=fencing_token, match_seq_num=match_seq_num)
        try:
            answer = await self._http.append(stream, content)
        except StreamNotFoundError:
            raise InvalidBackendError(
                f"Backend {self.alias!r}: basin {self.config.basin!r} does not create streams on append. "
                "Configure it with 'manage.py resumable_stream setup'."
            ) from None
        try:
            return self._decode(answer, decode_ack)
        except BackendUnavailableError as error:
            raise AppendOutcomeUnknownError(f"The append may have been applied. {error}") from None

    async def read(self, stream: str, start: int, limit: int = 1000) -> ReadBatch:
        """See :meth:`BaseBackend.read`.

        The body of a trim command has U+FFFD for each byte above 127: S2 gives records as text.
        """
        validate_stream_name(stream)
        validate_position(start)
        validate_limit(limit)
        try:
            _, records = await self._records(stream, seq_num=start, count=limit)
        except ReadUnwrittenError as error:
            if error.tail != start:
                raise
            return ReadBatch(records=(), tail=start)
        gap = first_gap(records, start) if records else await self._first_kept(stream, start)
        if gap is not None:
            raise RecordsTrimmedError(gap)
        return ReadBatch(records=records)

    async def tail(self, stream: str, *, last: int = 0) -> StreamTail:
        """See :meth:`BaseBackend.tail`; costs one request for ``last`` up to 1."""
        validate_stream_name(stream)
        validate_limit(last, minimum=0)
        if not last:
            return await self._tail(stream)
        try:
            answer, records = await self._records(stream, tail_offset=last, count=last)
        except ReadUnwrittenError:  # Nothing was ever written.
            return await self._tail(stream)
        if len(records) == last:
            return self._tail_at(answer, records[-1].seq_num + 1, records[-1].timestamp, records)
        # Fewer came: the stream has no more, or one answer holds no more. Only the tail tells which.
        found = await self._tail(stream)
        if not records or records[-1].seq_num + 1 != found.seq_num:
            records = await self._range(stream, max(found.seq_num - last, 0), found.seq_num)
        return replace(found, records=records)

    def follow(self, stream: str, start: int) -> AsyncGenerator[FollowBatch, None]:
        """See :meth:`BaseBackend.follow`; keeps one connection open."""
        validate_stream_name(stream)
        validate_position(start)
        return S2Follower(self._http, stream, start, self._check_kept).batches()

    async def list_streams(self, prefix: str = "", *, start_after: str = "", limit: int = 1000) -> StreamList:
        """See :meth:`BaseBackend.list_streams`; streams that are being deleted are left out."""
        validate_listing(prefix, start_after, limit)
        streams: tuple[StreamInfo, ...] = ()
        has_more = True
        while has_more and not streams:
            query = urlencode({"prefix": prefix, "start_after": start_after, "limit": limit}, quote_via=quote)
            answer = await self._http.call("GET", f"/streams?{query}")
            streams, has_more, start_after = self._decode(answer, decode_listing)
        return StreamList(streams=streams, has_more=has_more)

    async def delete_stream(self, stream: str) -> None:
        """See :meth:`BaseBackend.delete_stream`; S2 may take a moment until the name can be used again."""
        validate_stream_name(stream)
        answer = await self._http.call("DELETE", stream_path(stream), stream=stream, accept=(202, 404))
        fault = self._http.judge.answer(answer, stream=stream) if answer.status == 404 else None
        is_own_repetition = answer.attempt > 1 and fault is not None and isinstance(fault.error, StreamNotFoundError)
        if fault is not None and not is_own_repetition:
            raise fault.error

    async def prepare(self, *, retention_seconds: int | None = None) -> str:
        """Make the basin or correct its configuration; the retention is by default that of the options."""
        if retention_seconds is None:
            retention_seconds = self.config.retention_seconds
        done = await self.ensure_basin(retention_seconds=retention_seconds)
        return f"Basin {self.config.basin!r}: {done}."

    async def ensure_basin(self, *, retention_seconds: int | None = None) -> str:
        """Make the basin, or configure it as this backend needs it; return ``"created"``, ``"updated"`` or ``"kept"``.

        Streams are created by appends and not by reads. ``retention_seconds`` is how long records are kept in streams
        that are made from now on; ``None`` leaves it as it is.
        """
        return await ensure_basin(self.config, retention_seconds)

    async def basin_config(self) -> dict[str, Any]:
        """Return the basin's configuration as S2 tells it."""
        return await basin_config(self.config)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def check(self) -> list[checks.CheckMessage]:
        """Warn of an access token that others can read on its way."""
        if not self.config.sends_token_in_the_clear:
            return []
        return [
            checks.Warning(
                f"Backend {self.alias!r} sends its access token without encryption to {self.config.basin_endpoint}.",
                hint="Use an https:// endpoint, or leave the access token out if the server asks for none.",
                id=CHECK_UNENCRYPTED,
            )
        ]

    async def _records(self, stream: str, **query: int) -> tuple[ErrorAnswer, tuple[SequencedRecord, ...]]:
        answer = await self._http.call("GET", records_path(stream, **query), stream=stream)
        return answer, self._decode(answer, lambda data: decode_records(data["records"]))

    async def _tail(self, stream: str) -> StreamTail:
        answer = await self._http.call("GET", f"{stream_path(stream)}/records/tail", stream=stream)
        position, timestamp = self._decode(answer, lambda data: (data["tail"]["seq_num"], data["tail"]["timestamp"]))
        return self._tail_at(answer, position, timestamp, ())

    def _tail_at(
        self, answer: ErrorAnswer, position: int, timestamp: int, records: tuple[SequencedRecord, ...]
    ) -> StreamTail:
        date = decode_date(answer.headers.get("date"))
        if date is None:
            raise self._http.judge.malformed("no Date header").error
        # The date has lost its fraction of a second; the last record, stamped by the same clock, may know better.
        return StreamTail(seq_num=position, timestamp=timestamp, server_time=max(date, timestamp), records=records)

    async def _range(self, stream: str, start: int, end: int) -> tuple[SequencedRecord, ...]:
        """Read what is kept from ``start`` to ``end`` (exclusive)."""
        found: list[SequencedRecord] = []
        while start < end:
            _, records = await self._records(stream, seq_num=start, count=end - start)
            if not records:
                break
            found += records
            start = records[-1].seq_num + 1
        return tuple(found)

    async def _check_kept(self, stream: str, position: int) -> None:
        await self.read(stream, position, 1)

    async def _first_kept(self, stream: str, start: int) -> int:
        """Return the first position that can be read, where a read from ``start`` found nothing."""
        tail = await self._tail(stream)
        # Asked for after the tail, or records that came in between would be skipped.
        _, records = await self._records(stream, seq_num=start, count=1)
        return records[0].seq_num if records else tail.seq_num

    def _decode(self, answer: ErrorAnswer, decode: Callable[[Any], T]) -> T:
        try:
            return decode(json.loads(answer.content))
        except (ValueError, KeyError, TypeError) as error:
            fault = self._http.judge.malformed(f"{type(error).__name__}: {error}")
        raise fault.error
