"""The contract of trims: what they take, and what they leave."""

from __future__ import annotations

import pytest

from ..backends.base import BaseBackend
from ..exceptions import FencingTokenMismatchError, RecordsTrimmedError
from ..records import Record
from .helpers import EVERYTHING, Contract, bodies, read_all, texts, trimmed_to


class TrimContract(Contract):
    """Trims reach at most themselves; tail and token survive them."""

    async def test_a_trim_takes_what_is_before_its_position(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b", "c"))
        await backend.append(stream, [Record.trim(2)])

        assert await trimmed_to(backend, stream, 2) == 2
        assert [record.seq_num for record in await read_all(backend, stream, 2)] == [2, 3]
        for start in (0, 1):
            with pytest.raises(RecordsTrimmedError) as caught:
                await backend.read(stream, start)
            assert caught.value.first_seq_num == 2

    async def test_tail_and_token_survive(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.fence("owner")])
        await backend.append(stream, [Record.trim(EVERYTHING)])

        assert await trimmed_to(backend, stream, 3) == 3
        tail = await backend.tail(stream, last=10)
        assert (tail.seq_num, tail.records) == (3, ())
        assert tail.timestamp > 0
        assert (await backend.read(stream, 3)).records == ()
        with pytest.raises(FencingTokenMismatchError) as caught:
            await backend.append(stream, texts("b"), fencing_token="")
        assert caught.value.actual == "owner"
        assert (await backend.append(stream, texts("b"), fencing_token="owner", match_seq_num=3)).start == 3
        assert bodies(await read_all(backend, stream, 3)) == ["b"]

    async def test_a_trim_reaches_no_further_than_itself(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.trim(EVERYTHING), Record.fence("end"), Record("b")])

        assert await trimmed_to(backend, stream, 2) == 2
        kept = await read_all(backend, stream, 2)
        assert [(record.seq_num, record.body) for record in kept] == [(2, "end"), (3, "b")]

    async def test_a_trim_brings_nothing_back(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b", "c"))
        await backend.append(stream, [Record.trim(2)])
        await trimmed_to(backend, stream, 2)
        await backend.append(stream, [Record.trim(1), Record.trim(0)])

        with pytest.raises(RecordsTrimmedError) as caught:
            await backend.read(stream, 1)
        assert caught.value.first_seq_num == 2
        assert bodies(await read_all(backend, stream, 2)) == ["c"]

    async def test_a_trim_to_zero_takes_nothing(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.trim(0), Record("b")])
        assert bodies(await read_all(backend, stream)) == ["a", "b"]

    async def test_the_last_records_are_told_as_far_as_they_are_kept(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, texts("a", "b", "c", "d"))
        await backend.append(stream, [Record.trim(3)])
        await trimmed_to(backend, stream, 3)

        assert [record.seq_num for record in (await backend.tail(stream, last=4)).records] == [3, 4]

    async def test_a_refused_trim_takes_nothing(self, backend: BaseBackend, stream: str) -> None:
        await backend.append(stream, [Record("a"), Record.fence("owner")])
        with pytest.raises(FencingTokenMismatchError):
            await backend.append(stream, [Record.trim(EVERYTHING)], fencing_token="other")
        assert bodies(await read_all(backend, stream)) == ["a"]
