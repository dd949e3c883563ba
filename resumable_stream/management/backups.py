"""The subcommands ``backup`` and ``restore``: copies of the embedded log."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resumable_stream.backends import backends
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.backends.sqlite.backup import Contents
from resumable_stream.exceptions import BackupError, InvalidBackendError
from resumable_stream.protocol.layout import HEARTBEAT


def add_arguments(commands: Any) -> None:
    """Define the subcommands."""
    backup: ArgumentParser = commands.add_parser("backup", help="store a copy of the embedded log, while servers write")
    backup.add_argument("file", type=Path, help="what to store it in")
    backup.add_argument("--force", action="store_true", help="replace the file if there is one")
    restore: ArgumentParser = commands.add_parser("restore", help="put a backup in the place of the embedded log")
    restore.add_argument("file", type=Path, help="the backup")


def run(options: dict[str, Any]) -> Iterator[str]:
    """Run one of them; yield what to print.

    Raises:
        ResumableStreamError: It cannot be done; the message says why.
    """
    try:
        yield from _run(options)
    except OSError as error:
        raise BackupError(f"{error.filename or options['file']}: {error.strerror}.") from error


def _run(options: dict[str, Any]) -> Iterator[str]:
    backend = backends[options["backend"]]
    if not isinstance(backend, SQLiteBackend):
        raise InvalidBackendError(
            f"Backend {backend.alias!r} is a {type(backend).__name__}, which keeps no file: {options['command']!r} is "
            "for the embedded log. Copies of a service's log are the service's business; memory has none."
        )
    path = options["file"].absolute()
    if options["command"] == "backup":
        contents = backend.back_up(path, overwrite=options["force"])
        yield f"{path}: {_text(contents)}"
    else:
        restored = backend.restore(path, filler=HEARTBEAT)
        contents = restored.contents
        yield f"{backend.path}: {_text(contents)}"
        yield f"rewound {restored.rewound} streams to an earlier state, emptied {restored.lost} that the backup lacks"
        if restored.former is not None:
            yield f"the former log is {restored.former}"
    if contents.missing:
        yield f"warning: {contents.missing} records are missing that somebody has deleted by hand"


def _text(contents: Contents) -> str:
    newest = "none"
    if contents.newest:
        newest = f"{datetime.fromtimestamp(contents.newest / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"{contents.streams} streams, {contents.records} records, {contents.text_bytes} bytes, newest record {newest}"
    )
