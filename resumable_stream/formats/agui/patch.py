"""JSON Patch (RFC 6902), by which AG-UI tells what changed in an activity.

A patch of a few bytes can double a document with each of its operations, so documents are bounded, and so is what
operations that name a value instead of carrying it (``copy``, ``move``) may handle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..jsontext import copied

MOST_OPERATIONS = 1000
"""Operations of one patch."""
MOST_NODES = 100_000
"""Values in one document: objects, lists and plain values."""
MOST_DEPTH = 200
"""Levels of nesting of a document."""
MOST_NODES_HANDLED = 1_000_000
"""Values that the copies and moves of one chat may handle together."""

Undo = Callable[[], object]


class PatchError(ValueError):
    """The patch does not fit the document, is none, or asks for too much."""


class Budget:
    """What copies and moves may still handle."""

    def __init__(self, nodes: int = MOST_NODES_HANDLED) -> None:
        self._left = nodes

    def spend(self, nodes: int) -> None:
        """Spend some of it.

        Raises:
            PatchError: There is not enough left.
        """
        self._left = max(0, self._left - nodes)
        if self._left == 0:
            raise PatchError("The patches of this chat copy and move too much.")


class Document:
    """A JSON value that patches change."""

    def __init__(self, value: Any, budget: Budget | None = None) -> None:
        """Begin with a copy of ``value``."""
        nodes, depth = measure(value)
        self._is_full = nodes > MOST_NODES or depth > MOST_DEPTH
        self._holder: dict[str, Any] = {"": value if self._is_full else copied(value)}
        self._budget = budget or Budget()
        self._nodes = nodes
        """No less than the values that the document holds: what is taken away is counted only now and then."""

    @property
    def value(self) -> Any:
        """The value as the patches have made it."""
        return self._holder[""]

    def apply(self, patch: Any) -> None:
        """Make the changes of a patch.

        Raises:
            PatchError: An operation cannot be done; then none is. A document that has outgrown the bound takes no
                more patches.
        """
        if not isinstance(patch, list) or len(patch) > MOST_OPERATIONS:
            raise PatchError(f"A patch is a list of at most {MOST_OPERATIONS} operations.")
        if self._is_full:
            raise PatchError("The document is too large.")
        undos: list[Undo] = []
        try:
            for operation in patch:
                self._apply(operation, undos)
                self._check_size()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            for undo in reversed(undos):
                undo()
            raise PatchError(f"Cannot do {operation!r:.200}.") from error

    def _apply(self, operation: dict[str, Any], undos: list[Undo]) -> None:
        path = _split(operation["path"])
        match operation["op"]:
            case "add":
                self._grow(operation["value"], path)
                _add(self._holder, path, operation["value"], undos)
            case "replace":
                _get(self._holder, path)
                self._grow(operation["value"], path)
                _replace(self._holder, path, operation["value"], undos)
            case "remove":
                _remove(self._holder, path, undos)
            case "move":
                moved = _remove(self._holder, _split(operation["from"]), undos)
                self._check_moved(moved, path)
                _add(self._holder, path, moved, undos)
            case "copy":
                source = _get(self._holder, _split(operation["from"]))
                self._budget.spend(self._grow(source, path))
                _add(self._holder, path, copied(source), undos)
            case "test":
                if _get(self._holder, path) != operation["value"]:
                    raise ValueError("The test fails.")
            case _:
                raise ValueError("No such operation.")

    def _grow(self, value: Any, path: list[str]) -> int:
        """Count a value that is added; return how many it is."""
        nodes, depth = measure(value)
        if len(path) + depth > MOST_DEPTH:
            raise PatchError("The document is nested too deeply.")
        self._nodes += nodes
        return nodes

    def _check_size(self) -> None:
        if self._nodes <= MOST_NODES:
            return
        # Half of it must be free again, or the next addition would have it counted once more.
        self._nodes = measure(self.value)[0]
        self._is_full = self._nodes > MOST_NODES // 2
        if self._is_full:
            raise PatchError("The document is too large.")

    def _check_moved(self, value: Any, path: list[str]) -> None:
        nodes, depth = measure(value)
        self._budget.spend(nodes)
        if len(path) + depth > MOST_DEPTH:
            raise PatchError("The document is nested too deeply.")


def measure(value: Any) -> tuple[int, int]:
    """Count the values that a JSON value consists of, and its levels; stop counting beyond the bounds."""
    nodes, depth = 0, 0
    level = [value]
    while level and nodes <= MOST_NODES and depth <= MOST_DEPTH:
        nodes += len(level)
        depth += 1
        nested = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [inner for items in nested for inner in items]
    return nodes, depth


def _split(pointer: str) -> list[str]:
    """Split a JSON pointer; the document itself is a member of what holds it."""
    if pointer and not pointer.startswith("/"):
        raise ValueError("A pointer begins with a slash.")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _index(step: str, *, end: int) -> int:
    if not (step.isascii() and step.isdecimal()) or len(step) > 9 or int(step) > end:
        raise IndexError(step)
    return int(step)


def _get(container: Any, path: list[str]) -> Any:
    for step in path:
        container = container[_index(step, end=len(container) - 1) if isinstance(container, list) else step]
    return container


def _replace(container: Any, path: list[str], value: Any, undos: list[Undo]) -> None:
    parent = _get(container, path[:-1])
    at = int(path[-1]) if isinstance(parent, list) else path[-1]
    undos.append(_setting(parent, at, parent[at]))
    parent[at] = value


def _add(container: Any, path: list[str], value: Any, undos: list[Undo]) -> None:
    parent = _get(container, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(path[-1], end=len(parent))
        parent.insert(at, value)
        undos.append(lambda: parent.pop(at))
    elif path[-1] in parent:
        _replace(container, path, value, undos)
    else:
        parent[path[-1]] = value
        undos.append(lambda: parent.pop(path[-1]))


def _remove(container: Any, path: list[str], undos: list[Undo]) -> Any:
    parent, value = _get(container, path[:-1]), _get(container, path)
    if isinstance(parent, list):
        at = int(path[-1])
        undos.append(lambda: parent.insert(at, value))
        del parent[at]
    else:
        undos.append(_setting(parent, path[-1], value))
        del parent[path[-1]]
    return value


def _setting(parent: Any, at: Any, value: Any) -> Undo:
    def undo() -> None:
        parent[at] = value

    return undo
