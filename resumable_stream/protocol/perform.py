"""Carries out the protocol's operations on a real log, with patience for its passing faults."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..backends.base import BaseBackend
from ..exceptions import AppendOutcomeUnknownError, BackendUnavailableError, ResumableStreamError
from ..records import MAX_BATCH_RECORDS, AppendAck, ReadBatch, StreamTail
from .effects import Append, Effect, Operation, Read

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_DELAY_SECONDS = 0.05
LAST_DELAY_SECONDS = 2.0
REQUEST_PATIENCE_SECONDS = 5.0
"""How long an operation tries on behalf of somebody who waits for an answer."""


class Backoff:
    """Delays that double from 50 ms to 2 s, each shortened by chance so that many do not return at once."""

    _delay = FIRST_DELAY_SECONDS

    def reset(self) -> None:
        """Begin anew."""
        self._delay = FIRST_DELAY_SECONDS

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay = self._delay
        self._delay = min(LAST_DELAY_SECONDS, delay * 2)
        return delay * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret


async def perform(
    operation: Operation[T],
    backend: BaseBackend,
    stream: str,
    *,
    patience_seconds: float = REQUEST_PATIENCE_SECONDS,
    outlasts_cancellation: bool = False,
) -> T:
    """Carry ``operation`` out on ``stream`` and return what it returns.

    While the log is unavailable the same request goes again; an append whose outcome is unknown is handed to the
    operation, which resolves it. Both end ``patience_seconds`` after the last answer.

    Raises:
        BackendUnavailableError: The log stayed unavailable; the request that failed was not applied.
        AppendOutcomeUnknownError: The log stayed unavailable; the last append may have been applied.
        ResumableStreamError: What the operation itself raises.

    Cancelling leaves the outcome of an append under way unknown. With ``outlasts_cancellation`` that is resolved as any
    other unknown outcome: the operation comes to its end, and the caller asks :func:`was_cancelled`.
    """
    carry_out = _carry_out_whatever if outlasts_cancellation else _carry_out
    loop = asyncio.get_running_loop()
    patience_ends = loop.time() + patience_seconds
    backoff: Backoff | None = None
    try:
        effect = next(operation)
        while True:
            try:
                answer = await carry_out(effect, backend, stream)
            except BackendUnavailableError as error:
                if loop.time() >= patience_ends:
                    raise
                backoff = backoff or Backoff()
                await _pause(backoff, stream, error)
            except AppendOutcomeUnknownError as error:
                if loop.time() >= patience_ends:
                    raise
                backoff = backoff or Backoff()
                await _pause(backoff, stream, error)
                effect = operation.throw(error)
            except ResumableStreamError as error:
                patience_ends = loop.time() + patience_seconds
                effect = operation.throw(error)
            else:
                effect = operation.send(answer)
    except StopIteration as stopped:
        result: T = stopped.value
        return result
    finally:
        operation.close()


def was_cancelled() -> bool:
    """Return whether the running task was cancelled, and has outlasted it so far."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def read_patiently(
    backend: BaseBackend, stream: str, start: int, limit: int = MAX_BATCH_RECORDS, *, patience_seconds: float
) -> ReadBatch:
    """Read as :meth:`BaseBackend.read` does, again and again while the log is unavailable."""
    return await perform(_read(start, limit), backend, stream, patience_seconds=patience_seconds)


def _read(start: int, limit: int) -> Operation[ReadBatch]:
    batch: ReadBatch = yield Read(start, limit)
    return batch


def _carry_out(
    effect: Effect, backend: BaseBackend, stream: str
) -> Coroutine[Any, Any, AppendAck | ReadBatch | StreamTail]:
    if isinstance(effect, Append):
        return backend.append(
            stream, effect.records, fencing_token=effect.fencing_token, match_seq_num=effect.match_seq_num
        )
    if isinstance(effect, Read):
        return backend.read(stream, effect.start, effect.limit)
    return backend.tail(stream, last=effect.last)


async def _carry_out_whatever(effect: Effect, backend: BaseBackend, stream: str) -> AppendAck | ReadBatch | StreamTail:
    try:
        return await _carry_out(effect, backend, stream)
    except asyncio.CancelledError as error:
        if isinstance(effect, Append):
            raise AppendOutcomeUnknownError("Nobody waited for the append's outcome.") from error
        raise BackendUnavailableError("Nobody waited for the answer.") from error


async def _pause(backoff: Backoff, stream: str, error: ResumableStreamError) -> None:
    delay = backoff.next()
    logger.warning("log request failed, again in %.2f s stream=%s error=%s", delay, stream, error)
    await asyncio.sleep(delay)
