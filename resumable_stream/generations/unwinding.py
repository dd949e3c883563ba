"""What a generator was looping over when it ended early.

Python closes a generator, but not the iterators that the generator was looping over: they wait for the garbage
collector (PEP 533 would have changed that). For an answer that is stopped or fails this is expensive: model libraries
keep their stream and its iterator in a reference cycle, so the connection to the provider stays open, and its tokens
are paid for, until a full collection happens.
"""

from __future__ import annotations

import gc
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any

Look = tuple[list[object], list[tuple[str, object]], FrameType]
"""Everything that a suspended generator refers to, its variables, and its frame."""


class Unwinding:
    """Remembers, from one item to the next, what a generator is looping over."""

    def __init__(self, iterator: object) -> None:
        self._iterator = iterator
        self._look: Look | None = None

    def note(self) -> None:
        """Look at the generator, which has just yielded an item: once it has raised, there is nothing left to see."""
        self._look = _look_at(self._iterator)

    def broken_loops(self) -> list[object]:
        """Return the iterators to close after the generator itself, the outermost loop's first.

        If one of them is a generator, what it was looping over is among them too.
        """
        found: list[object] = []
        looks = [self._look]
        while looks:
            for iterator in _loops_in(looks.pop()):
                if all(iterator is not other for other in found):
                    found.append(iterator)
                    looks.append(_look_at(iterator))
        return found


def _look_at(generator: Any) -> Look | None:
    """Look at a generator that is suspended; return ``None`` for all else. Takes about a microsecond."""
    frame: FrameType | None = None
    if isinstance(generator, GeneratorType) and not generator.gi_running:
        frame = generator.gi_frame
    elif isinstance(generator, AsyncGeneratorType) and not generator.ag_running:
        frame = generator.ag_frame
    if frame is None:
        return None
    return gc.get_referents(generator), list(frame.f_locals.items()), frame


def _loops_in(look: Look | None) -> list[object]:
    """Return what the loops run over: iterators that are on the generator's stack, rather than in a variable alone."""
    if look is None:
        return []
    referents, variables, frame = look
    # What inner functions use is in a cell, which the generator refers to in place of the value.
    shared = {*frame.f_code.co_cellvars, *frame.f_code.co_freevars}
    in_variables = [value for name, value in variables if name not in shared]
    loops: list[object] = []
    for referent in filter(_is_iterator, referents):
        index = next((index for index, value in enumerate(in_variables) if value is referent), None)
        if index is None:
            loops += [referent] if _can_be_closed(referent) else _generators_in(referent)
        else:
            del in_variables[index]
    return loops


def _is_iterator(value: object) -> bool:
    kind = type(value)
    return hasattr(kind, "__anext__") or hasattr(kind, "__next__")


def _can_be_closed(value: object) -> bool:
    kind = type(value)
    return hasattr(kind, "aclose") or hasattr(kind, "close")


def _generators_in(iterator: object) -> list[object]:
    """Return the generators that an iterator without a ``close`` hands on from (that of google-genai's responses)."""
    values = getattr(iterator, "__dict__", {}).values()
    return [value for value in values if isinstance(value, (GeneratorType, AsyncGeneratorType))]
