from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.formats.agui_patch import Document, PatchError


def apply_patch(value: Any, patch: Any) -> Any:
    document = Document(value)
    try:
        document.apply(patch)
    except PatchError:
        assert document.value == value, "a patch that fails changes nothing"
        raise
    return document.value


DOCUMENT = {"steps": ["one", "two"], "a/b": {"~": 1}}


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/done", "value": True}, {**DOCUMENT, "done": True}),
        ({"op": "add", "path": "/steps/1", "value": "x"}, {**DOCUMENT, "steps": ["one", "x", "two"]}),
        ({"op": "add", "path": "/steps/-", "value": "x"}, {**DOCUMENT, "steps": ["one", "two", "x"]}),
        ({"op": "replace", "path": "/a~1b/~0", "value": 2}, {**DOCUMENT, "a/b": {"~": 2}}),
        ({"op": "replace", "path": "/steps/0", "value": "x"}, {**DOCUMENT, "steps": ["x", "two"]}),
        ({"op": "replace", "path": "", "value": 5}, 5),
        ({"op": "remove", "path": "/steps/0"}, {**DOCUMENT, "steps": ["two"]}),
        ({"op": "remove", "path": "/steps"}, {"a/b": {"~": 1}}),
        ({"op": "move", "from": "/steps/0", "path": "/first"}, {**DOCUMENT, "steps": ["two"], "first": "one"}),
        ({"op": "copy", "from": "/steps/0", "path": "/first"}, {**DOCUMENT, "first": "one"}),
        ({"op": "test", "path": "/steps/0", "value": "one"}, DOCUMENT),
    ],
)
def test_each_operation_is_done_on_a_copy(operation: dict[str, Any], expected: Any):
    assert apply_patch(DOCUMENT, [operation]) == expected
    assert DOCUMENT == {"steps": ["one", "two"], "a/b": {"~": 1}}


@pytest.mark.parametrize(
    "patch",
    [
        5,
        [5],
        [{}],
        [{"op": "jump", "path": ""}],
        [{"op": "replace", "path": "/nowhere", "value": 1}],
        [{"op": "replace", "path": "nowhere", "value": 1}],
        [{"op": "remove", "path": "/steps/2"}],
        [{"op": "add", "path": "/steps/3", "value": 1}],
        [{"op": "add", "path": "/steps/-1", "value": 1}],
        [{"op": "test", "path": "/steps/0", "value": "two"}],
    ],
)
def test_a_patch_that_does_not_fit_is_refused(patch: Any):
    with pytest.raises(PatchError):
        apply_patch(DOCUMENT, patch)
