"""Telling an app how a generation ended, with the answer as it stands on the log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ..backends.base import BaseBackend
from ..exceptions import RecordsTrimmedError
from ..formats.base import ChunkFormat
from ..protocol.ending import Ending
from ..protocol.layout import Begin, Cause, EndFacts
from ..readers.history import fold_answer, read_generations
from ..types import EndReason, FinishReason, Message
from ..utils.app_code import call, guard_tasks
from ..utils.threads import own_thread

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a generation ended, as told to ``on_end``."""

    reason: EndReason
    text: str
    """What people were told about a failure or an interruption; otherwise empty."""
    message: Message | None
    """The answer, folded from the log as the client library itself would; ``None`` if it holds nothing."""
    stream_name: str
    generation_id: str | None
    begin: Begin | None
    """What the generation stated about itself when it started."""
    cause: Cause | None
    """Why it was interrupted, where that is known; ``None`` for other reasons."""
    finish_reason: FinishReason | None
    """Why the model says that it has stopped: ``"length"`` for an answer that is cut off, ``"content-filter"`` for one
    that is filtered or refused. ``None`` if the producer does not say so, and where the answer did not finish."""
    context: Any
    """What :meth:`ResumableChat.start` was given; ``None`` if another process's generation was ended here."""


OnEnd = Callable[[End], Awaitable[None] | None]


class EndNotifier:
    """Calls ``on_end``, if there is one: nobody else wants the answer read back and folded."""

    def __init__(self, format_: ChunkFormat, on_end: OnEnd | None) -> None:
        self._format = format_
        self._on_end = on_end

    async def tell(
        self, backend: BaseBackend, stream: str, start: int, begin: Begin | None, facts: EndFacts, context: Any = None
    ) -> None:
        """Tell of the generation whose claim is at ``start``; where that fails, it is logged what was lost."""
        if self._on_end is None:
            return
        try:
            end = await self._end_of(backend, stream, start, begin, facts, context)
            # With a connection of its own: that of the answer may have been closed by the database meanwhile.
            guard_tasks()
            async with own_thread():
                await call(self._on_end, end)
        except Exception:  # an app's hook, or the log; the generation itself has ended properly
            logger.exception(
                "on_end failed: the answer is on the log, but what on_end does with it was not done "
                "stream=%s chat=%s generation=%s message=%s reason=%s",
                stream,
                begin.chat_id if begin is not None else "",
                facts.generation_id,
                begin.message_id if begin is not None else "",
                facts.reason.value,
            )

    async def _end_of(
        self, backend: BaseBackend, stream: str, start: int, begin: Begin | None, facts: EndFacts, context: Any
    ) -> End:
        try:
            generations = (await read_generations(backend, stream, start=start, count=1)).generations
        except RecordsTrimmedError as error:
            # The end is told all the same.
            logger.warning("answer cannot be read back stream=%s error=%s", stream, error)
            generations = []
        # In shared mode the next generation may have trimmed this one away already.
        answer = next((one for one in generations if one.generation_id in (None, facts.generation_id)), None)
        return End(
            reason=facts.reason,
            text=facts.text,
            message=await fold_answer(self._format, answer) if answer is not None else None,
            stream_name=stream,
            generation_id=facts.generation_id,
            begin=begin,
            cause=facts.cause,
            finish_reason=facts.finish_reason,
            context=context,
        )

    async def notify_foreign(self, backend: BaseBackend, stream: str, ending: Ending, context: Any = None) -> None:
        """Tell of a generation that was ended here for its writer; what the app's hook raises is logged.

        ``context`` is what its start was given, if this process has started it.
        """
        facts = ending.facts
        logger.info(
            "generation ended from outside stream=%s generation=%s reason=%s cause=%s",
            stream,
            facts.generation_id,
            facts.reason.value,
            facts.cause or "",
        )
        await self.tell(backend, stream, ending.start, ending.begin, facts, context)
