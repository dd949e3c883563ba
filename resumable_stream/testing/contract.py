"""The contract of a log as tests, for whoever writes a backend.

Subclass :class:`BackendContract` and say what to test; pytest, pytest-asyncio (``asyncio_mode = auto``) and hypothesis
have to be installed::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        async def backend(self):
            backend = MyBackend("default", {})
            yield backend
            await backend.close()

    TestMyBackendAsModel = backend_state_machine(lambda: MyBackend("default", {})).TestCase

The suite runs unchanged on every backend. It assumes nothing about time: what the contract lets happen later (a trim is
seen, a deletion ends) is waited for, up to ``WAIT_SECONDS``.
"""

from __future__ import annotations

from .appends import AppendContract, ConditionContract
from .cancellation import CancellationContract
from .follows import FollowContract
from .helpers import WAIT_SECONDS, Probe, bodies, eventually, read_all, texts
from .model import backend_state_machine
from .reads import ReadContract, StreamContract
from .trims import TrimContract

__all__ = [
    "WAIT_SECONDS",
    "BackendContract",
    "Probe",
    "backend_state_machine",
    "bodies",
    "eventually",
    "read_all",
    "texts",
]


class BackendContract(
    AppendContract,
    ConditionContract,
    TrimContract,
    ReadContract,
    StreamContract,
    FollowContract,
    CancellationContract,
):
    """All of it. A subclass gives the fixture ``backend``; each test uses streams of its own."""
