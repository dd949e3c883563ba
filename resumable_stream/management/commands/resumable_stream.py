"""``manage.py resumable_stream``: look at the log, and put it right, from a shell."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from resumable_stream.backends import backends
from resumable_stream.backends.base import BaseBackend
from resumable_stream.chat.api import ResumableChat
from resumable_stream.exceptions import RecordsTrimmedError, ResumableStreamError, StreamNotFoundError
from resumable_stream.management import backups
from resumable_stream.protocol.describe import Description, describe
from resumable_stream.protocol.head import Head
from resumable_stream.protocol.layout import new_generation_id
from resumable_stream.records import Record, SequencedRecord, StreamInfo

EXIT_NOT_FOUND = 4
EXIT_NOTHING_RUNS = 3
EXIT_INTERRUPTED = 130
TEXT_WIDTH = 100
PROGRESS_EVERY = 1000


class Command(BaseCommand):
    """Subcommands: setup, list, show, tail, stop, delete, backup, restore.

    Exit codes: 0 done, 1 the log failed, 2 wrong usage, 3 nothing to stop, 4 no such stream, 130 interrupted.
    """

    help = "Look at the streams of the log, stop what runs on one, or check that the log can be used."

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the subcommands."""
        parser.add_argument("--backend", default="default", help="alias in RESUMABLE_STREAM['BACKENDS']")
        commands = parser.add_subparsers(dest="command", required=True, metavar="command")
        setup = commands.add_parser("setup", help="make what the log needs, and try every operation on it")
        setup.add_argument("--retention-days", type=float, help="keep records this long (S2: a basin's default)")
        listing = commands.add_parser("list", help="list streams")
        listing.add_argument("prefix", nargs="?", default="", help="only names that begin so")
        _add_json(listing)
        show = commands.add_parser("show", help="tell the state of a stream: its newest generation, its owner, its end")
        tail = commands.add_parser("tail", help="print records, and new ones as they come, like tail -f")
        tail.add_argument("--from", dest="start", type=int, help="first seq_num; default: the last 10 records")
        stop = commands.add_parser("stop", help="stop the generation that runs on a stream, wherever it runs")
        stop.add_argument("--generation", help="only if this one runs")
        delete = commands.add_parser("delete", help="drop a stream with everything in it")
        delete.add_argument("--yes", action="store_true", help="do not ask")
        for subparser in (show, tail, stop, delete):
            subparser.add_argument("stream", help="name of the stream, for instance chat/support/user-7/main")
        for subparser in (show, tail):
            _add_json(subparser)
        backups.add_arguments(commands)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run one subcommand."""
        run: dict[str, Any] = {
            "setup": self._setup,
            "list": self._list,
            "show": self._show,
            "tail": self._tail,
            "stop": self._stop,
            "delete": self._delete,
        }
        try:
            if options["command"] in run:
                asyncio.run(self._with_backend(run[options["command"]](options), options["backend"]))
            else:
                for line in backups.run(options):
                    self.stdout.write(line)
        except StreamNotFoundError as error:
            raise CommandError(str(error), returncode=EXIT_NOT_FOUND) from error
        except ResumableStreamError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted", returncode=EXIT_INTERRUPTED) from None

    async def _with_backend(self, command: Coroutine[Any, Any, None], alias: str) -> None:
        try:
            await command
        finally:
            await backends[alias].close()

    async def _setup(self, options: dict[str, Any]) -> None:
        backend = backends[options["backend"]]
        days = options["retention_days"]
        self.stdout.write(await backend.prepare(retention_seconds=None if days is None else round(days * 86400)))
        failed = 0
        async for name, error in _try_everything(backend):
            failed += error is not None
            self.stdout.write(f"{name:<14} {'ok' if error is None else error}")
        if failed:
            raise CommandError(f"{failed} operations failed: see above. An S2 token needs the right to each.")

    async def _list(self, options: dict[str, Any]) -> None:
        count = 0
        async for stream in _streams(backends[options["backend"]], options["prefix"]):
            count += 1
            self.stdout.write(
                _as_json(stream) if options["json"] else f"{_time(stream.created_at)}  {_shown(stream.name)}"
            )
            if count % PROGRESS_EVERY == 0:
                self.stderr.write(f"{count} streams so far")
        self.stderr.write(f"{count} streams")

    async def _show(self, options: dict[str, Any]) -> None:
        chat = ResumableChat(backend=options["backend"])
        head = await chat.head(options["stream"])
        if head is None:
            raise StreamNotFoundError(options["stream"])
        facts = _facts(head)
        records = await _kept_records(chat.backend, options["stream"], head)
        facts["records"] = dict(Counter(describe(record).kind for record in records))
        if options["json"]:
            self.stdout.write(json.dumps(facts))
            return
        for name, value in facts.items():
            self.stdout.write(f"{name:<12} {_shown(str(value))}")

    async def _tail(self, options: dict[str, Any]) -> None:
        backend, stream, start = backends[options["backend"]], options["stream"], options["start"]
        if start is None:
            tail = await backend.tail(stream, last=10)
            start = tail.records[0].seq_num if tail.records else tail.seq_num
        async with aclosing(backend.follow(stream, start)) as batches:
            async for batch in batches:
                for record in batch.records:
                    self.stdout.write(self._line(describe(record), options))

    async def _stop(self, options: dict[str, Any]) -> None:
        chat = ResumableChat(backend=options["backend"])
        stopped = await chat.end(options["stream"], options["generation"])
        if stopped is None:
            raise CommandError("Nothing runs on this stream.", returncode=EXIT_NOTHING_RUNS)
        self.stdout.write(f"stopped {stopped}")

    async def _delete(self, options: dict[str, Any]) -> None:
        if not options["yes"]:
            answer = await asyncio.to_thread(input, f"Delete {options['stream']!r} with everything in it? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                raise CommandError("Not deleted.")
        await backends[options["backend"]].delete_stream(options["stream"])
        self.stdout.write(f"deleted {_shown(options['stream'])}")

    def _line(self, record: Description, options: dict[str, Any]) -> str:
        if options["json"]:
            return _as_json(record)
        text = record.text if len(record.text) <= TEXT_WIDTH else record.text[: TEXT_WIDTH - 1] + "…"
        return f"{record.seq_num:>8}  {_time(record.time)}  {record.kind:<9}  {_shown(text)}"


def _add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object for each line")


def _as_json(value: Description | StreamInfo) -> str:
    return json.dumps(dataclasses.asdict(value))


def _shown(text: str) -> str:
    """Escape what a terminal would act upon, or not show: anybody may have written it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _time(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"[:23].ljust(23)
    return moment.isoformat(sep=" ", timespec="milliseconds")[:23]


def _facts(head: Head) -> dict[str, Any]:
    state = "running" if head.is_running else head.end.reason.value if head.end is not None else "empty"
    facts: dict[str, Any] = {
        "state": state,
        "token": head.token.text,
        "start": head.start,
        "tail": head.tail,
        "silent_ms": head.silent_ms,
    }
    if head.begin is not None:
        facts |= {name: value for name, value in dataclasses.asdict(head.begin).items() if value}
    if head.end is not None:
        told = {"cause": head.end.cause, "error": head.end.text, "finish_reason": head.end.finish_reason}
        facts |= {name: str(value) for name, value in told.items() if value}
    return facts


async def _kept_records(backend: BaseBackend, stream: str, head: Head) -> list[SequencedRecord]:
    """Read the newest generation."""
    records: list[SequencedRecord] = []
    position = head.start
    while position < head.tail:
        try:
            batch = await backend.read(stream, position)
        except RecordsTrimmedError as error:
            if error.first_seq_num <= position:
                raise  # Another try would meet the same.
            position = error.first_seq_num
            continue
        if not batch.records:
            break
        records += batch.records
        position = records[-1].seq_num + 1
    return records


async def _streams(backend: BaseBackend, prefix: str) -> AsyncIterator[StreamInfo]:
    after = ""
    while True:
        page = await backend.list_streams(prefix, start_after=after)
        for stream in page.streams:
            yield stream
        if not page.has_more:
            return
        after = page.streams[-1].name


async def _try_everything(backend: BaseBackend) -> AsyncIterator[tuple[str, ResumableStreamError | None]]:
    """Do on a stream of its own what chats need, and tell of each operation whether the log allows it."""
    stream = f"resumable_stream/setup/{new_generation_id()}"
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        "append, fence": lambda: backend.append(stream, [Record.fence("setup"), Record("{}")], fencing_token=""),
        "read": lambda: backend.read(stream, 0),
        "check-tail": lambda: backend.tail(stream, last=1),
        "follow": lambda: _first_batch(backend, stream),
        "trim": lambda: backend.append(stream, [Record.trim(1)], fencing_token="setup"),  # noqa: S106
        "list-streams": lambda: backend.list_streams("resumable_stream/setup/"),
        "delete-stream": lambda: backend.delete_stream(stream),
    }
    for name, operation in operations.items():
        try:
            await operation()
        except ResumableStreamError as error:
            yield name, error
        else:
            yield name, None


async def _first_batch(backend: BaseBackend, stream: str) -> None:
    async with aclosing(backend.follow(stream, 0)) as batches:
        await anext(batches)
