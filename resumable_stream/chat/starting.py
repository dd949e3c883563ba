"""One start: from what is asked for, over the claim on the log, to the generation that runs in this process."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from ..conf import settings
from ..formats.base import ChunkFormat, GenerationFacts
from ..generations.first_records import first_append, key_hash, opening_records, preview_of
from ..generations.generation import INTERRUPTED_TEXT, Generation, Producer
from ..generations.writer import Writer
from ..protocol.claim import Claim, Opening, start
from ..protocol.ending import Ending
from ..protocol.head import Head
from ..protocol.layout import Begin, EndFacts, Token, new_generation_id, promised_seconds
from ..protocol.perform import perform, was_cancelled
from ..readers.run_plans import note_started
from ..records import Record
from ..runtime import runtime
from ..types import Message
from ..utils.app_code import stays_in_loop
from ..utils.off_loop import off_loop, size_of
from .chat_stream import ChatStream
from .on_error import describe
from .start_request import Start, StartRequest

MAX_ASKS_CHARACTERS = 256


class Starting:
    """One start on one stream; :meth:`run` it once."""

    def __init__(self, stream: ChatStream, request: StartRequest) -> None:
        self._stream = stream
        self._request = request
        self._begin = _begin_of(request, stream.format)
        self._encoder = stream.format.encoder(_facts_of(request, self._begin))
        self._arrival = request.arrival or runtime().arrivals.arrive(request.chat_id)
        self._arrival.stream = stream.key

    async def run(self) -> Start:
        """Start; raises as :meth:`~resumable_stream.chat.engine.ChatEngine.start_from` does."""
        request, here = self._request, runtime()
        brought = [*request.history, *request.user_messages]
        size = size_of(brought)
        records = await off_loop(size, opening_records, self._begin, brought, self._encoder, told=request.told)
        starting = here.arrivals.carry(self._arrival, self._start(records))
        carried = self._noted(starting) if request.run_owner else starting
        # A client that goes away just now must leave no claim behind that nobody writes under.
        return await here.registry.carry_through(carried)

    async def _noted(self, starting: Coroutine[Any, Any, Start]) -> Start:
        started, request = await starting, self._request
        # Also where the start found its generation: the one that began it may have died before it wrote the note.
        await note_started(self._stream.backend, request.run_owner, request.run_id, request.chat_id)
        return started

    async def _start(self, records: list[Record]) -> Start:
        here, request, backend, name = runtime(), self._request, self._stream.backend, self._stream.name
        replaced = here.registry.get(backend, name) if request.replaces is not None else None
        with here.registry.place(request.owner, instead_of=replaced):
            granted, rest = await self._claim(records)
            if isinstance(granted, Head):
                assert granted.begin is not None
                there = granted.begin.generation_id
                return Start(generation_id=there, cursor=granted.start, is_new=False, found=granted)
            writer = Writer(backend, name, granted, here.pacer)
            if request.is_previewed:
                writer.preview = preview_of(granted, records)
            if rest:
                writer.put_records(rest)
            if granted.ended is not None:
                self._let_go(granted.ended, replaced, here.registry.get(backend, name))
            generation = Generation(
                stream=name,
                owner=request.owner,
                claim=granted,
                encoder=self._encoder,
                writer=writer,
                producer=self._producer(granted),
                context=request.context,
            )
            here.registry.start(backend, generation)
            if here.arrivals.is_stopped(self._arrival):
                # A stop has come meanwhile: the producer is never asked.
                generation.stop()
                self._arrival.stopped_id = generation.id
            if was_cancelled():
                await generation.end_with_loop()
        begun = self._begin.generation_id
        return Start(generation_id=begun, cursor=granted.start, is_new=True, preview=writer.preview)

    def _let_go(self, ended: Ending, *ours: Generation | None) -> None:
        """Tell the app of the generation that a claim has ended, and its source if it is one of ``ours``."""
        replaced = next((one for one in ours if one is not None and one.id == ended.facts.generation_id), None)
        context = None
        if replaced is not None:
            # The log would say so as well, a moment later.
            replaced.lose()
            context = replaced.context
        # Beside the start, which need not wait for what the app does about another answer.
        stream = self._stream
        runtime().registry.keep(stream.ends.notify_foreign(stream.backend, stream.name, ended, context))

    async def _claim(self, records: list[Record]) -> tuple[Claim | Head, Sequence[Record]]:
        """Claim with as many of the first records as one append takes; return what is left of them."""
        first, rest = first_append(records)
        token = Token.owner(self._begin.generation_id, promised_seconds(settings.lease_seconds))
        replaces = self._request.replaces
        may_replace = None if replaces is None else lambda head: replaces(head.begin)
        opening = Opening(token=token, records=first, mode=self._stream.mode, key=self._begin.key, replaces=may_replace)
        operation = start(
            opening,
            self._stream.encoder_for,
            text=INTERRUPTED_TEXT,
            guess=self._request.guess,
            resolution_ms=self._stream.backend.server_time_resolution,
        )
        return await perform(operation, self._stream.backend, self._stream.name, outlasts_cancellation=True), rest

    def _producer(self, claim: Claim) -> Producer:
        stream, begin = self._stream, self._begin
        source, context = self._request.source, self._request.context

        async def words(error: Exception) -> str:
            name, generation_id = stream.name, begin.generation_id
            return await describe(stream.on_error, context, error, stream=name, generation_id=generation_id)

        async def ended(facts: EndFacts) -> None:
            await stream.ends.tell(stream.backend, stream.name, claim.start, begin, facts, context)

        return Producer(
            open=source if callable(source) else stays_in_loop(lambda: source),
            describe=words,
            ended=ended,
            # A model may well have nothing to add to the outputs of the page's own tools.
            may_be_empty=bool(begin.chat_id) and not begin.asks,
        )


def _begin_of(request: StartRequest, format_: ChunkFormat) -> Begin:
    """Return what the generation states about itself on the log."""
    generation_id = request.generation_id or new_generation_id()
    history, user_messages = request.history, request.user_messages
    return Begin(
        generation_id=generation_id,
        format=format_.name,
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


def _facts_of(request: StartRequest, begin: Begin) -> GenerationFacts:
    return GenerationFacts(
        generation_id=begin.generation_id,
        message_id=begin.message_id,
        chat_id=begin.chat_id,
        run_id=begin.run_id or begin.generation_id,
        protocol_version=begin.protocol_version,
        user_messages=request.user_messages,
    )


def _asked_by(user_messages: Sequence[Message]) -> str:
    """Return the id of the message that a generation answers, if it is short enough to be stated as a fact."""
    newest = user_messages[-1] if user_messages else {}
    asks = newest.get("id") if newest.get("role") == "user" else None
    return asks if isinstance(asks, str) and len(asks) <= MAX_ASKS_CHARACTERS else ""
