"""Whether an answer holds anything of what its producer has yielded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..exceptions import EmptyAnswerError
from ..types import FinishReason
from ..utils.log_once import warn_once

logger = logging.getLogger(__name__)

_MOST_CLASSES = 10
"""Named in a log line."""


class Yielded:
    """Notes what a producer yields, until something of it has become a chunk."""

    def __init__(self) -> None:
        self._has_carried = False
        self._dropped: dict[str, None] = {}
        """Classes of the items that have added nothing, each once."""

    def note(self, item: object, chunks: Sequence[str]) -> None:
        """Take note of an item and of the chunks that were made of it."""
        if self._has_carried:
            return
        self._has_carried = bool(chunks)
        is_nothing = item is None or (isinstance(item, (str, bytes)) and not item)
        if not is_nothing and len(self._dropped) < _MOST_CLASSES:
            self._dropped[f"{type(item).__module__}.{type(item).__qualname__}"] = None

    def check(self, finish_reason: FinishReason | None, *, may_be_empty: bool) -> None:
        """Refuse the end of an answer that holds nothing, though its producer has yielded something.

        Where the model says why it has stopped early, clients are told that; an answer that goes on (``may_be_empty``)
        shows what it had before. Those are logged alone.

        Raises:
            EmptyAnswerError: Nothing would tell the people who wait for the answer that something is wrong.
        """
        if self._has_carried or not self._dropped:
            return
        classes = ", ".join(self._dropped)
        if may_be_empty or finish_reason not in (None, "stop", "tool-calls"):
            warn_once(logger, "nothing of what was yielded is carried classes=%s finish=%s", classes, finish_reason)
            return
        raise EmptyAnswerError(classes)
