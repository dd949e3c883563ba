"""``python -m tests.fuzz --seconds 600``: the attack of ``test_attack.py`` for longer, on a log of its own."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.test import override_settings

LOGS = ("sqlite", "s2")


@contextmanager
def log_setting(kind: str) -> Iterator[dict[str, Any]]:
    """Yield the setting of an empty log; that of S2 is an s2-lite server, which runs meanwhile."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log.sqlite3")
            yield {"BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend", "OPTIONS": {"path": path}}
        return
    from ..conftest import find_s2_lite  # noqa: PLC0415 - wants settings
    from ..s2_lite import S2Lite, running  # noqa: PLC0415

    binary = find_s2_lite()
    if binary is None:
        raise SystemExit("s2-lite is missing. Say where it is with S2_LITE_BIN, or let .ci/run build it.")
    with running(S2Lite(binary)) as server:
        yield {"BACKEND": "resumable_stream.backends.s2.S2Backend", "OPTIONS": server.options()}


def main() -> int:
    """Attack, and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same requests")
    parser.add_argument("--server", choices=("uvicorn", "daphne"), default="uvicorn")
    parser.add_argument("--log", choices=LOGS, default="sqlite", help="s2: an s2-lite server of its own")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

    django.setup()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    with log_setting(options.log) as log:
        settings = {
            "ROOT_URLCONF": "tests.fuzz.attack",
            "MIDDLEWARE": [],
            "RESUMABLE_STREAM": {"BACKENDS": {"default": log}, "HANDLE_SIGNALS": False},
        }
        with override_settings(**settings):
            from .attack import attack  # noqa: PLC0415 - views want settings
            from .servers import SERVERS  # noqa: PLC0415

            report = SERVERS[options.server](lambda port: attack(port, options.seconds, seed))
    requests = sum(report.statuses.values())
    lines = [
        f"{options.server}, {options.log}, seed {seed}, {options.seconds:g} s",
        f"{requests} answers {dict(sorted(report.statuses.items()))}",
        f"{report.frames} frames sent, {report.heard} heard, closes {dict(report.closes)}",
        f"{report.records} records written",
        *(f"FAULT {fault}" for fault in report.faults),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
