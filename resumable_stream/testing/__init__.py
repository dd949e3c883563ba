"""For those who test: the contract of a log, for whoever writes a backend, and a kit for the tests of a project.

:mod:`.contract` is the contract, whose names can be imported from here; it needs pytest, pytest-asyncio and hypothesis.
:mod:`.app` (for ``TestCase``) and :mod:`.plugin` (for pytest) are the kit, which needs none of them.

The contract may import ``backends`` and what is below it, the kit all but the doors; nothing of the package imports
them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import (
        WAIT_SECONDS,
        BackendContract,
        Probe,
        backend_state_machine,
        bodies,
        eventually,
        read_all,
        texts,
    )

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


def __getattr__(name: str) -> Any:
    """Import the contract when it is asked for: a project's tests may have no hypothesis."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".contract", __name__), name)
