"""Chats on durable streams: start an answer, follow it, end it, read it back. Knows streams and cursors, no requests.

Every door stands on this: views and the function API through :class:`~resumable_stream.chat.api.ResumableChat`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from functools import lru_cache
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import Promise

from ..backends import backends
from ..backends.base import BaseBackend
from ..conf import settings
from ..exceptions import EmptyAnswerError, GenerationLimitError, StreamNotFoundError
from ..formats import get_format
from ..formats.base import ChunkEncoder, ChunkFormat, GenerationFacts
from ..generations.arrivals import Arrival, StreamKey
from ..generations.first_records import first_append, key_hash, opening_records, preview_of
from ..generations.generation import INTERRUPTED_TEXT, Generation, Producer
from ..generations.writer import Writer
from ..protocol.claim import Claim, Opening, start
from ..protocol.ending import Ending, interrupt, stop
from ..protocol.head import Head, find_head, is_abandoned
from ..protocol.layout import Begin, EndFacts, Token, new_generation_id, promised_seconds
from ..protocol.perform import perform, was_cancelled
from ..readers.history import NO_HISTORY, History, fold_history, read_generations
from ..readers.plans import Passage, Passages
from ..readers.preview_reader import PreviewReader
from ..readers.reader import Reader
from ..readers.run_plans import Runs, note_started
from ..readers.sharing import LargeRead
from ..records import Record
from ..runtime import runtime
from ..types import Delivery, EndReason, Message
from ..utils.app_code import call, stays_in_loop
from ..utils.off_loop import off_loop, size_of
from ..utils.threads import own_thread
from .on_end import EndTeller, OnEnd
from .start_request import Replaces, Start, StartRequest

logger = logging.getLogger(__name__)

Mode = Literal["single-use", "shared", "session"]
MODES = ("single-use", "shared", "session")
DEFAULT_ERROR_TEXT = "An error occurred."
MAX_ASKS_CHARACTERS = 256
STOP_WAIT_SECONDS = 5.0
"""How long a stop waits for its terminal record before it answers."""


# The same for the same name, so that readers of one stream share the frames that were encoded for it.
_shared_format = lru_cache(maxsize=64)(get_format)

OnError = Callable[[Any, Exception], Awaitable[str] | str]


def default_error_text(error: Exception) -> str:
    """Word a failure for people: nothing of its insides, unless the error was written for them."""
    return str(error) if isinstance(error, (EmptyAnswerError, GenerationLimitError)) else DEFAULT_ERROR_TEXT


async def _default_on_error(_context: Any, error: Exception) -> str:
    return default_error_text(error)


def _asked_by(user_messages: Sequence[Message]) -> str:
    """Return the id of the message that a generation answers, if it is short enough to be stated as a fact."""
    newest = user_messages[-1] if user_messages else {}
    asks = newest.get("id") if newest.get("role") == "user" else None
    return asks if isinstance(asks, str) and len(asks) <= MAX_ASKS_CHARACTERS else ""


def _facts_of(request: StartRequest, begin: Begin) -> GenerationFacts:
    return GenerationFacts(
        generation_id=begin.generation_id,
        message_id=begin.message_id,
        chat_id=begin.chat_id,
        run_id=begin.run_id or begin.generation_id,
        protocol_version=begin.protocol_version,
        user_messages=request.user_messages,
    )


def _words(value: object) -> str:
    if isinstance(value, (str, Promise)):
        return str(value)
    raise TypeError(f"on_error() must return the words for people as str, not {type(value).__name__}.")


class ChatEngine:
    """Chats of one format on one log.

    Args:
        format: The name of a format (``"aisdk"``, …), or a :class:`~resumable_stream.formats.base.ChunkFormat`.
        mode: How generations map to streams: ``"session"`` (one growing log per chat), ``"shared"`` (reused, only the
            newest kept) or ``"single-use"`` (a stream each).
        backend: Alias of the log in the ``BACKENDS`` setting.
        on_error: ``(context, error) -> str``: words a producer's failure for people.
        on_end: ``(end)``: called after a generation's terminal record is on the log, in the process that wrote
            it; at most once per generation (not at all if that process dies in between).
    """

    def __init__(
        self,
        *,
        format: str | ChunkFormat = "aisdk",  # noqa: A002 - the word for it everywhere else
        mode: Mode = "session",
        backend: str = "default",
        on_error: OnError | None = None,
        on_end: OnEnd | None = None,
    ) -> None:
        if mode not in MODES:
            raise ImproperlyConfigured(f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}.")
        self.format = _shared_format(format)
        self.mode = mode
        self._alias = backend
        self._on_error = on_error or _default_on_error
        self._ends = EndTeller(self.format, on_end)

    @property
    def backend(self) -> BaseBackend:
        """The log."""
        return backends[self._alias]

    @property
    def default_delivery(self) -> Delivery:
        """How the request that starts a generation is answered unless it is said otherwise."""
        return self.format.dialect.session_delivery if self.mode == "session" else "response"

    @property
    def holds_sessions_open(self) -> bool:
        """Whether readers go on from one generation to the next."""
        return self.mode == "session" and self.format.dialect.holds_sessions_open

    async def start(
        self,
        stream_name: str,
        source: object,
        *,
        generation_id: str | None = None,
        message_id: str | None = None,
        user_messages: Sequence[Message] = (),
        idempotency_key: str = "",
        run_id: str = "",
        owner: str = "",
        chat_id: str = "",
        actor: str = "",
        context: Any = None,
        is_previewed: bool = False,
        replaces: Replaces | None = None,
    ) -> Start:
        """Claim the stream and run ``source`` in the background, whoever listens.

        The arguments are fields of :class:`~resumable_stream.chat.start_request.StartRequest`, which says what each of
        them means. Raises as :meth:`start_from` does.
        """
        request = StartRequest(
            source=source,
            generation_id=generation_id,
            message_id=message_id,
            user_messages=user_messages,
            idempotency_key=idempotency_key,
            run_id=run_id,
            owner=owner,
            chat_id=chat_id,
            actor=actor,
            context=context,
            is_previewed=is_previewed,
            replaces=replaces,
        )
        return await self.start_from(stream_name, request)

    async def start_from(self, stream_name: str, request: StartRequest) -> Start:
        """Claim the stream and run what ``request`` asks for in the background, whoever listens.

        The stream's name has at most 512 bytes.

        Raises:
            GenerationActiveError: Another generation runs, and is not to be replaced.
            LimitExceededError: The owner has too many running.
            ShuttingDownError: This process is about to end.
            BackendUnavailableError: The log cannot be reached; nothing has begun.
            AppendOutcomeUnknownError: The claim may have been granted, but nobody will write under it.

        Cancelling it once the claim is on its way does not undo the start: the generation runs.
        """
        begin = self._begin_of(request)
        encoder = self.format.encoder(_facts_of(request, begin))
        here = runtime()
        arrival = request.arrival or here.arrivals.arrive(request.chat_id)
        arrival.stream = self._key(stream_name)
        brought = [*request.history, *request.user_messages]
        records = await off_loop(size_of(brought), opening_records, begin, brought, encoder, told=request.told)
        starting = self._start(stream_name, request, begin, records, encoder, arrival)
        carried = here.arrivals.carry(arrival, starting)
        if request.run_owner:
            carried = self._noted(carried, request)
        # A client that goes away just now must leave no claim behind that nobody writes under.
        return await here.registry.carry_through(carried)

    def _begin_of(self, request: StartRequest) -> Begin:
        """Return what the generation states about itself on the log."""
        generation_id = request.generation_id or new_generation_id()
        history, user_messages = request.history, request.user_messages
        return Begin(
            generation_id=generation_id,
            format=self.format.name,
            message_id=request.message_id or generation_id,
            chat_id=request.chat_id,
            actor=request.actor,
            key=key_hash(request.idempotency_key),
            run_id=request.run_id,
            asks=_asked_by(user_messages),
            page=request.page,
            whole=len(history) + len(user_messages) if history else 0,
            protocol_version=request.protocol_version,
        )

    async def _noted(self, starting: Coroutine[Any, Any, Start], request: StartRequest) -> Start:
        started = await starting
        # Also where the start found its generation: the one that began it may have died before it wrote the note.
        await note_started(self.backend, request.run_owner, request.run_id, request.chat_id)
        return started

    def _key(self, stream_name: str) -> StreamKey:
        return self.backend.alias, stream_name

    async def _start(
        self,
        stream_name: str,
        request: StartRequest,
        begin: Begin,
        records: list[Record],
        encoder: ChunkEncoder,
        arrival: Arrival,
    ) -> Start:
        here = runtime()
        replaced = here.registry.get(self.backend, stream_name) if request.replaces is not None else None
        with here.registry.place(request.owner, instead_of=replaced):
            granted, rest = await self._claim(stream_name, request, begin, records)
            if isinstance(granted, Head):
                assert granted.begin is not None
                there = granted.begin.generation_id
                return Start(generation_id=there, cursor=granted.start, is_new=False, found=granted)
            writer = Writer(self.backend, stream_name, granted, here.pacer)
            if request.is_previewed:
                writer.preview = preview_of(granted, records)
            if rest:
                writer.put_records(rest)
            if granted.ended is not None:
                self._let_go(stream_name, granted.ended, replaced, here.registry.get(self.backend, stream_name))
            generation = Generation(
                stream=stream_name,
                owner=request.owner,
                claim=granted,
                encoder=encoder,
                writer=writer,
                producer=self._producer(request, stream_name, granted, begin),
                context=request.context,
            )
            here.registry.start(self.backend, generation)
            if here.arrivals.is_stopped(arrival):
                # A stop has come meanwhile: the producer is never asked.
                generation.stop()
                arrival.stopped_id = generation.id
            if was_cancelled():
                await generation.end_with_loop()
        return Start(generation_id=begin.generation_id, cursor=granted.start, is_new=True, preview=writer.preview)

    def _let_go(self, stream_name: str, ended: Ending, *ours: Generation | None) -> None:
        """Tell the app of the generation that a claim has ended, and its source if it is one of ``ours``."""
        replaced = next((one for one in ours if one is not None and one.id == ended.facts.generation_id), None)
        context = None
        if replaced is not None:
            # The log would say so as well, a moment later.
            replaced.lose()
            context = replaced.context
        # Beside the start, which need not wait for what the app does about another answer.
        runtime().registry.keep(self._ends.tell_of_stranger(self.backend, stream_name, ended, context))

    async def _claim(
        self, stream_name: str, request: StartRequest, begin: Begin, records: list[Record]
    ) -> tuple[Claim | Head, Sequence[Record]]:
        """Claim with as many of the first records as one append takes; return what is left of them."""
        first, rest = first_append(records)
        token = Token.owner(begin.generation_id, promised_seconds(settings.lease_seconds))
        replaces = request.replaces
        may_replace = None if replaces is None else lambda head: replaces(head.begin)
        opening = Opening(token=token, records=first, mode=self.mode, key=begin.key, replaces=may_replace)
        operation = start(
            opening,
            self._encoder_for,
            text=INTERRUPTED_TEXT,
            guess=request.guess,
            resolution_ms=self.backend.server_time_resolution,
        )
        return await perform(operation, self.backend, stream_name, outlasts_cancellation=True), rest

    def _producer(self, request: StartRequest, stream_name: str, claim: Claim, begin: Begin) -> Producer:
        source, context = request.source, request.context

        async def describe(error: Exception) -> str:
            try:
                # With a database connection of its own, as on_end.
                async with own_thread():
                    return _words(await call(self._on_error, context, error))
            except Exception:  # an app's hook; the generation must end all the same
                logger.exception("on_error failed stream=%s generation=%s", stream_name, begin.generation_id)
                return DEFAULT_ERROR_TEXT

        async def ended(facts: EndFacts) -> None:
            await self._ends.tell(self.backend, stream_name, claim.start, begin, facts, context)

        return Producer(
            open=source if callable(source) else stays_in_loop(lambda: source),
            describe=describe,
            ended=ended,
            # A model may well have nothing to add to the outputs of the page's own tools.
            may_be_empty=bool(begin.chat_id) and not begin.asks,
        )

    def _encoder_for(self, begin: Begin | None) -> ChunkEncoder:
        """Make the encoder that ends somebody else's generation."""
        format_ = self.format
        if begin is not None and begin.format != self.format.name:
            try:
                format_ = get_format(begin.format)
            except ImproperlyConfigured:
                # A format of its own that this process does not know; ours ends it as well as can be.
                logger.warning("unknown format generation=%s format=%s", begin.generation_id, begin.format)
        generation_id = begin.generation_id if begin is not None else new_generation_id()
        message_id = begin.message_id if begin is not None else generation_id
        chat_id = begin.chat_id if begin is not None else ""
        run_id = (begin.run_id if begin is not None else "") or generation_id
        facts = GenerationFacts(
            generation_id=generation_id,
            message_id=message_id,
            chat_id=chat_id,
            run_id=run_id,
            protocol_version=begin.protocol_version if begin is not None else "",
        )
        return format_.encoder(facts)

    async def head(self, stream_name: str) -> Head | None:
        """Find the stream's newest generation; ``None`` if the stream does not exist. Costs two reads."""
        return await perform(find_head(), self.backend, stream_name)

    async def locate(
        self,
        stream_name: str,
        cursor: int | None = None,
        *,
        is_live: bool = False,
        resumes: bool = False,
        open_runs: Collection[str] = (),
    ) -> Reader | None:
        """Open a reader, or return ``None`` where nothing runs and the reader has it all.

        Without a cursor it reads the running generation from its start. A client that ``resumes`` may have seen the
        beginning of one that has ended: where its library makes the message anew, it gets that for
        ``RESUME_AFTER_END_SECONDS`` after the end. With a cursor the reader goes on from there, to the end of the
        newest generation, also when that is over. A live reader never ends; without a cursor it begins with the
        running generation, or with what comes next.

        Where the format's clients follow sessions, every reader of a session is live, and without a cursor begins with
        a snapshot of what is over. After it comes once more how those of ``open_runs`` have ended that it holds: the
        client takes them to be running.
        """
        passages = Passages(self.backend, stream_name, self.format, runtime().loads)
        if self.holds_sessions_open:
            return await self._open(stream_name, await passages.of_session(cursor, open_runs=open_runs))
        passage = await passages.of_newest(cursor, is_live=is_live, resumes=resumes)
        return await self._open(stream_name, passage) if passage is not None else None

    async def reader_of_run(self, stream_name: str, run_id: str, cursor: int | None = None) -> Reader:
        """Open a reader of the run ``run_id``, from its start or from ``cursor`` on, to its end.

        A run is a generation under the name that its client gave it. Only the newest one of the stream can be read
        from its start.

        Raises:
            GenerationNotFoundError: It is not the newest one.
            CursorLostError: The cursor lies outside of the run, or what follows it is gone.
        """
        return await self._open(stream_name, await Runs(self.backend, stream_name, self.format).passage(run_id, cursor))

    async def _open(self, stream_name: str, passage: Passage) -> Reader:
        """Open a reader; an answer whose owner is known to have died is ended first, so that nobody waits for it."""
        if passage.head is not None:
            await self._end_if_abandoned(stream_name, passage.head)
        return self._reader(stream_name, passage)

    def _reader(self, stream_name: str, passage: Passage) -> Reader:
        return Reader(
            runtime().hub,
            self.backend,
            stream_name,
            passage.cursor,
            is_live=passage.is_live,
            end_after=passage.end_after,
            guard=self._look_after,
            prelude=passage.prelude,
            silent_seconds=passage.head.silent_ms / 1000 if passage.head is not None else 0,
        )

    def reader(self, stream_name: str, start: Start) -> Reader:
        """Open a reader of a generation that was just started."""
        if start.preview is None:
            return self._reader(stream_name, Passage(cursor=start.cursor, end_after=start.cursor, head=start.found))
        options = {"end_after": start.cursor, "guard": self._look_after}
        return PreviewReader(start.preview, runtime().hub, self.backend, stream_name, start.cursor, **options)

    async def _look_after(self, stream_name: str) -> bool:
        """End the generation of an owner that has fallen silent; tell whether one runs."""
        head = await self.head(stream_name)
        if head is None or not self._is_abandoned(stream_name, head):
            return head is not None and head.is_running
        return await runtime().registry.carry_through(self._interrupt(stream_name, head))

    async def _end_if_abandoned(self, stream_name: str, head: Head) -> bool:
        """End the generation of an owner that ``head`` shows to have been silent for too long; return whether it did.

        A failure is left to whoever looks after the stream's owner while it is followed.
        """
        if not self._is_abandoned(stream_name, head):
            return False
        try:
            return not await runtime().registry.carry_through(self._interrupt(stream_name, head))
        except Exception:  # the log's, or an app's own format; a reader gets what there is
            logger.exception("abandoned generation could not be ended stream=%s", stream_name)
            return False

    def _is_abandoned(self, stream_name: str, head: Head) -> bool:
        # What is written here: this process stood still, or the log is slow to take the heartbeat.
        return (
            head.is_running
            and not self._is_written_here(stream_name, head)
            and is_abandoned(head, mode="session", resolution_ms=self.backend.server_time_resolution)
        )

    def _is_written_here(self, stream_name: str, head: Head) -> bool:
        generation = runtime().registry.get(self.backend, stream_name)
        return generation is not None and generation.id == head.token.generation_id

    async def _interrupt(self, stream_name: str, head: Head) -> bool:
        """End what ``head`` shows to be abandoned; tell whether something still runs."""
        operation = interrupt(head, self._encoder_for, text=INTERRUPTED_TEXT)
        ended = await perform(operation, self.backend, stream_name)
        if ended is not None:
            # Beside: the end lets readers go, who wait for no hook, and with the last of them whoever ended it.
            runtime().registry.keep(self._ends.tell_of_stranger(self.backend, stream_name, ended))
        return ended is None

    async def end(
        self, stream_name: str, generation_id: str | None = None, *, arrival: Arrival | None = None
    ) -> str | None:
        """Stop what runs on the stream, wherever it runs; return its id, or ``None`` if nothing does.

        In this process the producer is cancelled at once, and a start that came before ``arrival`` (default: now) is
        stopped also where it has not claimed the stream yet; the id is empty if it does not do so soon. Elsewhere the
        writer notices within a second.

        Raises:
            GenerationActiveError: Another generation than ``generation_id`` runs.
        """
        here = runtime()
        starts: list[Arrival] = []
        if generation_id is None:
            starts = here.arrivals.stop(self._key(stream_name), arrival or here.arrivals.arrive())
        generation = here.registry.get(self.backend, stream_name)
        # Only the log knows of any other: what this process writes may have ended there, its reply being lost.
        if generation is not None and generation_id in (None, generation.id):
            generation.stop()
            # The log may be out of reach; what was asked for happens all the same as soon as it is back.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_WAIT_SECONDS):
                    await generation.is_over.wait()
            if generation.end is EndReason.STOPPED:
                return generation.id
        # As with a start: what is begun is done, on_end included, should the client go away meanwhile.
        stopped = await here.registry.carry_through(self._stop(stream_name, generation_id))
        return stopped if stopped is not None else await self._stopped_of(stream_name, starts)

    async def _stopped_of(self, stream_name: str, starts: Sequence[Arrival]) -> str | None:
        """Wait for starts that a stop is meant for, and return the generation that one of them has begun."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WAIT_SECONDS):
                for start_ in starts:
                    await start_.is_over.wait()
        found = next((start_.stopped_id for start_ in starts if start_.stopped_id is not None), None)
        is_open = any(not start_.is_over.is_set() for start_ in starts)
        return "" if found is None and is_open else found

    async def _stop(self, stream_name: str, generation_id: str | None) -> str | None:
        ended = await perform(stop(generation_id, self._encoder_for), self.backend, stream_name)
        if ended is None:
            return None
        await self._ends.tell_of_stranger(self.backend, stream_name, ended)
        return ended.facts.generation_id

    async def history(self, stream_name: str, reading: LargeRead | None = None) -> History:
        """Read everything the stream holds, as generations; ``reading`` makes a large chat wait for its place.

        A reader from the cursor gets what :meth:`messages` leaves out. Costs what the stream holds.
        """
        try:
            history = await read_generations(self.backend, stream_name, reading=reading)
            head = await self.head(stream_name) if history.is_running else None
            if head is None or not self._is_abandoned(stream_name, head):
                return history
            # What the app does about the end may itself read a large chat.
            del history
            if reading is not None:
                await reading.let_go()
            await self._end_if_abandoned(stream_name, head)
            return await read_generations(self.backend, stream_name, reading=reading)
        except StreamNotFoundError:
            return NO_HISTORY

    async def messages(self, stream_name: str) -> list[Message]:
        """Fold the chat into the client library's own messages.

        The answer of a running generation is left out (its user message is in): whoever shows the chat gets it by
        :meth:`replay`.
        """
        async with runtime().loads.large(stream_name) as reading:
            history = await self.history(stream_name, reading)
            return await fold_history(self.format, history.generations)
