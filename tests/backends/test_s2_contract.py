"""The contract of a log, unchanged, on a real s2-lite server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from resumable_stream.backends.s2 import S2Backend
from resumable_stream.testing import BackendContract, backend_state_machine

from ..s2_lite import S2Lite

options: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def _on_the_runs_server(s2_server: S2Lite) -> None:
    options.update(s2_server.options())


class TestS2Backend(BackendContract):
    @pytest.fixture
    async def backend(self) -> AsyncIterator[S2Backend]:
        backend = S2Backend("default", options)
        yield backend
        await backend.close()


TestS2BackendAsModel = backend_state_machine(lambda: S2Backend("default", options)).TestCase
