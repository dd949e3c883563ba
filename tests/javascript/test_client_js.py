"""The JavaScript client, in Node: each suite in ``client_js`` against fakes, and its types as a consumer uses them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.node_suites import CLIENT, lay_out, run_suite

SUITES = Path(__file__).parents[1] / "client_js"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("client_js"), SUITES, resumable_stream=CLIENT)


@pytest.mark.parametrize("suite", sorted(path.name for path in SUITES.glob("*.test.mjs")))
def test_the_client_passes_its_suite(suite: str, project: Path, node: Path) -> None:
    run_suite(node, project / suite)


def test_its_types_are_what_a_consumer_needs(tmp_path: Path, node: Path, node_modules: Path) -> None:
    lay_out(tmp_path, SUITES, resumable_stream=CLIENT)
    shutil.copy(SUITES / "consumer.ts", tmp_path)
    compiler = node_modules / "typescript" / "bin" / "tsc"
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"]
    command = [node, compiler, *options, "consumer.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_its_types_name_what_it_exports() -> None:
    script, types = (CLIENT / "client.js").read_text(), (CLIENT / "client.d.ts").read_text()
    (exported,) = re.findall(r"^export \{ (.*) \};$", script, re.MULTILINE)
    classes = re.findall(r"^export class (\w+)", script, re.MULTILINE)
    typed = re.findall(r"^export declare (?:class|const) (\w+)", types, re.MULTILINE)

    assert sorted(typed) == sorted([*exported.split(", "), *classes])


MANUAL = (Path(__file__).parents[2] / "docs" / "javascript-client.md").read_text()


def test_the_manual_names_every_end_reason() -> None:
    reasons = re.findall(r'^  [A-Z_]+: "(\w+)",$', (CLIENT / "ends.js").read_text(), re.MULTILINE)
    table = MANUAL.split("## End reasons")[1].split("| Reason | Means |")[1].split("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]

    assert re.findall(r"`(\w+)`", "".join(rows)) == reasons


def test_the_manual_names_every_option_with_its_default() -> None:
    types = (CLIENT / "client.d.ts").read_text()
    options = re.findall(r"^  (\w+)\??:", types.split("interface ClientOptions {")[1].split("}")[0], re.MULTILINE)
    table = MANUAL.split("## Options of a client")[1]
    assert set(options) <= set(re.findall(r"`(\w+)`", table))
    timing = (CLIENT / "timing.js").read_text().split("const TIMING = {")[1].split("};")[0]
    defaults = {name: value.replace("_", "") for name, value in re.findall(r"^  (\w+): (\w+),$", timing, re.MULTILINE)}
    told = dict(re.findall(r"`(\w+)` (\d+|Infinity)\b", table))

    assert defaults.items() <= told.items()
