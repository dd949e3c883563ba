"""Fixtures that need real processes: servers, each on a log, and Node.

A test that only speaks with a server takes ``server``, or ``visitor`` for a browser session there. It then runs on each
of ``SITES``, a choice of servers and logs in which both kinds of each come up. Where other ones matter, the test or its
module says so::

    @pytest.mark.parametrize("server", ["daphne-s2"], indirect=True)

A test that starts, ends or shares servers itself takes ``log``, which makes it run on the embedded log and on a real
s2-lite, and hands it to each server that it makes::

    async def test_something(make_server: Callable[..., Server], log: Log) -> None:
        server = make_server("uvicorn", log=log, LEASE_SECONDS=1)
        ...
        assert fences_of(await log.records_of(chat)) == ["claim", "finished"]

A server that is made without a log has an embedded one of its own; every server knows its log (``server.log``). Streams
on s2-lite outlive a test: every test brings its own chat ids.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NODE_PROJECT
from tests.support.node_suites import CLIENT

from .log import Log, s2_log, sqlite_log
from .node_host import NodeHost
from .servers import Server, scripted_server
from .tabs import AI_SDKS
from .tanstack_tabs import CONNECTION
from .visitor import Visitor

LOGS = ("sqlite", "s2")
"""Names of logs."""
SITES = ("daphne-sqlite", "uvicorn-sqlite", "uvicorn-s2")
"""Names of a server and its log."""

# What a server prints when something of ours was left lying about.
SIGNS_OF_NEGLECT = ("was never retrieved", "was never awaited", "was destroyed but it is pending", "ResourceWarning")
# Django's own task, which nobody asks for its result where a client leaves just as the response has ended.
NOT_OURS = "coro=<ASGIHandler.listen_for_disconnect()"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start ``server``; at the end kill it, and look at what it has printed."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
    _check_output(server)


def _check_output(server: Server) -> None:
    lines = server.output.splitlines()
    # What asyncio says of a task stands in the line after its complaint.
    told = [f"{line}\n{detail}" for line, detail in pairwise([*lines, ""]) if _is_neglect(line)]
    assert not [complaint for complaint in told if NOT_OURS not in complaint], server.output


def _is_neglect(line: str) -> bool:
    return any(sign in line for sign in SIGNS_OF_NEGLECT)


def make_log(request: pytest.FixtureRequest, name: str, directory: Path) -> Log:
    """Return the log called ``name``: that of the run's s2-lite, or an embedded one in ``directory``."""
    if name == "s2":
        return s2_log(request.getfixturevalue("s2_server"))
    return sqlite_log(directory)


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    """A log for servers that the test makes."""
    return make_log(request, request.param, tmp_path)


@pytest.fixture(scope="module", params=SITES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server of the test project, shared by the tests of a module; every test brings its own chat ids."""
    kind, _, log = request.param.partition("-")
    directory = tmp_path_factory.mktemp(request.param)
    with running(scripted_server(kind, directory, log=make_log(request, log, directory))) as server:
        yield server


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make servers of the test project with settings, and a log, of their own; they end with the test."""
    numbers = count()
    # It ends them all, whatever is found with one of them.
    with ExitStack() as servers:

        def make(kind: str, *, log: Log | None = None, **settings: Any) -> Server:
            directory = tmp_path / f"server{next(numbers)}"
            directory.mkdir()
            server = scripted_server(kind, directory, log=log or sqlite_log(directory), **settings)
            return servers.enter_context(running(server))

        yield make


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        yield visitor


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Visitor]:
    """A client that only opens gates, where others are the visitors; it reads nothing as somebody."""
    async with Visitor(server.base) as visitor:
        yield visitor


@pytest.fixture(scope="session")
def node_project(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts of ``tests/node`` beside the packages, and the app's scripts, that they import."""
    project = tmp_path_factory.mktemp("node")
    shutil.copytree(CLIENT, project / "resumable_stream")
    (project / "resumable_stream" / "package.json").write_text('{"type": "module"}')
    for script in NODE_PROJECT.glob("*.mjs"):
        shutil.copy(script, project)
    (project / "node_modules").symlink_to(node_modules)
    return project


@pytest.fixture(scope="session")
def start_node(node: Path, node_project: Path) -> Iterator[Callable[..., NodeHost]]:
    """Start scripts under Node; they end with the session."""
    hosts: list[NodeHost] = []

    def start(script: str, *arguments: str) -> NodeHost:
        hosts.append(NodeHost([str(node), script, *arguments], directory=node_project))
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


@pytest.fixture(scope="session")
def script_host(start_node: Callable[..., NodeHost]) -> NodeHost:
    """Node for the manual's scripts, which run there as in a page of a site."""
    return start_node("streams.mjs")


@pytest.fixture(scope="session")
def ai_sdks(start_node: Callable[..., NodeHost]) -> dict[str, NodeHost]:
    """The stock AI SDK clients by version, for the browsers of ``tabs.py``."""
    return {version: start_node("aisdk.mjs", version) for version in AI_SDKS}


@pytest.fixture(scope="session")
def tanstack(start_node: Callable[..., NodeHost]) -> NodeHost:
    """The stock clients of TanStack AI and AG-UI, for the browsers of ``tanstack_tabs.py``."""
    return start_node("tanstack.mjs", str(CONNECTION))


@pytest.fixture(scope="session")
def chromium_host(start_node: Callable[..., NodeHost], chromium: Path) -> NodeHost:
    """The one Chromium of a run."""
    return start_node("pages.mjs", str(chromium))


@pytest.fixture
async def browser(chromium_host: NodeHost) -> AsyncIterator[NodeHost]:
    """Chromium, in which tests open pages; those of a test are closed with it.

    Left open, they would look for their server for ever, and find another one at its port.
    """
    yield chromium_host
    await chromium_host.call("closeAll")
