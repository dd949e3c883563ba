"""Random operations on a backend and on the simplest log there can be, which must never be told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ..backends.base import BaseBackend
from ..exceptions import (
    FencingTokenMismatchError,
    InvalidRecordError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    ResumableStreamError,
    SeqNumMismatchError,
    StreamNotFoundError,
)
from ..records import FENCE_HEADERS, TRIM_HEADERS, Record, SequencedRecord, trim_position
from .helpers import EVERYTHING, Probe, append_slowly, error_of, eventually, trimmed_to

NAMES = ("a", "b", "a/b")
TOKENS = ("", "owner", "other")


@dataclass
class ModelStream:
    """All records that were ever written, and where the kept ones begin."""

    records: list[Record] = field(default_factory=list)
    first: int = 0
    token: str = ""

    @property
    def tail(self) -> int:
        """The position of the next record."""
        return len(self.records)

    def numbered(self) -> list[tuple[int, Record]]:
        """Return all records with their positions, as they can be compared."""
        return [(position, _comparable(record)) for position, record in enumerate(self.records)]


class ModelLog:
    """What the contract says, with nothing left out and nothing made fast."""

    def __init__(self) -> None:
        self.streams: dict[str, ModelStream] = {}

    def append(self, name: str, records: list[Record], token: str | None, position: int | None) -> int:
        """Append, or raise as a backend does; return the first position."""
        stream = self.streams.get(name, ModelStream())
        if token is not None and token != stream.token:
            raise FencingTokenMismatchError(stream.token)
        if position is not None and position != stream.tail:
            raise SeqNumMismatchError(stream.tail)
        self.streams[name] = stream
        start = stream.tail
        for record in records:
            stream.records.append(record)
            if record.headers == FENCE_HEADERS:
                stream.token = record.body
            if record.headers == TRIM_HEADERS:
                stream.first = max(stream.first, min(trim_position(record.body), stream.tail))
        return start

    def read(self, name: str, start: int) -> list[tuple[int, Record]]:
        """Return everything kept from ``start``, or raise as a backend does."""
        stream = self.find(name)
        if start > stream.tail:
            raise ReadUnwrittenError(stream.tail)
        if start < stream.first:
            raise RecordsTrimmedError(stream.first)
        return stream.numbered()[start:]

    def find(self, name: str) -> ModelStream:
        """Return the stream, or raise as a backend does."""
        if name not in self.streams:
            raise StreamNotFoundError(name)
        return self.streams[name]


texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(["\0", "\u2028", "👍", '"\\\n'])
headers = st.lists(st.tuples(texts.filter(bool), texts), max_size=3).map(tuple)
positions = st.integers(0, 30)
records = st.one_of(
    st.builds(Record, texts, headers),
    st.sampled_from(TOKENS).map(Record.fence),
    (positions | st.just(EVERYTHING)).map(Record.trim),
)
batches = st.lists(records, min_size=1, max_size=6)
invalid_records = st.sampled_from(
    [Record("\ud800"), Record("x", (("", "x"),)), Record.fence("x" * 37), Record("x" * 2_000_000)]
)
names = st.sampled_from(NAMES)

Outcome = tuple[type[ResumableStreamError] | None, object]
"""An error with the fact it tells, or ``None`` and a value."""


def backend_state_machine(make_backend: Callable[[], BaseBackend]) -> type[RuleBasedStateMachine]:
    """Make a hypothesis state machine that compares backends made by ``make_backend`` with a model.

    Its ``TestCase`` attribute is what a test module keeps. Each run makes a backend, uses streams that nobody else
    uses, and closes the backend; several backends may share a log.
    """

    class BackendMachine(_BackendMachine):
        def make_backend(self) -> BaseBackend:
            return make_backend()

    BackendMachine.TestCase.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)
    return BackendMachine


class _BackendMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"model/{uuid4().hex}/"
        self.model = ModelLog()
        self.backend = self.make_backend()
        self.probes: dict[str, Probe] = {}
        self.runner = asyncio.Runner()
        self.run = self.runner.run

    def make_backend(self) -> BaseBackend:
        raise NotImplementedError

    def teardown(self) -> None:
        self.run(self._close())
        self.runner.close()

    @rule(name=names, batch=batches, token=st.sampled_from(("right", None, *TOKENS)), position=st.none() | positions)
    def append(self, name: str, batch: list[Record], token: str | None, position: int | None) -> None:
        known = self.model.streams.get(name, ModelStream())
        if token == "right":
            token = known.token
        if position is not None and position > 20:  # Random positions are hardly ever right.
            position = known.tail
        expected = _outcome(lambda: self.model.append(name, batch, token, position))
        assert self.run(self._append(name, batch, token, position)) == expected

    @rule(name=names, batch=batches, invalid=invalid_records)
    def append_something_invalid(self, name: str, batch: list[Record], invalid: Record) -> None:
        found, _ = self.run(self._append(name, [*batch, invalid], None, None))
        assert found is InvalidRecordError

    @rule(name=names, start=positions, limit=st.integers(1, 10))
    def read(self, name: str, start: int, limit: int) -> None:
        async def read() -> object:
            return _plain((await self.backend.read(self.prefix + name, start, limit)).records)

        expected = _outcome(lambda: self.model.read(name, start)[:limit])
        assert self.run(_outcome_of(read)) == expected

    @rule(name=names, last=st.integers(0, 10))
    def tail(self, name: str, last: int) -> None:
        async def tail() -> object:
            found = await self.backend.tail(self.prefix + name, last=last)
            return found.seq_num, _plain(found.records)

        def expected() -> object:
            stream = self.model.find(name)
            return stream.tail, self.model.read(name, max(stream.first, stream.tail - last))

        assert self.run(_outcome_of(tail)) == _outcome(expected)

    @rule(prefix=st.sampled_from(["", "a", "a/", "z"]), limit=st.integers(1, 4))
    def list_streams(self, prefix: str, limit: int) -> None:
        expected = sorted(name for name in self.model.streams if name.startswith(prefix))
        page = self.run(self.backend.list_streams(self.prefix + prefix, limit=limit))
        assert [info.name.removeprefix(self.prefix) for info in page.streams] == expected[:limit]
        assert page.has_more == (len(expected) > limit)

    @rule(name=names)
    def delete(self, name: str) -> None:
        exists = self.model.streams.pop(name, None) is not None
        assert self.run(self._delete(name)) is exists

    @rule(name=names, back=st.integers(0, 10))
    def begin_to_follow(self, name: str, back: int) -> None:
        """Open a follow that stays open; the next rule uses it."""
        stream = self.model.streams.get(name)
        if stream is not None and name not in self.probes:
            start = max(stream.first, stream.tail - back)
            self.probes[name] = Probe(self.backend, self.prefix + name, start)
            self.run(self.probes[name].until_caught_up())

    @rule(name=names)
    def follow(self, name: str) -> None:
        if name in self.probes:
            self.run(self._follow(name, self.probes[name]))

    @rule()
    def close(self) -> None:
        self.run(self.backend.close())

    async def _append(self, name: str, batch: list[Record], token: str | None, position: int | None) -> Outcome:
        stream = self.prefix + name

        async def append() -> object:
            ack = await append_slowly(self.backend, stream, batch, fencing_token=token, match_seq_num=position)
            assert (ack.end, ack.tail) == (ack.start + len(batch), ack.start + len(batch))
            return ack.start

        outcome = await _outcome_of(append)
        known = self.model.streams.get(name)
        if known is None and not await self._is_missing(name):
            self.model.streams[name] = ModelStream()  # A refused append may make an empty stream, and need not.
        elif known is not None and known.first:
            await trimmed_to(self.backend, stream, known.first)
        return outcome

    async def _delete(self, name: str) -> bool:
        if await error_of(self.backend.delete_stream(self.prefix + name), StreamNotFoundError):
            return False
        probe = self.probes.pop(name, None)
        if probe is not None:
            with pytest.raises(StreamNotFoundError):
                await probe.until(EVERYTHING)

        async def look() -> bool | None:
            return await self._is_missing(name) or None

        return await eventually(look)

    async def _is_missing(self, name: str) -> bool:
        return await error_of(self.backend.tail(self.prefix + name), StreamNotFoundError) is not None

    async def _follow(self, name: str, probe: Probe) -> None:
        stream = self.model.streams[name]
        if await error_of(probe.until(stream.tail), RecordsTrimmedError):
            # Whether a follow that lags still gets what was trimmed is left open; that it is not skipped is not.
            assert probe.position < stream.first
            await self.probes.pop(name).close()
        expected = stream.numbered()
        assert _plain(probe.records) == expected[probe.position - len(probe.records) : probe.position]

    async def _close(self) -> None:
        for probe in self.probes.values():
            await probe.close()
        await self.backend.close()


def _plain(found: Iterable[SequencedRecord]) -> list[tuple[int, Record]]:
    return [(record.seq_num, _comparable(Record(record.body, record.headers))) for record in found]


def _comparable(record: Record) -> Record:
    """Forget the position in a trim command, which S2 gives back as text that cannot hold it."""
    return Record("", TRIM_HEADERS) if record.headers == TRIM_HEADERS else record


def _outcome(action: Callable[[], object]) -> Outcome:
    try:
        return None, action()
    except ResumableStreamError as error:
        return type(error), _fact(error)


async def _outcome_of(action: Callable[[], Awaitable[object]]) -> Outcome:
    try:
        return None, await action()
    except ResumableStreamError as error:
        return type(error), _fact(error)


def _fact(error: ResumableStreamError) -> object:
    for name in ("actual", "expected", "tail", "first_seq_num"):
        if hasattr(error, name):
            return getattr(error, name)
    return None
