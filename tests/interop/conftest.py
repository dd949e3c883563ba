from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from resumable_stream.backends.s2 import S2Backend

from ..integration.conftest import node_project, start_node
from ..integration.node_host import NodeHost
from ..s2_lite import BASIN, S2Lite

__all__ = ["node_project", "start_node"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("integration")


@pytest.fixture(scope="session")
def service(start_node: Callable[..., NodeHost], s2_server: S2Lite) -> NodeHost:
    """A Node service on the same basin."""
    return start_node("interop.mjs", s2_server.url, BASIN)


@pytest.fixture
async def s2(s2_server: S2Lite) -> AsyncIterator[S2Backend]:
    backend = S2Backend("interop", s2_server.options())
    yield backend
    await backend.close()


@pytest.fixture
def stream() -> str:
    """The name of a stream that no other test uses."""
    return f"interop/{uuid4()}"
