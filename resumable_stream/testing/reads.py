"""The contract of reads, tails, listings and deletions."""

from __future__ import annotations

import asyncio
import time

import pytest

from ..backends.base import BaseBackend
from ..exceptions import ReadUnwrittenError, StreamNotFoundError
from ..records import MAX_BATCH_BYTES, Record, StreamList
from .helpers import Contract, append_slowly, bodies, error_of, eventually, read_all, texts


class ReadContract(Contract):
    """Reads at, before and beyond the ends, and their limits."""

    async def test_a_read_begins_where_it_is_told(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts(*"abcdef"))
        batch = await backend.read(stream, 2, 3)
        assert [(record.seq_num, record.body) for record in batch.records] == [(2, "c"), (3, "d"), (4, "e")]

    async def test_a_read_at_the_tail_is_empty(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        batch = await backend.read(stream, 1)
        assert batch.records == ()
        assert batch.tail in (None, 1)

    @pytest.mark.parametrize("start", [2, 1000, 2**40])
    async def test_a_read_beyond_the_tail_is_an_error(self, backend: BaseBackend, stream: str, start: int) -> None:
        await backend.append(stream, texts("a"))
        with pytest.raises(ReadUnwrittenError) as caught:
            await backend.read(stream, start)
        assert caught.value.tail == 1

    async def test_a_stream_that_does_not_exist_is_an_error(self, backend: BaseBackend, stream: str) -> None:
        with pytest.raises(StreamNotFoundError) as caught:
            await backend.read(stream, 0)
        assert caught.value.stream_name == stream
        with pytest.raises(StreamNotFoundError):
            await backend.tail(stream)

    async def test_reads_of_many_records_fit_together(self, backend: BaseBackend, stream: str) -> None:
        written = [str(number) for number in range(2500)]
        for start in range(0, 2500, 500):
            await backend.append(stream, texts(*written[start : start + 500]))

        assert len((await backend.read(stream, 0)).records) <= 1000
        assert bodies(await read_all(backend, stream)) == written

    async def test_a_read_returns_at_most_one_mebibyte(self, backend: BaseBackend, stream: str) -> None:
        sizes = [300_000, 500_000, 400_000, 1_000_000, 1, 2]
        for size in sizes:
            await backend.append(stream, texts("x" * size))

        position = 0
        while position < len(sizes):
            records = (await backend.read(stream, position)).records
            assert sum(Record(record.body).metered_bytes for record in records) <= MAX_BATCH_BYTES
            assert [len(record.body) for record in records] == sizes[position : position + len(records)]
            position += len(records)

    async def test_commands_are_read_like_records(self, backend: BaseBackend, stream: str) -> None:
        written = [Record("a"), Record.fence("owner"), Record.trim(0)]
        await backend.append(stream, written)
        records = await read_all(backend, stream)
        assert [(record.body, record.headers) for record in records] == written
        assert [record.is_fence for record in records] == [False, True, False]

    async def test_the_tail_tells_position_time_and_last_records(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.fence("owner"), Record("b", (("n", "v"),))])
        records = await read_all(backend, stream)

        for last in (0, 1, 2, 3, 1000):
            tail = await backend.tail(stream, last=last)
            assert (tail.seq_num, tail.timestamp) == (3, records[-1].timestamp)
            assert list(tail.records) == (records[-last:] if last else [])

    async def test_the_log_tells_its_clock(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        tail = await backend.tail(stream)
        assert tail.server_time >= tail.timestamp - backend.server_time_resolution
        assert tail.timestamp > (time.time() - 86_400) * 1000, "milliseconds since 1970 were expected"

    async def test_what_was_read_once_is_read_again(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"))
        before = await read_all(backend, stream)
        await backend.append(stream, texts("c"))
        assert (await read_all(backend, stream))[:2] == before


class StreamContract(Contract):
    """Listing and deletion."""

    async def test_streams_are_listed_by_prefix_in_the_order_of_their_bytes(
        self, backend: BaseBackend, stream: str
    ) -> None:
        # In UTF-16 the last two would change places.
        names = [f"{stream}/{end}" for end in ("", "B", "a", "a/b", "b", "é", "\uffee", "😀")]
        await asyncio.gather(*(backend.append(name, texts("x")) for name in reversed(names)))
        await backend.append(f"{stream}-not", texts("x"))

        assert _names(await backend.list_streams(f"{stream}/")) == names
        assert _names(await backend.list_streams(f"{stream}/a")) == names[2:4]
        assert _names(await backend.list_streams(f"{stream}/z")) == []

    async def test_a_listing_goes_on_after_its_last_name(self, backend: BaseBackend, stream: str) -> None:
        names = [f"{stream}/{number}" for number in range(5)]
        await asyncio.gather(*(backend.append(name, texts("x")) for name in names))

        first = await backend.list_streams(stream, limit=2)
        second = await backend.list_streams(stream, start_after=names[1], limit=2)
        last = await backend.list_streams(stream, start_after=names[3], limit=2)
        assert [(_names(page), page.has_more) for page in (first, second, last)] == [
            (names[:2], True),
            (names[2:4], True),
            (names[4:], False),
        ]
        assert _names(await backend.list_streams(stream, start_after="\U0010ffff")) == []

    async def test_a_listing_tells_when_streams_were_made(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        (info,) = (await backend.list_streams(stream)).streams
        tail = await backend.tail(stream)
        # A listing may know whole seconds only.
        assert abs(info.created_at - tail.timestamp) < 60_000

    async def test_a_deleted_stream_is_gone(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.fence("owner")])
        await backend.delete_stream(stream)

        async def look() -> bool | None:
            return True if await error_of(backend.tail(stream), StreamNotFoundError) else None

        assert await eventually(look)
        with pytest.raises(StreamNotFoundError):
            await backend.read(stream, 0)
        assert _names(await backend.list_streams(stream)) == []

    async def test_the_name_of_a_deleted_stream_begins_anew(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.fence("owner")])
        await backend.delete_stream(stream)
        ack = await append_slowly(backend, stream, texts("b"), match_seq_num=0, fencing_token="")

        assert (ack.start, ack.end) == (0, 1)
        assert bodies(await read_all(backend, stream)) == ["b"]

    async def test_only_what_exists_can_be_deleted(self, backend: BaseBackend, stream: str) -> None:
        with pytest.raises(StreamNotFoundError):
            await backend.delete_stream(stream)


def _names(page: StreamList) -> list[str]:
    return [info.name for info in page.streams]
