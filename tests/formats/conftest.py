"""Stock clients: of the AI SDK, in each version that is still served, and of Anthropic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import NODE_PROJECT

from .ai_client import AIClient, NodeClient

AI_VERSIONS = (5, 6, 7)


@pytest.fixture(scope="session")
def fold_project(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts beside the packages that they import."""
    project = tmp_path_factory.mktemp("fold")
    shutil.copy(NODE_PROJECT / "rpc.mjs", project)
    shutil.copytree(NODE_PROJECT / "fold", project / "fold")
    (project / "node_modules").symlink_to(node_modules)
    return project


@pytest.fixture(scope="session", params=AI_VERSIONS, ids=[f"ai{version}" for version in AI_VERSIONS])
def ai(request: pytest.FixtureRequest, node: Path, fold_project: Path) -> Iterator[AIClient]:
    """The client of the AI SDK, in each version."""
    client = AIClient(node, fold_project, request.param)
    yield client
    client.close()


@pytest.fixture(scope="session")
def anthropic(node: Path, fold_project: Path) -> Iterator[NodeClient]:
    """The stream parser of Anthropic's TypeScript SDK."""
    client = NodeClient(node, fold_project, "fold/anthropic.mjs")
    yield client
    client.close()


@pytest.fixture(scope="session")
def tanstack(node: Path, fold_project: Path) -> Iterator[NodeClient]:
    """The processor of TanStack AI's clients."""
    client = NodeClient(node, fold_project, "fold/tanstack.mjs", "0.58")
    yield client
    client.close()


@pytest.fixture(scope="session")
def old_tanstack(node: Path, fold_project: Path) -> Iterator[NodeClient]:
    """The same of version 0.14, which the npm package was written for."""
    client = NodeClient(node, fold_project, "fold/tanstack.mjs", "0.14")
    yield client
    client.close()


@pytest.fixture(scope="session")
def agui(node: Path, fold_project: Path) -> Iterator[NodeClient]:
    """The client of AG-UI."""
    client = NodeClient(node, fold_project, "fold/agui.mjs", "1.0")
    yield client
    client.close()


@pytest.fixture(scope="session")
def old_agui(node: Path, fold_project: Path) -> Iterator[NodeClient]:
    """The same of version 0.0.59, which CopilotKit 1.75 and assistant-ui stand on."""
    client = NodeClient(node, fold_project, "fold/agui.mjs", "0.0.59")
    yield client
    client.close()
