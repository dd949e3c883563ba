"""TanStack AI's chunks, for ``useChat`` of its client packages."""

from .format import TanStackFormat

__all__ = ["TanStackFormat"]
