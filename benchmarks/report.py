"""Figures, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report."""

    name: str
    unit: str
    product: float
    bare: float | None = None
    """The same of the bare app that sends one frame at a time."""
    joined: float | None = None
    """The same of the bare app that sends blocks of 64 KiB."""
    at_most: float | None = None
    """The aim: of the ratio to the bare app where :attr:`is_ratio`, otherwise of the product's own value."""
    is_ratio: bool = False
    samples: int = 1
    """How many measurements the medians are made of."""

    @property
    def ratio(self) -> float | None:
        """How often the bare app's cost the product's is."""
        return self.product / self.bare if self.bare else None

    @property
    def is_met(self) -> bool | None:
        """Whether the aim is met; ``None`` if there is none."""
        value = self.ratio if self.is_ratio else self.product
        return None if self.at_most is None or value is None else value <= self.at_most


TITLES = ("", "product", "bare", "bare, 64 KiB", "ratio", "aim", "")


def table(figures: Iterable[Figure]) -> str:
    """Lay the figures out as a Markdown table."""
    rows = [TITLES, *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _row(figure: Figure) -> tuple[str, ...]:
    aim = "" if figure.at_most is None else f"<= {figure.at_most:g}{'x' if figure.is_ratio else ' ' + figure.unit}"
    return (
        figure.name,
        _value(figure.product, figure.unit),
        _value(figure.bare, figure.unit),
        _value(figure.joined, figure.unit),
        "" if figure.ratio is None else f"{figure.ratio:.2f}x",
        aim,
        {None: "", True: "met", False: "MISSED"}[figure.is_met],
    )


def _value(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.{2 if abs(value) < 100 else 0}f} {unit}"
