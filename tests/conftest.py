"""What tests share: programs from outside Python, and what a run says about those that are missing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from .s2_lite import durable_s2_server, s2_server
from .support.logs import FaultyLog, use_faulty_log

__all__ = ["durable_s2_server", "s2_server"]

CACHE = Path.home() / ".cache" / "resumable_stream"
NODE_PROJECT = Path(__file__).parent / "node"

# An example's time depends on the machine, and no test here is about time.
hypothesis_settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis_settings.load_profile("tests")

_left_out: dict[str, str] = {}


def require_program(name: str, found: str | Path | None, how_to_get: str) -> Path:
    """Return where the program is, or leave the test out and have the run's summary say so.

    With ``CI=true`` in the environment a missing program fails the test: there, everything is expected to run.
    """
    if found is not None:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing. {how_to_get}", pytrace=False)
    _left_out[name] = how_to_get
    pytest.skip(f"{name} is missing")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what was left out, where this is a worker of pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker left out."""
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _left_out:
        return
    terminalreporter.section("tests left out", red=True, bold=True)
    for name, how_to_get in sorted(_left_out.items()):
        terminalreporter.line(f"{name} is missing, and what needs it was not tested. {how_to_get}")


def find_node() -> str | None:
    return shutil.which("node")


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("google-chrome")


def find_s2_lite() -> Path | None:
    binary = Path(os.environ.get("S2_LITE_BIN") or CACHE / "s2-lite" / "bin" / "server")
    return binary if binary.is_file() else None


@pytest.fixture
def log(request: pytest.FixtureRequest, settings: Settings) -> FaultyLog:
    """A log in memory, which is the project's log and fails on request.

    The marker ``log_settings`` of the module or the test gives further settings of the app.
    """
    values: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("log_settings"))):
        values |= marker.kwargs
    return use_faulty_log(settings, **values)


@pytest.fixture(scope="session")
def node() -> Path:
    """Node's executable."""
    return require_program("Node", find_node(), "Install Node 20 or newer from nodejs.org.")


@pytest.fixture(scope="session")
def chromium() -> Path:
    """A Chromium or Chrome executable."""
    how_to_get = "Install Chromium (apt-get install chromium), or name one in CHROMIUM."
    return require_program("Chromium", find_chromium(), how_to_get)


@pytest.fixture(scope="session")
def nginx() -> Path:
    """nginx's executable."""
    # Where Debian has it, which is not on everybody's path.
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    return require_program("nginx", found, "Install nginx (apt-get install nginx).")


@pytest.fixture(scope="session")
def s2_lite() -> Path:
    """The server executable of s2-lite."""
    how_to_get = (
        "cargo install --locked s2-lite --version 0.43.4 --bin server --root ~/.cache/resumable_stream/s2-lite, "
        "or name one in S2_LITE_BIN."
    )
    return require_program("s2-lite", find_s2_lite(), how_to_get)


@pytest.fixture(scope="session")
def node_modules(node: Path) -> Path:
    """The ``node_modules`` directory with what ``tests/node/package.json`` pins.

    It lies outside the repository and is made once for each content of the two files. Scripts resolve packages from
    where they stand: run them from the directory above it, or beside a link to it.
    """
    names = ("package.json", "package-lock.json")
    digest = hashlib.sha256(b"".join((NODE_PROJECT / name).read_bytes() for name in names)).hexdigest()
    project = CACHE / "node" / digest[:16]
    with _one_process_at_a_time(project.with_suffix(".lock")):
        if not project.is_dir():
            _install_node_modules(project, names)
    return project / "node_modules"


@contextmanager
def _one_process_at_a_time(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install_node_modules(project: Path, names: tuple[str, ...]) -> None:
    npm = require_program("npm", shutil.which("npm"), "It comes with Node.")
    # Installed aside and then renamed: a run that breaks off leaves nothing that looks finished.
    draft = project.with_name(f"{project.name}.{os.getpid()}")
    draft.mkdir(parents=True)
    try:
        for name in names:
            shutil.copy(NODE_PROJECT / name, draft)
        command = [str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False)
        installed = draft if done.returncode == 0 else None
        require_program("The npm packages", installed, f"npm ci said: {done.stderr.strip()[-500:]}")
        draft.rename(project)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@pytest.fixture
def sessions(settings: Any) -> Any:
    """The class of sessions that live in the server."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    from django.contrib.sessions.backends.cache import SessionStore  # noqa: PLC0415 - of this setting

    return SessionStore
