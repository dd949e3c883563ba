"""The contract of cancellation: at whatever point a task is cancelled, the log stays whole and usable."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import count
from typing import Any, cast

from ..backends.base import BaseBackend
from ..records import Record
from .helpers import WAIT_SECONDS, Contract, Probe, bodies, cancel_at_each_suspension, read_all, texts


class CancellationContract(Contract):
    """Every operation, cancelled at each of its suspensions."""

    async def test_a_cancelled_append_is_applied_whole_or_not_at_all(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("begin"))
        numbers = count()

        async def append() -> None:
            number = str(next(numbers))
            await backend.append(stream, texts(number, number, number))

        attempts = await cancel_at_each_suspension(append)
        ack = await backend.append(stream, texts("end"))

        found = bodies(await read_all(backend, stream))
        assert found[0] == "begin"
        assert found[ack.start] == "end"
        assert str(attempts - 1) in found, "the last attempt was not cancelled"
        for number in map(str, range(attempts)):
            assert found.count(number) in (0, 3)
            if number in found:
                first = found.index(number)
                assert found[first : first + 3] == [number] * 3

    async def test_a_cancelled_claim_never_leaves_two_owners(self, backend: BaseBackend, stream: str) -> None:
        numbers = count()

        async def claim() -> None:
            number = next(numbers)
            await backend.append(f"{stream}/{number}", [Record.fence("owner"), Record("x")], fencing_token="")

        attempts = await cancel_at_each_suspension(claim)
        for number in range(attempts):
            name = f"{stream}/{number}"
            await backend.append(name, texts("later"))
            records = await read_all(backend, name)
            assert sum(record.is_fence for record in records) == bodies(records).count("x") <= 1

    async def test_cancelled_reads_have_no_effect(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"))

        await cancel_at_each_suspension(lambda: backend.read(stream, 0))
        await cancel_at_each_suspension(lambda: backend.tail(stream, last=2))
        await cancel_at_each_suspension(lambda: backend.list_streams(stream))

        assert bodies(await read_all(backend, stream)) == ["a", "b"]
        assert (await backend.append(stream, texts("c"), match_seq_num=2)).end == 3

    async def test_a_cancelled_follow_has_no_effect(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b"))

        async def follow() -> None:
            async with aclosing(cast(Any, backend.follow(stream, 0))) as batches:
                async for batch in batches:
                    if batch.caught_up:
                        return

        await cancel_at_each_suspension(follow)

        async with Probe(backend, stream) as probe:
            await backend.append(stream, texts("c"))
            assert bodies(await probe.until(3)) == ["a", "b", "c"]

    async def test_a_follow_cancelled_while_it_waits_disturbs_no_other(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a"))

        async def follow(caught_up: asyncio.Event) -> None:
            async with aclosing(cast(Any, backend.follow(stream, 0))) as batches:
                async for batch in batches:
                    if batch.caught_up:
                        caught_up.set()

        waits = asyncio.Event()
        waiting = asyncio.create_task(follow(waits))
        async with Probe(backend, stream) as probe, asyncio.timeout(WAIT_SECONDS):
            await probe.until_caught_up()
            await waits.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
            await backend.append(stream, texts("b"))
            assert bodies(await probe.until(2)) == ["a", "b"]
        assert waiting.cancelled()

    async def test_a_cancelled_append_disturbs_no_other(self, backend: BaseBackend, stream: str) -> None:
        appends = [asyncio.create_task(backend.append(stream, texts(str(number)))) for number in range(30)]
        await asyncio.sleep(0)
        for append in appends[::3]:
            append.cancel()
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait(appends)

        await backend.append(stream, texts("end"))
        found = bodies(await read_all(backend, stream))
        for number, append in enumerate(appends):
            assert found.count(str(number)) == 1 if not append.cancelled() else found.count(str(number)) <= 1
