"""The kit for the tests of a project, in a project that ``startproject`` makes, with the manual's app."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable_stream import testing

from ..conftest import require_program
from ..support.manual import ROOT, code_blocks
from ..support.postgres import cluster, find_postgres

SCENARIOS = Path(__file__).parent / "scenarios"
SETTINGS = """
from project.started import *

INSTALLED_APPS += ["resumable_stream", "support"]
ASGI_APPLICATION = "project.asgi.application"
ROOT_URLCONF = "scenarios.urls"
DATABASES = {"default": DATABASE}
RESUMABLE_STREAM = {"BACKENDS": {
    "default": {"BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend", "OPTIONS": {"path": "never-made.sqlite3"}},
}}
"""
PYTEST_INI = """
[pytest]
DJANGO_SETTINGS_MODULE = project.settings
python_files = test_*.py tests.py
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, Any]]:
    how_to_get = "Install PostgreSQL (apt-get install postgresql), or name the folder of its programs in POSTGRES_BIN."
    with cluster(require_program("PostgreSQL", find_postgres(), how_to_get)) as database:
        yield database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with the manual's app, and the scenarios beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres")
    done = run(folder, "-m", "django", "startproject", "project", ".")
    assert done.returncode == 0, done.stderr
    (folder / "project" / "settings.py").rename(folder / "project" / "started.py")
    (folder / "project" / "settings.py").write_text(f"DATABASE = {database!r}\n{SETTINGS}")
    (folder / "support" / "migrations").mkdir(parents=True)
    for package in ("support", "support/migrations"):
        (folder / package / "__init__.py").touch()
    readme = [block for block in code_blocks("README.md", "python") if block.startswith("# support/")]
    for block in code_blocks("docs/testing.md", "python") + readme:
        (name,) = re.findall(r"^# (\S+\.py)\n", block)
        (folder / name).write_text(block)
    shutil.copytree(SCENARIOS, folder / "scenarios", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pytest.ini").write_text(PYTEST_INI)
    done = run(folder, "manage.py", "makemigrations", "support")
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO"))}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_mixin_keeps_what_the_manual_promises(project: Path) -> None:
    done = run(project, "-W", "error", "manage.py", "test", "--noinput")

    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"Ran (\d+) tests", done.stderr)[0]) > 30
    assert "Traceback" not in done.stderr
    assert not list(project.glob("never-made*"))


def test_plugin_keeps_what_the_manual_promises(project: Path) -> None:
    # Without the plugins of everything else that is installed, which take longer to load than the tests to run.
    plugins = ("no:cacheprovider", "pytest_django.plugin", "pytest_asyncio.plugin", "anyio.pytest_plugin")
    options = ["-q", *(option for plugin in plugins for option in ("-p", plugin))]
    tests = ["support", "scenarios/test_pytest.py"]
    done = run(project, "-m", "pytest", *options, *tests, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    last = done.stdout.rstrip().rpartition("\n")[2]
    assert re.match(r"2 failed, \d\d passed in", last), done.stdout + done.stderr
    for name in ("test_leaves_an_answer_running", "test_leaves_an_answer_running_asynchronously"):
        failure = rf"AssertionError: scenarios/test_pytest.py::{name}: an answer was left running .*/c1'"
        assert re.search(failure, done.stdout), done.stdout
    assert not list(project.glob("never-made*"))


@pytest.mark.parametrize("project", ["sqlite"], indirect=True)
def test_live_server_of_channels_serves_the_manual(project: Path) -> None:
    settings = ("--settings", "project.live_settings")
    done = run(project, "manage.py", "test", "support.live_tests", *settings, "--noinput", TMPDIR=str(project))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 1 test" in done.stderr
    assert (project / "live-test-log.sqlite3").exists()


def test_kit_needs_neither_pytest_nor_hypothesis(tmp_path: Path) -> None:
    code = "import sys, resumable_stream.testing.app; print({'pytest', 'hypothesis'} & sys.modules.keys() or 'neither')"
    assert run(tmp_path, "-c", code).stdout == "neither\n"


@pytest.mark.parametrize("name", testing.__all__)
def test_contract_can_be_imported_from_the_package(name: str) -> None:
    assert getattr(testing, name) is not None
