"""``python -m tests.faults --runs N --seed S``: run more faults than the tests do, and say what came of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import django

from ..conftest import find_s2_lite
from ..s2_lite import S2Lite, running
from .runner import Totals, run_all
from .sites import S2Sites, Sites, SQLiteSites


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs (default 1000)")
    parser.add_argument("--seed", default="0", help="what the runs are drawn from (default 0)")
    parser.add_argument("--only", nargs="*", metavar="SEED", help="repeat these runs")
    parser.add_argument("--backend", choices=("s2", "sqlite"), default="s2")
    parser.add_argument("--at-once", type=int, default=32, help="how many at the same time (default 32)")
    options = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()

    seeds = options.only or [f"{options.seed}.{number}" for number in range(options.runs)]

    async def run_on(make_sites: Callable[[], Sites]) -> Totals:
        return await run_all(seeds, make_sites(), at_once=options.at_once)

    if options.backend == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            totals = asyncio.run(run_on(lambda: SQLiteSites(Path(directory) / "streams.sqlite3")))
    else:
        binary = find_s2_lite()
        if binary is None:
            parser.error("s2-lite is missing; name its executable in S2_LITE_BIN")
        with running(S2Lite(binary)) as server:
            totals = asyncio.run(run_on(lambda: S2Sites(server)))
    sys.stdout.writelines(f"{line}\n" for line in totals.lines)
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
