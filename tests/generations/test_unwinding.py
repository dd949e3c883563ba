from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest

from resumable_stream.generations.unwinding import Unwinding


class Stream:
    """A stream object that is its own iterator, as those of some libraries are."""

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        return "item"

    def close(self) -> None:
        """Nothing looks at this; an iterator without it need not be closed."""


class CyclicStream:
    """A stream object that holds its iterator, which holds the stream object, as those of other libraries do."""

    def __init__(self) -> None:
        self.iterator = self._items()

    def __iter__(self) -> Iterator[str]:
        for item in self.iterator:  # noqa: UP028 (the loop is what is tested)
            yield item

    def _items(self) -> Iterator[str]:
        while self:
            yield "item"


def broken_loops(generator: Iterator[Any]) -> list[object]:
    unwinding = Unwinding(generator)
    next(generator)
    unwinding.note()
    return unwinding.broken_loops()


def test_iterator_of_a_loop_is_found() -> None:
    stream = Stream()

    def generate() -> Iterator[str]:
        for item in stream:  # noqa: UP028 (the loop is what is tested)
            yield item

    def generate_from_variable() -> Iterator[str]:
        events = iter(stream)
        for event in events:  # noqa: UP028 (the loop is what is tested)
            yield event

    assert broken_loops(generate()) == [stream]
    assert broken_loops(generate_from_variable()) == [stream]
    assert broken_loops(item for item in stream) == [stream]


def test_iterators_of_generators_that_a_generator_loops_over_are_found() -> None:
    stream = CyclicStream()

    def generate() -> Iterator[str]:
        for item in stream:  # noqa: UP028 (the loop is what is tested)
            yield item

    outer, inner = broken_loops(generate())
    assert outer is not inner
    assert inner is stream.iterator


def test_generator_behind_an_iterator_that_cannot_be_closed_is_found() -> None:
    class Response:
        def __init__(self) -> None:
            self.segments = (item for item in ["item"])

        def __iter__(self) -> Response:
            return self

        def __next__(self) -> str:
            return next(self.segments)

    response = Response()

    def generate() -> Iterator[str]:
        for item in response:  # noqa: UP028 (the loop is what is tested)
            yield item

    assert broken_loops(generate())[0] is response.segments


def test_iterators_of_all_loops_around_a_yield_are_found() -> None:
    first, second = Stream(), Stream()

    def generate() -> Iterator[str]:
        for item in first:
            for other in second:
                yield item + other

    assert set(broken_loops(generate())) == {first, second}


def test_iterator_that_an_inner_function_uses_is_found() -> None:
    stream = Stream()

    def generate() -> Iterator[str]:
        events = iter(stream)

        def advance() -> str:
            return next(events)

        for event in events:
            yield event + advance()

    assert broken_loops(generate()) == [stream]


def test_iterators_that_no_loop_runs_over_are_left_alone() -> None:
    stream = Stream()

    def generate() -> Iterator[str]:
        events = iter(stream)
        for _ in range(2):
            yield next(events)

    def generate_after_loop() -> Iterator[str]:
        for _ in stream:
            break
        yield "item"

    assert broken_loops(generate()) == []
    assert broken_loops(generate_after_loop()) == []


def test_loops_of_a_generator_that_has_raised_are_those_of_its_last_item() -> None:
    stream = Stream()

    def generate() -> Iterator[str]:
        for item in stream:
            yield item
            raise LookupError

    generator = generate()
    unwinding = Unwinding(generator)
    next(generator)
    unwinding.note()
    with pytest.raises(LookupError):
        next(generator)

    assert unwinding.broken_loops() == [stream]


def test_generator_that_has_ended_has_no_loops() -> None:
    def generate() -> Iterator[str]:
        for _ in Stream():
            yield "item"
            return

    generator = generate()
    unwinding = Unwinding(generator)
    next(generator)
    unwinding.note()
    with suppress(StopIteration):
        next(generator)
    unwinding.note()

    assert unwinding.broken_loops() == []


async def test_iterators_of_async_loops_are_found() -> None:
    async def items() -> AsyncIterator[str]:
        yield "item"

    async def generate(source: AsyncIterator[str]) -> AsyncIterator[str]:
        async for item in source:
            yield item

    innermost = items()
    inner = generate(innermost)
    outer = generate(inner)
    unwinding = Unwinding(outer)
    await anext(outer)
    unwinding.note()

    assert unwinding.broken_loops() == [inner, innermost]


def test_iterators_that_are_no_generators_have_no_loops() -> None:
    assert broken_loops(Stream()) == []
    assert broken_loops(iter([1])) == []
