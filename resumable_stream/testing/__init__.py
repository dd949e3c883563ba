"""For those who test: the contracts of a log and of a format, and a kit for the tests of a project.

:mod:`.contract` (for people who write a backend) and :mod:`.formats` (for people who write a format) are the contracts,
whose names can be imported from here; they need pytest, pytest-asyncio and hypothesis.
:mod:`.app` (for ``TestCase``) and :mod:`.plugin` (for pytest) are the kit, which needs none of them.

The contracts may import ``backends``, ``formats`` and what is below them, the kit all but the doors; nothing of the
package imports them.
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
    from .formats import FormatContract

__all__ = [
    "WAIT_SECONDS",
    "BackendContract",
    "FormatContract",
    "Probe",
    "backend_state_machine",
    "bodies",
    "eventually",
    "read_all",
    "texts",
]


def __getattr__(name: str) -> Any:
    """Import a contract when it is asked for: a project's tests may have no hypothesis."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ".formats" if name == "FormatContract" else ".contract"
    return getattr(import_module(module, __name__), name)
