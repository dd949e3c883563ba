"""Suites of JavaScript tests: run by Node's own test runner, beside copies of the scripts that they test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import resumable_stream

CLIENT = Path(resumable_stream.__file__).parent / "static" / "resumable_stream"


def lay_out(root: Path, suites: Path, **scripts: Path) -> Path:
    """Copy the suites' folder to ``root``, and folders of scripts into it under the names they are given as.

    The scripts stand there as modules, which in a browser their script tag makes them.
    """
    for name, folder in scripts.items():
        shutil.copytree(folder, root / name)
    for file in suites.glob("*.mjs"):
        shutil.copy(file, root)
    (root / "package.json").write_text('{"type": "module"}')
    return root


def run_suite(node: Path, suite: Path) -> None:
    """Run one suite; fail with what it printed."""
    command = [node, "--test", suite.name]
    done = subprocess.run(command, cwd=suite.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout
