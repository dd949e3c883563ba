"""JSON Patch (RFC 6902), by which AG-UI tells what changed in an activity."""

from __future__ import annotations

import copy
from typing import Any


class PatchError(ValueError):
    """The patch does not fit the document, or is none."""


def apply_patch(document: Any, patch: Any) -> Any:
    """Return ``document`` with the changes made; it is left as it is.

    Raises:
        PatchError: An operation cannot be done; then none is.
    """
    if not isinstance(patch, list):
        raise PatchError("A patch is a list of operations.")
    holder = {"": copy.deepcopy(document)}
    for operation in patch:
        try:
            _apply(holder, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PatchError(f"Cannot do {operation!r:.200}.") from error
    return holder[""]


def _apply(holder: dict[str, Any], operation: dict[str, Any]) -> None:
    path = _split(operation["path"])
    match operation["op"]:
        case "add":
            _add(holder, path, copy.deepcopy(operation["value"]))
        case "replace":
            _get(holder, path)
            _set(holder, path, copy.deepcopy(operation["value"]))
        case "remove":
            _remove(holder, path)
        case "move":
            _add(holder, path, _remove(holder, _split(operation["from"])))
        case "copy":
            _add(holder, path, copy.deepcopy(_get(holder, _split(operation["from"]))))
        case "test":
            if _get(holder, path) != operation["value"]:
                raise ValueError("The test fails.")
        case _:
            raise ValueError("No such operation.")


def _split(pointer: str) -> list[str]:
    """Split a JSON pointer; the document itself is a member of what holds it."""
    if pointer and not pointer.startswith("/"):
        raise ValueError("A pointer begins with a slash.")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")]


def _index(step: str, *, end: int) -> int:
    if not step.isdecimal() or int(step) > end:
        raise IndexError(step)
    return int(step)


def _get(container: Any, path: list[str]) -> Any:
    for step in path:
        container = container[_index(step, end=len(container) - 1) if isinstance(container, list) else step]
    return container


def _set(container: Any, path: list[str], value: Any) -> None:
    parent = _get(container, path[:-1])
    parent[int(path[-1]) if isinstance(parent, list) else path[-1]] = value


def _add(container: Any, path: list[str], value: Any) -> None:
    parent = _get(container, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(path[-1], end=len(parent))
        parent.insert(at, value)
    else:
        parent[path[-1]] = value


def _remove(container: Any, path: list[str]) -> Any:
    parent, value = _get(container, path[:-1]), _get(container, path)
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return value
