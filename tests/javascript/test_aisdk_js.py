"""The transport for the AI SDK, in Node: its types as a page uses them, and its modules in a bundle.

Its suite runs among those of ``client_js``, and the stock clients with it in ``integration``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from django.core.management import call_command

from ..support.node_suites import CLIENT, lay_out

SUITES = Path(__file__).parents[1] / "client_js"
MANUAL = (Path(__file__).parents[2] / "docs" / "clients" / "ai-sdk.md").read_text()


def test_its_types_are_what_each_version_needs(tmp_path: Path, node: Path, node_modules: Path) -> None:
    lay_out(tmp_path, SUITES, resumable_stream=CLIENT)
    shutil.copy(SUITES / "aisdk-consumer.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(node_modules)
    compiler = node_modules / "typescript" / "bin" / "tsc"
    options = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    command = [node, compiler, *options, "--lib", "es2022,dom,dom.iterable", "aisdk-consumer.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_bundler_takes_it_from_the_path_that_findstatic_prints(node_modules: Path, tmp_path: Path) -> None:
    found = call_command("findstatic", "resumable_stream/aisdk.js", first=True, verbosity=0)
    (name,) = re.findall(r"make `(.*?)` an alias", MANUAL)
    (tmp_path / "page.js").write_text(f'export {{ ResumableChatTransport }} from "{name}";')
    command = [node_modules / ".bin" / "esbuild", "page.js", "--bundle", "--format=esm", f"--alias:{name}={found}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "import " not in re.sub(r"//.*|/\*.*?\*/|^ \*.*$", "", done.stdout, flags=re.DOTALL | re.MULTILINE)


def test_the_manual_names_every_option() -> None:
    types = (CLIENT / "aisdk.d.ts").read_text().split("interface ResumableChatTransportOptions")[1].split("\n}")[0]
    options = re.findall(r"^  (\w+)\?:", types, re.MULTILINE)
    table = MANUAL.split("| Option | Default |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `")))

    assert sorted(named) == sorted(options)
