"""One running generation: producer, encoder and writer, from the claim to the terminal record."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from django.utils.functional import Promise

from ..conf import settings
from ..exceptions import (
    GenerationLimitError,
    GenerationLostError,
    InvalidRecordError,
    ResumableStreamError,
    SeqNumMismatchError,
)
from ..formats.base import ChunkEncoder
from ..protocol.claim import Claim
from ..protocol.layout import Cause, Claimed, Ended, EndFacts, Entry
from ..types import EndReason
from ..utils.app_code import call, guard_tasks, guarded
from ..utils.threads import own_thread
from .emptiness import Yielded
from .sources import items_of
from .writer import Writer

logger = logging.getLogger(__name__)

INTERRUPTED_TEXT = "The answer was interrupted. Please try again."
LAST_WORDS_SECONDS = 5.0
"""How long the terminal records of interrupted generations may take at the end of a process: as long as a log that is
slow may take to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """Where a generation's chunks come from, and whom it tells how it went."""

    open: Callable[[], object]
    """Starts the producer; called once, after the claim was granted."""
    describe: Callable[[Exception], Awaitable[str]]
    """Words a failure for the people who read the chat."""
    ended: Callable[[EndFacts], Awaitable[None]]
    """Called once when this generation has written its own terminal record."""
    may_be_empty: bool = False
    """Whether nothing of what it yields need be carried: its answer goes on with one that is there."""


class Generation:
    """A generation that this process writes. :meth:`run` is its task; the registry owns it."""

    def __init__(
        self,
        *,
        stream: str,
        owner: str,
        claim: Claim,
        encoder: ChunkEncoder,
        writer: Writer,
        producer: Producer,
        context: Any = None,
    ) -> None:
        assert claim.token.generation_id is not None
        self.id = claim.token.generation_id
        self.stream = stream
        self.owner = owner
        """Whose limit it counts against."""
        self.context = context
        """What the app gave with the start, for its hooks."""
        self.start = claim.start
        """``seq_num`` of its claim: the cursor of a reader that wants all of it."""
        self.end: EndReason | None = None
        """How it ends, once that is decided."""
        self.is_over = asyncio.Event()
        """Set when the stream is free again, or lost."""
        self._encoder = encoder
        self._writer = writer
        self._producer = producer
        self._pump: asyncio.Task[None] | None = None
        self._overdue: asyncio.Task[None] | None = None
        self._yielded = Yielded()
        self._bytes = 0
        """Of all chunks so far."""
        self._facts: EndFacts | None = None
        self._is_lost = False

    def stop(self) -> None:
        """End as ``stopped``, with what the producer has yielded so far; the producer is cancelled."""
        self._decide(EndReason.STOPPED, self._encoder.stop)

    def interrupt(self) -> None:
        """End as ``interrupted``: this process must go."""
        self._decide(
            EndReason.INTERRUPTED,
            lambda: self._encoder.interrupt(INTERRUPTED_TEXT),
            INTERRUPTED_TEXT,
            cause=Cause.SHUTDOWN,
        )

    async def end_with_loop(self) -> NoReturn:
        """End as ``interrupted`` in a task that was cancelled: the event loop ends, and waits for such tasks alone."""
        self.interrupt()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self.is_over.wait()
        raise asyncio.CancelledError

    def notice(self, entries: Sequence[Entry]) -> None:
        """Look at what came in on the stream; an owner or an end that is not ours means that we have lost it."""
        for entry in entries:
            if isinstance(entry, Claimed):
                is_foreign = entry.token.generation_id != self.id
            elif isinstance(entry, Ended):
                # Whatever it says of itself: another program's end names no generation.
                is_foreign = self.end is None
            else:
                continue
            if is_foreign and entry.cursor > self.start:
                self.lose()

    def lose(self) -> None:
        """Give up: another writer owns the stream, or somebody has ended this generation. The producer is cancelled."""
        self._is_lost = True
        self._writer.abandon()
        self._cancel_producer()

    async def run(self, release: Callable[[], None]) -> None:
        """Produce and write until the terminal record is on the log, then tell :attr:`Producer.ended`.

        ``release`` is called as soon as the stream is free or lost, however long the producer takes to end.
        Never raises but for cancellation: its event loop ends, as with ``asyncio.run``, which waits for the tasks that
        it cancels. Then it first ends the generation as ``interrupted``, if the log takes that in time.
        """
        logger.info("generation started stream=%s generation=%s", self.stream, self.id)
        pump = self._pump = asyncio.create_task(self._produce_in_own_thread(), name=f"producer {self.id}")
        if self.end is not None:
            self._cancel_producer()  # Ended before it began: the producer is never asked.
        timer = self._limit_time()
        cancelled: asyncio.CancelledError | None = None
        try:
            try:
                facts = await self._write()
            except asyncio.CancelledError as error:
                cancelled, facts = error, await self._write_last_words()
            self._is_lost = facts is None
        finally:
            if timer is not None:
                timer.cancel()
            self._cancel_producer()
            release()
            self.is_over.set()
        if facts is not None:
            await self._tell(facts, within=LAST_WORDS_SECONDS if cancelled is not None else None)
        if cancelled is not None:
            raise cancelled
        # A producer that is slow to notice its cancellation holds up nobody but itself.
        await asyncio.wait({pump})

    def _limit_time(self) -> asyncio.TimerHandle | None:
        """Let the generation fail when it has taken too long, also where its producer blocks a thread."""
        limit = settings.max_generation_seconds
        if limit is None:
            return None
        error = GenerationLimitError("The answer took too long and was ended.", setting="MAX_GENERATION_SECONDS")

        def fail() -> None:
            self._overdue = asyncio.create_task(self._fail(error), name=f"overdue {self.id}")

        return asyncio.get_running_loop().call_later(limit, fail)

    def _cancel_producer(self) -> None:
        # Once: a second cancellation would cut short what the producer does to clean up.
        if self._pump is not None and not self._pump.cancelling():
            self._pump.cancel()

    async def _produce_in_own_thread(self) -> None:
        # Shared with no hook: a provider's blocking call may hold it for ever.
        guard_tasks()
        async with own_thread():
            await self._produce()

    async def _produce(self) -> None:
        """Move the producer's items to the writer; the top of a task, so every failure ends here."""
        try:
            with guarded():
                await self._pass_on_items()
            if self.end is None and not self._is_lost:
                if self._encoder.end is None:
                    self._yielded.check(self._encoder.finish_reason, may_be_empty=self._producer.may_be_empty)
                reason = self._encoder.end or EndReason.FINISHED
                # Here rather than in _decide: what cannot be finished has failed.
                chunks = self._encoder.finish()
                self._decide(reason, lambda: chunks)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled us: something that the producer waited for was, and nothing more will come.
            await self._fail(_caused_by(error))
        except Exception as error:  # noqa: BLE001 - whatever a producer raises must end its generation properly
            await self._fail(error)

    async def _pass_on_items(self) -> None:
        async with aclosing(items_of(await call(self._producer.open))) as items:
            async for item in items:
                if self.end is not None or self._is_lost:
                    return
                # gettext_lazy() and the like, in the language of the request that has started this.
                text_or_item = str(item) if isinstance(item, Promise) else item
                chunks = self._encoder.encode(text_or_item)
                self._yielded.note(item, chunks)
                for chunk in chunks:
                    self._put(chunk)
                if self._writer.is_full:
                    await self._writer.wait_for_room()

    def _put(self, chunk: str) -> None:
        self._bytes += self._writer.put(chunk)
        limit = settings.max_generation_bytes
        if limit is not None and self._bytes > limit:
            raise GenerationLimitError("The answer grew too long and was ended.", setting="MAX_GENERATION_BYTES")

    async def _fail(self, error: Exception) -> None:
        if self.end is not None or self._is_lost:
            logger.warning("failed after its end generation=%s", self.id, exc_info=error)
            return
        logger.error("generation failed stream=%s generation=%s", self.stream, self.id, exc_info=error)
        text = await self._producer.describe(error)
        cause = Cause.LIMIT_EXCEEDED if isinstance(error, GenerationLimitError) else None
        self._decide(EndReason.FAILED, lambda: self._encoder.fail(text), text, cause=cause)

    def _decide(
        self, reason: EndReason, closing: Callable[[], list[str]], text: str = "", *, cause: Cause | None = None
    ) -> None:
        """Settle how the generation ends; whoever comes first is heard."""
        if self.end is not None or self._is_lost:
            return
        self.end = reason
        self._facts = EndFacts(
            generation_id=self.id,
            reason=reason,
            text=text,
            by=secrets.token_hex(6),
            cause=cause,
            finish_reason=self._encoder.finish_reason if reason is EndReason.FINISHED else None,
        )
        self._writer.close(self._last_chunks(closing), self._facts)
        if reason in (EndReason.STOPPED, EndReason.INTERRUPTED):
            self._cancel_producer()

    def _last_chunks(self, closing: Callable[[], list[str]]) -> list[str]:
        """Ask the encoder for its last chunks; where it fails, the terminal record alone must do."""
        try:
            return closing()
        except Exception:  # a format of the app's own
            logger.exception("format could not close stream=%s generation=%s", self.stream, self.id)
            return []

    async def _write(self) -> EndFacts | None:
        """Run the writer; return the end it has written, or ``None`` if the stream was lost."""
        try:
            try:
                await self._writer.run()
            except (SeqNumMismatchError, InvalidRecordError) as error:
                # Somebody wrote into the stream beside us, or the log refuses what a format made: the answer is
                # spoilt, but it can be ended.
                await self._fail(error)
                await self._writer.run()
        except GenerationLostError as error:
            logger.info("generation lost stream=%s generation=%s token=%s", self.stream, self.id, error.token)
        except (ResumableStreamError, OSError) as error:
            # Nothing more can be written. Whoever finds the stream silent will end the generation.
            logger.error("log out of reach stream=%s generation=%s", self.stream, self.id, exc_info=error)
        except Exception:  # a backend of the app's own, or a fault of ours; it must not end this task
            logger.exception("writer failed stream=%s generation=%s", self.stream, self.id)
        else:
            assert self._facts is not None
            reason, cause = self._facts.reason.value, self._facts.cause
            logger.info(
                "generation ended stream=%s generation=%s reason=%s cause=%s", self.stream, self.id, reason, cause or ""
            )
            return self._facts
        return None

    async def _write_last_words(self) -> EndFacts | None:
        """End as ``interrupted`` before this task, which was cancelled, lets go."""
        logger.warning("event loop ends under a generation stream=%s generation=%s", self.stream, self.id)
        self.interrupt()
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                return await self._write()
        except TimeoutError:
            logger.error("log did not take the end in time stream=%s generation=%s", self.stream, self.id)
            return None

    async def _tell(self, facts: EndFacts, *, within: float | None = None) -> None:
        try:
            async with asyncio.timeout(within):
                await self._producer.ended(facts)
        except TimeoutError:
            logger.error("on_end was cut short: the event loop ends stream=%s generation=%s", self.stream, self.id)


def _caused_by(error: BaseException) -> Exception:
    cause = RuntimeError("Something that the producer waited for was cancelled, though the generation was not.")
    cause.__cause__ = error
    return cause
