"""Run scenarios and print their figures."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import time

import django

from .logs import LOGS, Log
from .report import table
from .scale import FULL, QUICK, Scale
from .scenarios import SCENARIOS

EXPLANATION = """\
CPU is that of the server process alone, all its threads, user and system; the log's own process stands apart, and the
load client is not counted. The peer is a bare ASGI app under the same server that sends the same frames from memory,
unless the line names another. The ratio is product to peer, both measured in this run."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS['s2-lite'])}; all by default"
    )
    parser.add_argument("--log", choices=LOGS, default="sqlite", help="the log beneath the product")
    parser.add_argument(
        "--http",
        choices=("h11", "httptools"),
        default="h11",
        help="uvicorn's parser: that of a plain installation (the default), or the one that it takes where it is "
        "installed, as the extra s2 does; it halves what the peer takes for a frame",
    )
    parser.add_argument("--quick", action="store_true", help="a smaller and shorter run; the aims are not about it")
    arguments = parser.parse_args()
    log = LOGS[arguments.log]
    if unknown := set(arguments.names) - set(SCENARIOS[log.name]):
        known = ", ".join(SCENARIOS[log.name])
        parser.error(f"On {log.name} there is no scenario {', '.join(sorted(unknown))}. Known are {known}.")
    _allow_many_connections()
    os.environ["BENCHMARK_HTTP"] = arguments.http  # For the servers.
    print(f"{_circumstances(log, arguments.http)}\n\n{EXPLANATION}", end="\n\n", flush=True)
    asyncio.run(_run(arguments.names or list(SCENARIOS[log.name]), QUICK if arguments.quick else FULL, log))


async def _run(names: list[str], scale: Scale, log: Log) -> None:
    for name in names:
        began = time.monotonic()
        figures = await SCENARIOS[log.name][name](scale, log)
        print(f"{name} ({time.monotonic() - began:.0f} s)\n\n{table(figures)}", end="\n\n", flush=True)


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _circumstances(log: Log, http: str) -> str:
    versions = f"Python {platform.python_version()}, Django {django.get_version()}"
    return f"Log: {log.name}. {versions}, uvicorn with asyncio and {http}."


if __name__ == "__main__":
    main()
