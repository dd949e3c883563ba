"""Keeping SQLite closed while the process forks.

SQLite's locks belong to a process, and its library keeps books about them in memory. A child that inherits open files
inherits the books but not the locks, and may damage the database without ever using a connection of its parent's. So
everything is closed before a fork, and opened again by whoever needs it next, on both sides.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that has files open, locks or threads."""

    def pause(self) -> None:
        """Close and stop everything, and let nobody begin until :meth:`resume`."""

    def resume(self) -> None:
        """Go on in the parent."""

    def reset(self) -> None:
        """Begin anew in the child."""


_members: WeakSet[Forkable] = WeakSet()
_paused: list[Forkable] = []


def close_before_fork(*members: Forkable) -> None:
    """Have ``members`` closed whenever the process forks, for as long as they live."""
    _members.update(members)


def _before() -> None:
    _paused.extend(_members)
    for member in _paused:
        member.pause()


def _after_in_parent() -> None:
    while _paused:
        _paused.pop().resume()


def _after_in_child() -> None:
    while _paused:
        _paused.pop().reset()


if hasattr(os, "register_at_fork"):  # Not on Windows, which does not fork.
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
