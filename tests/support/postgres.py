"""A private PostgreSQL: a cluster of its own in a temporary directory, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .ports import free_port

DEBIAN = Path("/usr/lib/postgresql")


def find_postgres() -> Path | None:
    """Return the directory of PostgreSQL's programs, the newest where there are several."""
    if named := os.environ.get("POSTGRES_BIN"):
        return Path(named)
    debian = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextlib.contextmanager
def cluster(programs: Path) -> Iterator[dict[str, Any]]:
    """Run a server; yield what ``DATABASES`` takes to reach it. Nothing of it is left behind."""
    # PostgreSQL refuses to run as root; its Debian package brings a user for it.
    unprivileged = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="resumable-stream-postgres-"))
    if unprivileged:
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(data), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **unprivileged)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run("initdb", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "PORT": port,
                "USER": "tests",
                "NAME": "postgres",
            }
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
