"""Fixtures that need real processes."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NODE_PROJECT

from .node_host import NodeHost
from .servers import KINDS, Server, scripted_server
from .visitor import Visitor

# What a server prints when something of ours was left lying about.
SIGNS_OF_NEGLECT = ("was never retrieved", "was never awaited", "was destroyed but it is pending", "ResourceWarning")
# Django's own task, which nobody asks for its result where a client leaves just as the response has ended.
NOT_OURS = "coro=<ASGIHandler.listen_for_disconnect()"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")


def _check_output(server: Server) -> None:
    lines = server.output.splitlines()
    # What asyncio says of a task stands in the line after its complaint.
    told = [f"{line}\n{detail}" for line, detail in pairwise([*lines, ""]) if _is_neglect(line)]
    assert not [complaint for complaint in told if NOT_OURS not in complaint], server.output


def _is_neglect(line: str) -> bool:
    return any(sign in line for sign in SIGNS_OF_NEGLECT)


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server of the test project, shared by the tests of a module; every test brings its own chat ids."""
    server = scripted_server(request.param, tmp_path_factory.mktemp(request.param))
    server.start()
    yield server
    server.kill()
    _check_output(server)


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make servers of the test project with settings of their own; they end with the test."""
    servers: list[Server] = []

    def make(kind: str, **options: Any) -> Server:
        directory = tmp_path / f"server{len(servers)}"
        directory.mkdir()
        servers.append(scripted_server(kind, directory, **options))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
        _check_output(server)


@pytest.fixture
async def visitor(server: Server) -> AsyncIterator[Visitor]:
    async with Visitor(server.base) as visitor:
        yield visitor


@pytest.fixture(scope="session")
def node_project(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts of ``tests/node`` beside the packages that they import."""
    project = tmp_path_factory.mktemp("node")
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
