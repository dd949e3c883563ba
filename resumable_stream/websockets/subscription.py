"""One stream on one socket: read, said in the socket's dialect, and read again where that fails."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from http import HTTPStatus

from ..chat.api import ResumableChat
from ..error_texts import UNAVAILABLE_TEXT
from ..exceptions import (
    BackendUnavailableError,
    ReadUnwrittenError,
    RecordsTrimmedError,
    ResumableStreamError,
    ShuttingDownError,
    StreamNotFoundError,
)
from ..generations.arrivals import Arrival
from ..protocol.layout import Chunk, Ended
from ..protocol.perform import Backoff
from ..readers.frames import Frame
from ..readers.reader import Reader
from .sender import Sender
from .subprotocols.base import NOTHING, SHUTDOWN, UNAVAILABLE, Failure, SocketDialect, SubscriptionEnd

logger = logging.getLogger(__name__)

TURN_FRAMES = 32
"""Frames in a row before others have their turn: about a millisecond's work."""
TURN_CHARACTERS = 64 * 1024
MAX_ATTEMPTS = 5
"""How often a stream that changes under its reader is looked for again without getting any further."""


class Subscription:
    """Follows a stream for one client. The task that it runs in belongs to the connection."""

    def __init__(self, key: str, chat_id: str, *, sender: Sender, dialect: SocketDialect, chat: ResumableChat) -> None:
        self.key = key
        self.chat_id = chat_id
        self.task: asyncio.Task[None] | None = None
        self.starting: asyncio.Task[None] | None = None
        """Starts a generation beside it."""
        self.arrival: Arrival | None = None
        """Of the start that it was made for."""
        self.cursor: int | None = None
        """Where a client that has what was sent so far goes on."""
        self.is_live = False
        """Whether it stays from one generation to the next."""
        self.is_dismissed = False
        """Whether the client wants no more of it."""
        self._sender = sender
        self._dialect = dialect
        self._chat = chat
        self._reader: Reader | None = None
        self._frames: list[Frame] = []
        """What is on its way out."""
        self._position = 0
        """How many of these have been sent."""
        self._end: SubscriptionEnd | None = None
        self._is_outage_told = False
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def follow(
        self,
        stream_name: str,
        *,
        run_id: str | None = None,
        cursor: int | None = None,
        is_live: bool = False,
        resumes: bool = False,
        reader: Reader | None = None,
    ) -> SubscriptionEnd:
        """Send what comes until nothing more can; of the run ``run_id`` alone if given.

        ``reader`` is one that is open already.

        While the log is out of reach the client is told, and reading goes on where it was as soon as it is back.

        Raises:
            SocketGoneError: The client has gone.
            GenerationNotFoundError: There is no such run.
            CursorLostError: The cursor lies outside of the run.
        """
        self.cursor, self.is_live = cursor, is_live
        backoff = Backoff()
        attempts = 0
        is_new = reader is None
        while True:
            before = self.cursor
            try:
                if reader is None:
                    reader = await self._locate(stream_name, run_id, is_live=is_live, resumes=resumes)
                self._settle()
                if is_new:
                    await self._sender.send(self._dialect.subscribed(self.key, reader.cursor if reader else None))
                    is_new = False
                if reader is None:
                    return SubscriptionEnd(reason=NOTHING, cursor=self.cursor)
                return await self._pass_on(reader)
            except ShuttingDownError:
                return SubscriptionEnd(reason=SHUTDOWN, cursor=self.cursor)
            except BackendUnavailableError as error:
                delay = backoff.next()
                await self._tell_outage(delay, error)
            except (RecordsTrimmedError, StreamNotFoundError, ReadUnwrittenError) as error:
                attempts = attempts + 1 if self.cursor == before else 0
                if attempts >= MAX_ATTEMPTS:
                    logger.error("stream cannot be followed stream=%s error=%s", stream_name, error)
                    return SubscriptionEnd(reason=UNAVAILABLE, cursor=self.cursor, text=UNAVAILABLE_TEXT)
                delay = backoff.next()
            if self.cursor != before:
                backoff.reset()
            reader = None
            await asyncio.sleep(delay)

    async def _locate(self, stream_name: str, run_id: str | None, *, is_live: bool, resumes: bool) -> Reader | None:
        if run_id is not None:
            return await self._chat.reader_of_run(stream_name, run_id, self.cursor)
        return await self._chat.locate(stream_name, self.cursor, is_live=is_live, resumes=resumes)

    def dismiss(self) -> None:
        """End: the client wants no more of it, or may have no more."""
        self.is_dismissed = True
        if self.task is not None:
            self.task.cancel()

    async def has_gone(self) -> None:
        """Wait until nothing more of it can be sent."""
        if self.task is not None:
            await asyncio.wait({self.task})

    async def has_settled(self) -> None:
        """Wait until it is known what it follows, or that this cannot be known yet."""
        if self.task is not None:
            await asyncio.wait({self.task, self._settled}, return_when=asyncio.FIRST_COMPLETED)
        if self.starting is not None:
            await asyncio.wait({self.starting})

    def let_go(self) -> None:
        """Drop what is on its way out, but for the frame the server has; it is read again when there is room."""
        if self._frames and self._reader is not None and self.cursor is not None and self._reader.let_go(self.cursor):
            # In place: the reader holds the list too.
            self._frames.clear()

    async def _pass_on(self, reader: Reader) -> SubscriptionEnd:
        """Send what ``reader`` yields; return how its last generation ended."""
        self._reader = reader
        self.is_live = reader.is_live
        if self.cursor is None:
            self.cursor = reader.cursor
        reader.announces_tail = True
        is_tail_told = False
        async with aclosing(reader.frames()) as batches:
            async for frames in batches:
                if frames:
                    self._is_outage_told = False
                    await self._deliver(frames)
                    self.cursor = reader.cursor
                elif reader.is_caught_up and not is_tail_told:
                    is_tail_told = True
                    await self._sender.send(self._dialect.caught_up(self.key, reader.cursor))
                elif reader.is_cut_off:
                    await self._tell_outage(Backoff().next())
                del frames  # Not to be held while waiting for the next.
        assert self._end is not None
        return self._end

    async def _deliver(self, frames: list[Frame]) -> None:
        self._frames, self._position = frames, 0
        try:
            while self._position < len(frames):
                async with self._sender.turn:
                    if await self._send_some():
                        # Still holding the turn: in this round of the event loop the socket has had its share.
                        await asyncio.sleep(0)
        finally:
            self._frames = []

    async def _send_some(self) -> bool:
        """Send what fits into a turn; tell whether that was a whole turn's worth."""
        frames = self._frames
        stop = self._position + TURN_FRAMES
        characters = 0
        while self._position < min(stop, len(frames)) and characters < TURN_CHARACTERS:
            frame = frames[self._position]
            self._position += 1
            entry = frame.entry
            # Before it is sent: what the server has been given cannot be taken back.
            self.cursor = entry.cursor or self.cursor
            if isinstance(entry, Chunk):
                text = self._dialect.chunk(self.key, frame)
                characters += len(text)
                if text:
                    await self._sender.put(text)
            elif isinstance(entry, Ended):
                await self._note_end(entry)
        return self._position >= stop or characters >= TURN_CHARACTERS

    async def _note_end(self, entry: Ended) -> None:
        """Tell a live client that a generation has ended; for others, the last end is the subscription's own."""
        assert self._reader is not None
        facts = entry.facts
        end = SubscriptionEnd(
            reason=facts.reason.value,
            cursor=entry.cursor,
            generation_id=facts.generation_id,
            text=facts.text,
            cause=facts.cause,
        )
        if not self._reader.is_live:
            self._end = end
        elif (text := self._dialect.ended(self.key, end, is_last=False)) is not None:
            await self._sender.put(text)

    def _settle(self) -> None:
        if not self._settled.done():
            self._settled.set_result(None)

    async def _tell_outage(self, delay: float, error: ResumableStreamError | None = None) -> None:
        """Tell the client, once, that the log cannot be reached and will be tried again."""
        self._settle()
        if self._is_outage_told:
            return
        self._is_outage_told = True
        logger.warning("reader waits for the log cursor=%s error=%s", self.cursor, error)
        failure = Failure(
            status=HTTPStatus.SERVICE_UNAVAILABLE, text=UNAVAILABLE_TEXT, retry_seconds=max(1, round(delay))
        )
        await self._sender.send(self._dialect.failed(self.key, failure))
