from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from resumable_stream.backends.s2 import S2Backend

from ..s2_lite import S2Lite


@pytest.fixture
async def s2(s2_server: S2Lite) -> AsyncIterator[S2Backend]:
    """A backend on the run's s2-lite server."""
    backend = S2Backend("default", s2_server.options())
    yield backend
    await backend.close()


@pytest.fixture
def stream() -> str:
    """The name of a stream that no other test uses."""
    return f"test/{uuid4()}"
