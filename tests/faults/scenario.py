"""One seeded run: turns of a chat in two processes, while the ways to the log break."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any
from uuid import uuid4

from django.http.response import HttpResponseBase

from resumable_stream.chat.api import ResumableChat
from resumable_stream.chat.chat_stream import Mode
from resumable_stream.chat.on_end import End
from resumable_stream.exceptions import GenerationActiveError, RecordsTrimmedError, ResumableStreamError
from resumable_stream.protocol.layout import Begin
from resumable_stream.records import SequencedRecord

from .attempts import Attempt, Ending, Turn, draw_turns
from .client import Client, Reading
from .sites import Chat, Site

PATIENCE_SECONDS = 120
"""After this a run counts as hung."""
RETRY_SECONDS = 0.1


class Scenario:
    """What happens in one run, and what everybody saw of it."""

    def __init__(self, seed: str, site: Site) -> None:
        self.draw = random.Random(seed)
        self.mode: Mode = self.draw.choice(("session", "session", "session", "shared", "single-use"))
        self.format = self.draw.choice(("text", "aisdk"))
        self.stream = f"faults/{seed}/{uuid4().hex}"
        self.attempts: list[Attempt] = []
        self.readings: list[Reading] = []
        self.records: list[SequencedRecord] = []
        """What stands on the log at the end."""
        self.last: Attempt | None = None
        """The start after everything: the chat must not be locked."""
        self._site = site
        options = {"format": self.format, "mode": self.mode, "on_end": self._on_end}
        self._chats = [Chat(backend, **options) for backend in site.backends]
        self._watched: dict[int, SequencedRecord] = {}

    async def run(self) -> None:
        """Let it happen.

        Raises:
            TimeoutError: Somebody waits for what never comes.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            watching = asyncio.create_task(self._watch())
            try:
                for turn in draw_turns(self.draw, is_single=self.mode == "single-use"):
                    await self._take_turn(turn)
                self._site.clear_up()
                await self._end_turn()
                self._keep(await self._read_log())
                if self.mode != "single-use":
                    await self._start_once_more()
                await self._tidy_up()
            finally:
                watching.cancel()
                await asyncio.wait({watching})
            self._keep(await self._read_log())
        self.records = [self._watched[seq_num] for seq_num in sorted(self._watched)]

    async def _take_turn(self, turn: Turn) -> None:
        here, there = self._chats[turn.here], self._chats[1 - turn.here]
        async with asyncio.TaskGroup() as tasks:
            if turn.rival is not None:
                tasks.create_task(self._rival(there, turn))
            attempt, response = await self._start(here, turn.attempt)
            if attempt is None:
                return
            if response is not None and not turn.starter_reads:
                response.close()
                response = None
            clients = [self._read(tasks, here, response)] if turn.starter_reads else []
            clients += [self._read(tasks, self._chats[side]) for side in turn.readers]
            await self._ripe(attempt)
            await self._intervene(attempt, here, there)
            if attempt.ending is Ending.DIE_ALONE:
                for client in clients:
                    client.cancel()

    async def _start(self, chat: ResumableChat, first: Attempt) -> tuple[Attempt | None, HttpResponseBase | None]:
        """Start as a person does who tries again, until it is granted; ``None`` if the stream cannot be used again."""
        attempt = first
        while True:
            self.attempts.append(attempt)
            try:
                response = await chat.make_resumable(
                    self.stream, attempt.source, generation_id=attempt.id, idempotency_key=attempt.key
                )
            except GenerationActiveError:
                if self.mode == "single-use":
                    return None, None
                await asyncio.sleep(RETRY_SECONDS)
            except ResumableStreamError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                granted = self._attempt(response["X-Generation-Id"])
                granted.is_granted = True
                return granted, response
            attempt = attempt.again()

    async def _rival(self, chat: ResumableChat, turn: Turn) -> None:
        """Start once in the other process; this is refused if something runs that it does not replace."""
        attempt = turn.rival
        assert attempt is not None
        await asyncio.sleep(turn.rival_after)
        self.attempts.append(attempt)
        with contextlib.suppress(ResumableStreamError):
            response = await chat.make_resumable(
                self.stream,
                attempt.source,
                generation_id=attempt.id,
                replaces=lambda begin: turn.rival_replaces and self._may_replace(begin),
            )
            attempt.is_granted = True
            client = Client(chat, self.stream, self.draw)
            self.readings.append(client.reading)
            await client.read(response)

    def _may_replace(self, begin: Begin | None) -> bool:
        """Let a rival replace what runs; the oracle then knows what may end with what the log has of it."""
        for attempt in self.attempts:
            if begin is not None and attempt.id == begin.generation_id:
                attempt.may_be_replaced = True
        return True

    def _read(
        self, tasks: asyncio.TaskGroup, chat: ResumableChat, response: HttpResponseBase | None = None
    ) -> asyncio.Task[None]:
        client = Client(chat, self.stream, random.Random(self.draw.random()))
        self.readings.append(client.reading)
        return tasks.create_task(client.read(response))

    async def _ripe(self, attempt: Attempt) -> None:
        """Wait until it is time to stop or kill it; or for its writer, whose source may never begin.

        One that stood still for a lease after its claim may have lost the stream by then.
        """
        ripe = asyncio.create_task(attempt.ripe.wait())
        await asyncio.wait({ripe, *writers(attempt.id)}, return_when=asyncio.FIRST_COMPLETED)
        ripe.cancel()

    async def _intervene(self, attempt: Attempt, here: ResumableChat, there: ResumableChat) -> None:
        if attempt.ending is Ending.STOP_HERE:
            attempt.was_stopped_here = True
            await self._stop(here, attempt)
        elif attempt.ending is Ending.STOP_THERE:
            await self._stop(there, attempt)
        elif attempt.ending in (Ending.DIE, Ending.DIE_ALONE):
            kill_writer(attempt.id)

    async def _stop(self, chat: ResumableChat, attempt: Attempt) -> None:
        """Press the stop button until it has an effect, or there is nothing to stop."""
        while True:
            try:
                await chat.stop(self.stream, attempt.id)
            except GenerationActiveError:
                return
            except ResumableStreamError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _end_turn(self) -> None:
        """Wait, as a reader, until nothing runs."""
        client = Client(self._chats[0], self.stream, self.draw)
        self.readings.append(client.reading)
        await client.read()

    async def _start_once_more(self) -> None:
        attempt, response = await self._start(self._chats[1], Attempt([20] * 3, [0.0] * 3))
        client = Client(self._chats[1], self.stream, self.draw)
        self.readings.append(client.reading)
        await client.read(response)
        assert attempt is not None
        self.last = attempt

    async def _tidy_up(self) -> None:
        """Wait until every writer has told of its end, and every source has noticed its own."""
        if tasks := [task for attempt in self.attempts for task in writers(attempt.id)]:
            await asyncio.wait(tasks)

    def _attempt(self, generation_id: str) -> Attempt:
        return next(attempt for attempt in self.attempts if attempt.id == generation_id)

    async def _on_end(self, end: End) -> None:
        if end.generation_id is not None:
            self._attempt(end.generation_id).ends_told.append(end.reason.value)

    async def _watch(self) -> None:
        """Follow the log: in shared mode a start takes away what came before it."""
        position = 0
        while True:
            try:
                async for batch in self._site.witness.follow(self.stream, position):
                    self._keep(batch.records)
                    position += len(batch.records)
            except RecordsTrimmedError as error:
                position = error.first_seq_num
            except ResumableStreamError:
                await asyncio.sleep(RETRY_SECONDS)

    def _keep(self, records: tuple[SequencedRecord, ...] | list[SequencedRecord]) -> None:
        self._watched.update((record.seq_num, record) for record in records)

    async def _read_log(self) -> list[SequencedRecord]:
        records: list[SequencedRecord] = []
        position = 0
        while True:
            try:
                batch = await self._site.witness.read(self.stream, position)
            except RecordsTrimmedError as error:
                position = error.first_seq_num
                continue
            if not batch.records:
                return records
            records += batch.records
            position += len(batch.records)


def writers(generation_id: str) -> list[asyncio.Task[Any]]:
    """Find the task that writes a generation, if there is one."""
    return [task for task in asyncio.all_tasks() if task.get_name() == f"generation {generation_id}"]


def kill_writer(generation_id: str) -> None:
    """End a generation's task as the death of its process would: nothing more is written, no terminal either."""
    for task in writers(generation_id):
        task.cancel()
