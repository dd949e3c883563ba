"""One typed value carries a start from a request to the engine."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import resumable_stream
from resumable_stream.chat.api import ResumableChat
from resumable_stream.chat.engine import ChatEngine
from resumable_stream.chat.start_request import StartRequest

PACKAGE = Path(resumable_stream.__file__).parent
OF_THE_RESPONSE = {"delivery", "check", "wire"}
DJANGO_S = {"dispatch", "setup"}
"""Methods that override Django's, whose signature takes whatever a URLconf names."""
MODULES = [*(PACKAGE / "chat").glob("*.py"), *(PACKAGE / "views").glob("*.py"), *(PACKAGE / "websockets").glob("*.py")]


def keywords(function: object) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    return {name: one for name, one in parameters.items() if one.kind is not one.POSITIONAL_OR_KEYWORD}


@pytest.mark.parametrize("function", [ChatEngine.start, ResumableChat.make_resumable], ids=lambda one: one.__name__)
def test_function_api_names_and_types_each_argument_of_a_start(function: object) -> None:
    fields = {field.name: field for field in dataclasses.fields(StartRequest)}
    given = {name: one for name, one in keywords(function).items() if name not in OF_THE_RESPONSE}

    assert given
    for name, parameter in given.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert (parameter.annotation, parameter.default) == (fields[name].type, fields[name].default)


def test_start_request_cannot_be_changed_on_its_way() -> None:
    request = StartRequest(source=[])

    with pytest.raises(dataclasses.FrozenInstanceError):
        request.owner = "ada"  # type: ignore[misc]
    assert not hasattr(request, "__dict__")


def untyped_bundles(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.args.kwarg is not None:
            # What a URLconf names beside is called ``_`` and dropped.
            is_passed_on = node.args.kwarg.arg != "_" and node.name not in DJANGO_S
            annotation = node.args.kwarg.annotation
            if is_passed_on and (annotation is None or ast.unparse(annotation) == "Any"):
                yield f"{path.name}:{node.lineno} {node.name}(**{node.args.kwarg.arg})"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_function_between_views_websockets_and_engine_takes_untyped_keywords(path: Path) -> None:
    assert list(untyped_bundles(path)) == []
