"""Chats on durable streams: start an answer, follow it, end it, read it back. Knows streams and cursors, no requests.

Every door stands on this: views and the function API through :class:`~resumable_stream.chat.api.ResumableChat`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..backends import backends
from ..backends.base import BaseBackend
from ..exceptions import StreamNotFoundError
from ..formats import get_format
from ..formats.base import ChunkFormat
from ..generations.arrivals import Arrival
from ..protocol.head import Head, find_head
from ..protocol.perform import perform
from ..readers.history import NO_HISTORY, History, fold_history, read_generations
from ..readers.plans import ReadPlan, ReadPlanner
from ..readers.preview_reader import PreviewReader
from ..readers.reader import Reader
from ..readers.run_plans import Runs
from ..readers.sharing import LargeRead
from ..runtime import runtime
from ..types import Delivery, Message
from .abandoned import end_if_abandoned, is_abandoned, look_after
from .chat_stream import ChatStream, Mode
from .on_end import EndNotifier, OnEnd
from .on_error import OnError, default_on_error
from .start_request import Replaces, Start, StartRequest
from .starting import Starting
from .stopping import stop_running

MODES = ("single-use", "shared", "session")
# The same for the same name, so that readers of one stream share the frames that were encoded for it.
_shared_format = lru_cache(maxsize=64)(get_format)


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
        self._on_error = on_error or default_on_error
        self._ends = EndNotifier(self.format, on_end)

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
        """Claim the stream and run ``source`` in the background, whether a client reads it or not.

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
        """Claim the stream and run what ``request`` asks for in the background, whether a client reads it or not.

        The stream's name has at most 512 bytes.

        Raises:
            GenerationActiveError: Another generation runs, and is not to be replaced.
            LimitExceededError: The owner has too many running.
            ShuttingDownError: This process is about to end.
            BackendUnavailableError: The log cannot be reached; nothing has begun.
            AppendOutcomeUnknownError: The claim may have been granted, but nobody will write under it.

        Cancelling it once the claim is on its way does not undo the start: the generation runs.
        """
        return await Starting(self._stream(stream_name), request).run()

    def _stream(self, stream_name: str) -> ChatStream:
        return ChatStream(
            backend=self.backend,
            name=stream_name,
            format=self.format,
            mode=self.mode,
            on_error=self._on_error,
            ends=self._ends,
        )

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
        newest generation, also after that has ended. A live reader never ends; without a cursor it begins with the
        running generation, or with what comes next.

        Where the format's clients follow sessions, every reader of a session is live, and without a cursor begins with
        a snapshot of the generations that have ended. The last chunk of each run in ``open_runs`` that the snapshot
        contains follows it, because the client still believes that those runs are active.
        """
        planner = ReadPlanner(self.backend, stream_name, self.format, runtime().loads)
        if self.holds_sessions_open:
            return await self._open(stream_name, await planner.plan_session(cursor, open_runs=open_runs))
        passage = await planner.plan_newest(cursor, is_live=is_live, resumes=resumes)
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

    async def _open(self, stream_name: str, passage: ReadPlan) -> Reader:
        """Open a reader; an answer whose owner is known to have died is ended first, so that nobody waits for it."""
        if passage.head is not None:
            await end_if_abandoned(self._stream(stream_name), passage.head)
        return self._reader(stream_name, passage)

    def _reader(self, stream_name: str, passage: ReadPlan) -> Reader:
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
            return self._reader(stream_name, ReadPlan(cursor=start.cursor, end_after=start.cursor, head=start.found))
        options = {"end_after": start.cursor, "guard": self._look_after}
        return PreviewReader(start.preview, runtime().hub, self.backend, stream_name, start.cursor, **options)

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
        return await stop_running(self._stream(stream_name), generation_id, arrival)

    async def _look_after(self, stream_name: str) -> bool:
        """End the generation of an owner that has fallen silent; return whether one runs."""
        return await look_after(self._stream(stream_name))

    async def history(self, stream_name: str, reading: LargeRead | None = None) -> History:
        """Read everything the stream holds, as generations; ``reading`` makes a large chat wait for its place.

        A reader from the cursor gets what :meth:`messages` leaves out. Costs what the stream holds.
        """
        try:
            history = await read_generations(self.backend, stream_name, reading=reading)
            head = await self.head(stream_name) if history.is_running else None
            if head is None or not is_abandoned(self._stream(stream_name), head):
                return history
            # What the app does about the end may itself read a large chat.
            del history
            if reading is not None:
                await reading.let_go()
            await end_if_abandoned(self._stream(stream_name), head)
            return await read_generations(self.backend, stream_name, reading=reading)
        except StreamNotFoundError:
            return NO_HISTORY

    async def messages(self, stream_name: str) -> list[Message]:
        """Fold the chat into the client library's own messages.

        The answer of a running generation is left out (its user message is in): a client gets that answer
        by :meth:`replay`.
        """
        async with runtime().loads.large(stream_name) as reading:
            history = await self.history(stream_name, reading)
            return await fold_history(self.format, history.generations)
