"""``python -m tests.faults --runs N --seed S``: run more faults than the tests do, and say what came of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

import django


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="how many runs (default 1000)")
    parser.add_argument("--seed", default="0", help="what the runs are drawn from (default 0)")
    parser.add_argument("--only", nargs="*", metavar="SEED", help="repeat these runs")
    parser.add_argument("--backend", choices=("s2", "sqlite"), default="s2")
    parser.add_argument("--at-once", type=int, default=32, help="how many run at the same time (default 32)")
    options = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from ..conftest import find_s2_lite
    from ..s2_lite import S2Lite, running
    from .runner import run_all
    from .sites import S2Sites, SQLiteSites

    seeds = options.only or [f"{options.seed}.{number}" for number in range(options.runs)]
    if options.backend == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            sites = SQLiteSites(Path(directory) / "streams.sqlite3")
            totals = asyncio.run(run_all(seeds, sites, at_once=options.at_once))
    else:
        binary = find_s2_lite()
        if binary is None:
            parser.error("s2-lite is missing; name its executable in S2_LITE_BIN")
        with running(S2Lite(binary)) as server:
            totals = asyncio.run(run_all(seeds, S2Sites(server), at_once=options.at_once))
    print(*totals.lines, sep="\n")
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
