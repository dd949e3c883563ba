"""``python -m tests.fuzz --seconds 600``: the attack of ``test_attack.py`` for longer, on a log of its own."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import django
from django.test import override_settings


def main() -> int:
    """Attack, and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="the same seed makes the same requests")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

    django.setup()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    with tempfile.TemporaryDirectory() as folder:
        sqlite = {
            "BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend",
            "OPTIONS": {"path": Path(folder, "log.sqlite3")},
        }
        settings = {
            "ROOT_URLCONF": "tests.fuzz.attack",
            "MIDDLEWARE": [],
            "RESUMABLE_STREAM": {"BACKENDS": {"default": sqlite}, "HANDLE_SIGNALS": False},
        }
        with override_settings(**settings):
            from .attack import attack  # noqa: PLC0415 - views want settings

            report = asyncio.run(attack(options.seconds, seed))
    facts = f"seed {seed}: answers {dict(report.statuses)}, closes {dict(report.closes)}, {report.records} records"
    lines = [facts, *(f"FAULT {fault}" for fault in report.faults)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
