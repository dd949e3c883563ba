"""The example page's scripts, in Node: each file in ``example_page`` is a suite of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import example_project

from ..support.node_suites import CLIENT, lay_out, run_suite

SUITES = Path(__file__).parents[1] / "example_page"
STATIC = Path(example_project.__file__).parent / "static" / "example_project"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("example_page"), SUITES, page=STATIC, resumable_stream=CLIENT)


@pytest.mark.parametrize("suite", sorted(path.name for path in SUITES.glob("*.test.mjs")))
def test_the_pages_scripts_pass_their_suite(suite: str, page: Path, node: Path) -> None:
    run_suite(node, page / suite)
