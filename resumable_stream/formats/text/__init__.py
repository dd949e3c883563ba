"""Plain text, for pages that read an ``EventSource`` or a ``fetch`` body themselves."""

from .format import TextFormat

__all__ = ["TextFormat"]
