from __future__ import annotations

from pathlib import Path

import pytest

from ..integration.conftest import make_server

__all__ = ["make_server"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the seeded runs came to, also where all is well."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [value for report in reports for name, value in report.user_properties if name == "faults"]
    if lines:
        terminalreporter.section("seeded faults")
        terminalreporter.write_line("\n".join(map(str, lines)))
