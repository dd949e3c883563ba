"""The example page's scripts, in Node: each file in ``example_page`` is a suite of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import example_project

SUITES = sorted((Path(__file__).parent / "example_page").glob("*.test.mjs"))
STATIC = Path(example_project.__file__).parent / "static" / "example_project"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's scripts beside their suites, marked as modules, which in a browser their script tag does."""
    root = tmp_path_factory.mktemp("example_page")
    shutil.copytree(STATIC, root / "page")
    for suite in SUITES:
        shutil.copy(suite, root)
    (root / "package.json").write_text('{"type": "module"}')
    return root


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name.removesuffix(".test.mjs"))
def test_the_pages_scripts_pass_their_suite(suite: Path, page: Path, node: Path) -> None:
    done = subprocess.run([node, "--test", suite.name], cwd=page, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout
