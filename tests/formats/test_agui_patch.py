from __future__ import annotations

from typing import Any

import pytest

from resumable_stream.formats.agui.patch import MOST_DEPTH, MOST_NODES, Budget, Document, PatchError


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


def test_patch_that_doubles_a_document_is_refused_and_changes_nothing():
    bomb = [{"op": "copy", "from": "", "path": f"/k{number}"} for number in range(30)]
    with pytest.raises(PatchError, match="Cannot do"):
        apply_patch({"a": 1}, bomb)


def test_document_that_has_outgrown_the_bound_takes_no_more_patches():
    document = Document({"a": [0] * (MOST_NODES // 2)})
    with pytest.raises(PatchError):
        document.apply([{"op": "copy", "from": "/a", "path": "/b"}, {"op": "copy", "from": "/a", "path": "/c"}])
    with pytest.raises(PatchError, match="too large"):
        document.apply([{"op": "add", "path": "/d", "value": 1}])
    assert list(document.value) == ["a"]


def test_values_that_are_replaced_again_and_again_do_not_fill_a_document():
    document = Document({})
    for _ in range(5):
        document.apply([{"op": "add", "path": "/a", "value": [0] * (MOST_NODES // 3)}])
    assert len(document.value["a"]) == MOST_NODES // 3


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_what_copies_and_moves_handle_is_bounded_for_the_whole_chat(operation: str):
    budget = Budget(1000)
    document = Document({"a": [0] * 300, "b": {}}, budget)
    there, back = {"op": operation, "from": "/a", "path": "/b/a"}, {"op": operation, "from": "/b/a", "path": "/a"}
    document.apply([there, back, there])
    with pytest.raises(PatchError):
        document.apply([back])


def test_patch_has_a_bounded_number_of_operations_and_a_document_a_bounded_depth():
    with pytest.raises(PatchError, match="at most 1000 operations"):
        apply_patch({}, [{"op": "test", "path": "", "value": {}}] * 1001)
    document = Document({})
    additions = [{"op": "add", "path": "/a" * (depth + 1), "value": {}} for depth in range(MOST_DEPTH + 1)]
    document.apply(additions[: MOST_DEPTH - 5])
    with pytest.raises(PatchError):
        document.apply(additions[MOST_DEPTH - 5 :])
