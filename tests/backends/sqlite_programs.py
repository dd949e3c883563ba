"""Programs that use the SQLite log in processes of their own, for tests that kill, fork or restrict them.

Run as ``python -m tests.backends.sqlite_programs NAME PATH ...``; each prints a line of JSON for every fact.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.exceptions import ResumableStreamError
from resumable_stream.records import Record
from resumable_stream.testing import Probe, bodies
from tests.support.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534


@contextmanager
def started(name: str, path: Path, *arguments: object, **popen: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a program; it is killed at the end if it has not ended by then."""
    command = [sys.executable, "-m", "tests.backends.sqlite_programs", name, str(path), *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(name: str, path: Path, *arguments: object, **popen: Any) -> list[Any]:
    """Run a program to its end; return what it printed."""
    with started(name, path, *arguments, **popen) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def as_nobody() -> dict[str, Any]:
    """Give what makes a program obey file permissions, which root does not."""
    return {"env": {**os.environ, "BECOME_NOBODY": "1"}} if os.geteuid() == 0 else {}


def say(fact: object) -> None:
    """Print a fact."""
    print(json.dumps(fact), flush=True)  # noqa: T201 - this is how a program tells its parent


async def write(backend: SQLiteBackend, stream: str, count: str) -> None:
    """Append numbered records one after the other, and tell of each acknowledgement."""
    say("ready")
    for number in range(int(count)):
        ack = await backend.append(stream, [Record(f"{os.getpid()}:{number}")])
        say(ack.start)


async def write_for_ever(backend: SQLiteBackend, streams: str) -> None:
    """Append to several streams at once; each record's body is its position. Tell of each acknowledgement."""

    async def run(stream: str) -> None:
        listed = await backend.list_streams(stream)
        position = (await backend.tail(stream)).seq_num if listed.streams else 0
        while True:
            batch = [Record(str(number)) for number in range(position, position + 1 + position % 4)]
            position = (await backend.append(stream, batch, match_seq_num=position)).end
            say([stream, position])

    await asyncio.gather(*(run(f"s{number}") for number in range(int(streams))))


async def append_once(backend: SQLiteBackend) -> None:
    """Try one append; tell of its success or its error."""
    try:
        await backend.append("a", [Record("x")])
        say("ok")
    except ResumableStreamError as error:
        say([type(error).__name__, str(error)])


async def append_patiently(backend: SQLiteBackend) -> None:
    """Append once, however long the log is locked; tell of the success."""
    patient = SQLiteBackend("patient", {"path": backend.path, "timeout_seconds": PATIENCE_SECONDS})
    await append_once(patient)
    await patient.close()


async def read_once(backend: SQLiteBackend) -> None:
    """Read, and tell the bodies."""
    say(bodies((await backend.read("a", 0)).records))


async def fill_the_disk(backend: SQLiteBackend) -> None:
    """Append until files may grow no more, a few times again, and once more when they may."""
    say((await backend.append("a", [Record("begin")])).end)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    failures = 0
    number = 0
    while failures < 5:
        number += 1
        try:
            await backend.append("a", [Record(f"{number}".ljust(20_000))])
            say([number, "ok", ""])
        except ResumableStreamError as error:
            failures += 1
            say([number, type(error).__name__, str(error)])
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await backend.append("a", [Record("end")])
    say([0, "ok", ""])


async def back_up(backend: SQLiteBackend, target: str) -> None:
    """Make a backup."""
    say("ready")
    backend.back_up(Path(target), overwrite=True)


async def restore(backend: SQLiteBackend, source: str) -> None:
    """Restore a backup."""
    say("ready")
    backend.restore(Path(source), filler=Record("", (("filler", ""),)))


async def back_up_once(backend: SQLiteBackend, target: str, largest_file: str = "-1") -> None:
    """Try to make a backup, where files may grow no further than that; tell the error."""
    _say_error(lambda: backend.back_up(Path(target)), int(largest_file))


async def restore_once(backend: SQLiteBackend, source: str, largest_file: str) -> None:
    """Try to restore a backup, where files may grow no further than that; tell the error."""
    _say_error(lambda: backend.restore(Path(source), filler=Record("x")), int(largest_file))


def _say_error(action: Callable[[], object], largest_file: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        action()
    except ResumableStreamError as error:
        say([type(error).__name__, str(error)])


async def hold_open(backend: SQLiteBackend) -> None:
    """Read once, as a server that is idle has done, and wait for a line."""
    await backend.list_streams()
    say("open")
    await asyncio.to_thread(sys.stdin.readline)


async def leave_without_waiting(backend: SQLiteBackend) -> None:
    """End while appends are queued and a follow is open."""
    await backend.append("a", [Record("begin")])
    probe = Probe(backend, "a")
    await probe.until_caught_up()
    _kept.append(probe)
    _kept.extend(asyncio.create_task(backend.append("a", [Record(str(number))])) for number in range(20))
    await asyncio.sleep(0)


_kept: list[object] = []


async def fork(backend: SQLiteBackend) -> None:
    """Fork while appends are on their way and a follow is open; both sides write on.

    Tells what the parent followed, and how many of the log's files the child had open.
    """
    await backend.append("a", [Record("begin")])
    async with Probe(backend, "a") as probe:
        await probe.until_caught_up()
        appends = [asyncio.ensure_future(backend.append("a", [Record(f"before {number}")])) for number in range(20)]
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            inherited = [file for file in psutil.Process().open_files() if file.path.startswith(str(backend.path))]
            asyncio.run(_write_as_child(backend))
            os._exit(len(inherited))
        await asyncio.gather(*appends)
        for number in range(20):
            await backend.append("a", [Record(f"parent {number}")])
        say(sorted(bodies(await probe.until(61))))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        say(os.waitstatus_to_exitcode(status))


async def _write_as_child(backend: SQLiteBackend) -> None:
    for number in range(20):
        await backend.append("a", [Record(f"child {number}")])


def main(name: str, path: str, *arguments: str) -> None:
    """Run one program."""
    if "BECOME_NOBODY" in os.environ:  # Only now: nobody may be unable to read the interpreter's modules.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    backend = SQLiteBackend("default", {"path": path, "timeout_seconds": PATIENCE_SECONDS})
    asyncio.run(globals()[name](backend, *arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
