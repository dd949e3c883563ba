"""The connection for TanStack AI, in Node: its types as a page uses them.

Its suite runs among those of ``client_js``, and the stock clients with it in ``integration``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..support.node_suites import CLIENT, lay_out

SUITES = Path(__file__).parents[1] / "client_js"


def test_its_types_are_what_a_page_needs(tmp_path: Path, node: Path, node_modules: Path) -> None:
    lay_out(tmp_path, SUITES, resumable_stream=CLIENT)
    shutil.copy(SUITES / "tanstack-consumer.ts", tmp_path)
    compiler = node_modules / "typescript" / "bin" / "tsc"
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    command = [node, compiler, *options, "tanstack-consumer.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
