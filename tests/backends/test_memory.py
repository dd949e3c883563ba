import asyncio
import threading

import pytest

from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.exceptions import InvalidBackendError, RecordsTrimmedError
from resumable_stream.records import Record
from resumable_stream.testing import BackendContract, Probe, read_all


class TestMemoryBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend("default", {})


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend("default", {})


def test_it_takes_no_options() -> None:
    with pytest.raises(InvalidBackendError, match=r"'other'.*unknown path"):
        MemoryBackend("other", {"path": "x"})


def test_it_is_neither_durable_nor_shared() -> None:
    assert not MemoryBackend.is_durable
    assert not MemoryBackend.is_shared


async def test_two_backends_share_nothing(backend: MemoryBackend) -> None:
    await backend.append("a", [Record("x")])
    assert (await MemoryBackend("other", {}).list_streams()).streams == ()


async def test_event_loops_in_several_threads_share_streams(backend: MemoryBackend) -> None:
    await backend.append("a", [Record("begin")])

    def write() -> None:
        async def run() -> None:
            for number in range(50):
                await backend.append("a", [Record(str(number))])

        asyncio.run(run())

    async with Probe(backend, "a") as probe:
        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        followed = await probe.until(151)
        for thread in threads:
            thread.join()
    assert followed == await read_all(backend, "a")


async def test_a_follower_far_behind_a_trim_is_told(backend: MemoryBackend) -> None:
    await backend.append("a", [Record("x")])
    async with Probe(backend, "a") as probe:
        await probe.until_caught_up()
        for _ in range(3):
            await backend.append("a", [Record("x")] * 1000)
        await backend.append("a", [Record.trim(2**40)])
        with pytest.raises(RecordsTrimmedError) as caught:
            await probe.until(3002)
    assert caught.value.first_seq_num == 3002
