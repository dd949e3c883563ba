"""The reader of a response that shows chunks while they are still on their way to the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from .frames import Frame
from .preview import Preview
from .reader import Reader


class PreviewReader(Reader):
    """Yields what the preview shows, then what the log has after it."""

    def __init__(self, preview: Preview, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._preview = preview

    def let_go(self, cursor: int) -> bool:
        """Let go as :meth:`Reader.let_go` does, and see nothing more before it is on the log."""
        self._preview.close(at=cursor)
        return super().let_go(cursor)

    async def frames(self) -> AsyncGenerator[list[Frame], None]:
        """Yield as :meth:`Reader.frames` does."""
        async for frames in self._preview.batches():
            self.cursor = self._preview.cursor
            yield frames
        self.cursor = self._preview.cursor
        async for frames in super().frames():
            yield frames
