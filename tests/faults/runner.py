"""Runs many scenarios at once and adds up what the oracle finds."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.test import override_settings

from resumable_stream.runtime import runtime

from .oracle import LOST, OTHER, TWICE, WITHOUT_TERMINAL, Oracle
from .scenario import Scenario
from .sites import Sites

SETTINGS: dict[str, Any] = {
    "HANDLE_SIGNALS": False,
    # The shortest there is: dead writers are waited for in many runs.
    "LEASE_SECONDS": 1,
    "KEEPALIVE_SECONDS": 1,
    "APPEND_TIMEOUT_SECONDS": 4,
    "MAX_READERS_PER_OWNER": None,
    "MAX_GENERATIONS_PER_OWNER": None,
}
AT_ONCE = 32
UNKNOWN = "unknown"
"""The seed where it is not known which run complains."""
LAST_SECONDS = 30
"""What a run leaves behind (an answer that nobody waits for) may take this long at the end of all."""


@dataclass(slots=True)
class Totals:
    """What many runs came to."""

    runs: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    """How generations ended on the log, and how many readers' connections there were."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """Seed -> complaints."""

    @property
    def lines(self) -> list[str]:
        """Say it in a few lines."""
        found = ", ".join(f"{kind} {self.findings[kind]}" for kind in (LOST, TWICE, WITHOUT_TERMINAL, OTHER))
        lines = [f"{self.runs} runs: {found}"]
        lines += [f"faults: {self.faults.total()} ({_listed(self.faults)})"] if self.faults else []
        lines += [f"generations and readers: {_listed(self.endings)}"]
        for seed, complaints in self.failures.items():
            lines += [f"seed {seed}: {complaint}" for complaint in complaints]
            if seed != UNKNOWN:
                lines += [f"seed {seed}: repeat with python -m tests.faults --only {seed}"]
        return lines

    def add(self, seed: str, scenario: Scenario, oracle: Oracle) -> None:
        """Add one run."""
        self.runs += 1
        self.findings += oracle.findings
        if oracle.complaints:
            self.failures[seed] = [f"{scenario.mode}, {scenario.format}: {one}" for one in oracle.complaints]
        self.endings += oracle.tally()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


async def run_all(seeds: Iterable[str], sites: Sites, *, at_once: int = AT_ONCE) -> Totals:
    """Run the scenarios of ``seeds``, so many at once, and judge each."""
    totals = Totals()
    waiting = iter(seeds)

    async def work() -> None:
        for seed in waiting:
            await _run(seed, sites, totals)

    with override_settings(RESUMABLE_STREAM=SETTINGS), _quiet(), _listening(totals):
        async with asyncio.TaskGroup() as workers:
            for _ in range(at_once):
                workers.create_task(work())
        await runtime().registry.drain(LAST_SECONDS)
        await sites.close()
    return totals


async def _run(seed: str, sites: Sites, totals: Totals) -> None:
    async with sites.site(seed) as site:
        scenario = Scenario(seed, site)
        oracle = Oracle(scenario)
        try:
            await scenario.run()
        except TimeoutError:
            oracle.complain(OTHER, "somebody waited for ever")
        except Exception as error:  # noqa: BLE001 - one run that breaks must not take the others along
            oracle.complain(OTHER, "".join(traceback.format_exception(error)))
        else:
            oracle.judge()
        totals.add(seed, scenario, oracle)
        for weather in site.weathers:
            totals.faults += weather.met


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the app logs: with faults at every turn that is much, and all of it expected."""
    logger = logging.getLogger("resumable_stream")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _listening(totals: Totals) -> Iterator[None]:
    """Count as a failure what the event loop complains of: an exception that nobody took, a task left lying."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def complain(_: object, context: dict[str, Any]) -> None:
        totals.findings[OTHER] += 1
        about = context.get("future") or context.get("task") or context.get("client_session")
        what = f"{context['message']}: {about!r} {context.get('exception')!r}"
        totals.failures.setdefault(UNKNOWN, []).append(what)

    loop.set_exception_handler(complain)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
