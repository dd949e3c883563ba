"""Run scenarios and print their figures."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import platform
import resource
import time

import django

from .report import table
from .scale import FULL, QUICK, Scale
from .scenarios import SCENARIOS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a smaller and shorter run; the aims are not about it")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCENARIOS):
        parser.error(f"There is no scenario {', '.join(sorted(unknown))}. Known are {', '.join(SCENARIOS)}.")
    _allow_many_connections()
    print(_circumstances(), end="\n\n", flush=True)
    asyncio.run(_run(arguments.names or list(SCENARIOS), QUICK if arguments.quick else FULL))


async def _run(names: list[str], scale: Scale) -> None:
    for name in names:
        began = time.monotonic()
        figures = await SCENARIOS[name](scale)
        print(f"{name} ({time.monotonic() - began:.0f} s)\n\n{table(figures)}", end="\n\n", flush=True)


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _circumstances() -> str:
    # What uvicorn takes by itself where it is installed.
    parser = "httptools" if importlib.util.find_spec("httptools") else "h11"
    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    return f"Python {platform.python_version()}, Django {django.get_version()}, uvicorn with {loop} and {parser}"


if __name__ == "__main__":
    main()
