"""The contract of following."""

from __future__ import annotations

import asyncio

import pytest

from ..backends.base import BaseBackend
from ..exceptions import ReadUnwrittenError, RecordsTrimmedError, StreamNotFoundError
from ..records import Record
from .helpers import EVERYTHING, Contract, Probe, append_slowly, bodies, error_of, eventually, texts, trimmed_to


class FollowContract(Contract):
    """Backlog, the caught-up signal, live records, and the ends of a follow."""

    async def test_the_backlog_comes_first_and_then_the_signal(self, backend: BaseBackend, stream: str) -> None:
        written = [str(number) for number in range(2300)]
        for start in range(0, 2300, 460):
            await backend.append(stream, texts(*written[start : start + 460]))

        async with Probe(backend, stream) as probe:
            assert bodies(await probe.until_caught_up()) == written

    async def test_the_signal_comes_at_once_where_there_is_nothing_new(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream, 1) as probe:
            batch = await probe.next()
        assert (batch.records, batch.caught_up) == ((), True)

    async def test_a_follow_begins_where_it_is_told(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b", "c"))
        async with Probe(backend, stream, 2) as probe:
            assert bodies(await probe.until_caught_up()) == ["c"]

    async def test_new_records_come_as_they_are_written(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            for number in range(20):
                ack = await backend.append(stream, [Record(str(number), (("n", "v"),)), Record.fence(str(number))])
                await probe.until(ack.end)
            assert bodies(probe.records) == ["a", *map(str, range(20))]
            assert probe.records[-1].is_fence
            assert probe.records[-2].headers == (("n", "v"),)

    async def test_the_signal_comes_again_after_new_records(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            for _ in range(3):
                ack = await backend.append(stream, texts("b", "c"))
                await probe.until_caught_up()
                assert probe.position == ack.end

    async def test_followers_do_not_disturb_each_other(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"))
        async with Probe(backend, stream) as one, Probe(backend, stream, 1) as two, Probe(backend, stream, 2) as three:
            await one.until_caught_up()
            await two.next()
            await backend.append(stream, texts("c"))
            await three.until(3)
            async with Probe(backend, stream) as short_lived:
                await short_lived.next()
            await backend.append(stream, texts("d"))
            found = [bodies(await probe.until(4)) for probe in (one, two, three)]
        assert found == [["a", "b", "c", "d"], ["b", "c", "d"], ["c", "d"]]

    async def test_a_slow_follower_misses_nothing(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            for number in range(30):  # 3,000 records of 1 KB: more than any buffer of a follower should hold.
                await backend.append(stream, texts(*[f"{number}".ljust(1000)] * 100))
            assert len(await probe.until(3001)) == 3001
            await backend.append(stream, texts("b"))
            assert (await probe.until(3002))[-1].body == "b"

    async def test_writing_and_following_at_once_loses_nothing(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))

        async def write() -> None:
            for number in range(100):
                await backend.append(stream, texts(str(number)))

        async def follow(start: int) -> list[str]:
            async with Probe(backend, stream, start) as probe:
                return bodies(await probe.until(101))

        _, *found = await asyncio.gather(write(), follow(0), follow(1), follow(0))
        whole = ["a", *map(str, range(100))]
        assert found == [whole, whole[1:], whole]

    async def test_a_stream_that_does_not_exist_cannot_be_followed(self, backend: BaseBackend, stream: str) -> None:
        async with Probe(backend, stream) as probe:
            with pytest.raises(StreamNotFoundError):
                await probe.next()

    async def test_a_follow_beyond_the_tail_is_an_error(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream, 5) as probe:
            with pytest.raises(ReadUnwrittenError) as caught:
                await probe.next()
        assert caught.value.tail == 1

    async def test_a_follow_from_trimmed_records_is_an_error(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b", "c"))
        await backend.append(stream, [Record.trim(2)])
        await trimmed_to(backend, stream, 2)

        async with Probe(backend, stream, 1) as probe:
            with pytest.raises(RecordsTrimmedError) as caught:
                await probe.next()
        assert caught.value.first_seq_num == 2

    async def test_an_emptied_stream_can_be_followed_from_its_tail(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.trim(EVERYTHING)])
        await trimmed_to(backend, stream, 2)

        async with Probe(backend, stream, 2) as probe:
            assert (await probe.next()).caught_up
            await backend.append(stream, texts("b"))
            assert bodies(await probe.until(3)) == ["b"]

    async def test_a_follower_that_has_caught_up_gets_a_trim_with_what_came_before_it(
        self, backend: BaseBackend, stream: str
    ) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            await backend.append(stream, [Record("b"), Record.trim(EVERYTHING), Record.fence("end")])
            assert bodies(await probe.until(4)) == ["a", "b"]

    async def test_a_trim_under_a_lagging_follower_is_never_passed_over(
        self, backend: BaseBackend, stream: str
    ) -> None:
        await backend.append(stream, texts("a"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            for _ in range(5):
                await backend.append(stream, texts(*["x" * 100] * 1000))
            ack = await backend.append(stream, [Record.trim(EVERYTHING), Record.fence("end")])
            await trimmed_to(backend, stream, ack.start)
            # What was already on its way may still come; the probe itself checks that nothing is skipped.
            error = await error_of(probe.until(ack.end), RecordsTrimmedError)
            if error is None:
                assert probe.records[-1].body == "end"
            else:
                assert error.first_seq_num == ack.end - 1 > probe.position

    async def test_a_deletion_ends_the_follow(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            await backend.delete_stream(stream)
            with pytest.raises(StreamNotFoundError):
                await _until_error(probe)

    async def test_a_follow_never_goes_over_to_a_successor_of_the_same_name(
        self, backend: BaseBackend, stream: str
    ) -> None:
        await backend.append(stream, texts("a", "b"))
        async with Probe(backend, stream) as probe:
            await probe.until_caught_up()
            await backend.delete_stream(stream)
            await append_slowly(backend, stream, texts("c"))
            with pytest.raises(StreamNotFoundError):
                await _until_error(probe)
        assert "c" not in bodies(probe.records)

    async def test_a_closed_follow_leaves_nothing_behind(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        before = asyncio.all_tasks()
        async with Probe(backend, stream) as never_begun:
            pass
        async with Probe(backend, stream) as idle, Probe(backend, stream) as begun:
            await idle.until_caught_up()
            await begun.next()

        async def look() -> bool | None:
            return asyncio.all_tasks() <= before or None

        assert await eventually(look)
        assert never_begun.records == []
        for probe in (never_begun, idle, begun):
            with pytest.raises(StopAsyncIteration):
                await probe.next()

    async def test_a_closed_backend_opens_again(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))
        await backend.close()
        await backend.close()
        async with Probe(backend, stream) as probe:
            await backend.append(stream, texts("b"))
            assert bodies(await probe.until(2)) == ["a", "b"]


async def _until_error(probe: Probe) -> None:
    """Follow until it raises; what S2 writes as the last record of a deleted stream may come first."""
    while True:
        await probe.next()
