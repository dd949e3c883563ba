"""Figures, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report."""

    name: str
    unit: str
    product: float
    bare: float | None = None
    """The same of the bare app that sends one frame at a time."""
    log: float | None = None
    """What the log's own process used, apart from :attr:`product`."""
    joined: float | None = None
    """The same of the bare app that sends blocks of 64 KiB."""
    at_most: float | None = None
    """The aim: of the ratio to the bare app where :attr:`is_ratio`, otherwise of the product's own value."""
    is_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        """How often the bare app's cost the product's is."""
        return self.product / self.bare if self.bare else None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; ``None`` if there is none."""
        value = self.ratio if self.is_ratio else self.product
        return None if self.at_most is None or value is None else value <= self.at_most


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as a Markdown table, without the columns that nobody has anything for."""
    titles = ("", "product", "log, apart", "peer", "peer, 64 KiB", "ratio", "aim", "")
    columns = [column for column in zip(titles, *map(_row, figures), strict=True) if any(column[1:])]
    padded = [_padded(column) for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*padded, strict=True))


def _padded(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    title, *cells = (cell.ljust(width) for cell in column)
    return [title, "-" * width, *cells]


def _row(figure: Figure) -> tuple[str, ...]:
    aim = "" if figure.at_most is None else f"<= {figure.at_most:g}{'x' if figure.is_ratio else ' ' + figure.unit}"
    return (
        figure.name,
        _value(figure.product, figure.unit),
        _value(figure.log, figure.unit),
        _value(figure.bare, figure.unit),
        _value(figure.joined, figure.unit),
        "" if figure.ratio is None else f"{figure.ratio:.2f}x",
        aim,
        {None: "", True: "met", False: "MISSED"}[figure.is_met],
    )


def _value(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.{2 if abs(value) < 100 else 0}f} {unit}"
