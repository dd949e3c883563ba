"""Rendered HTML fragments, for htmx 2 and 4."""

from .format import HTMLFormat

__all__ = ["HTMLFormat"]
