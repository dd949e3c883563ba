"""The package as a whole: what importing it does, what it offers, and that imports point down."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import resumable_stream
from resumable_stream.chat.api import ResumableChat
from resumable_stream.views import ResumableChatView

PACKAGE = Path(resumable_stream.__file__).parent
ROOT = PACKAGE.parent

# From the bottom to the top; a module may import from its own layer and from those below. A name stands for everything
# in it.
LAYERS = (
    # Needs nothing of the others, and nobody needs it.
    ("client", ["client"]),
    ("ground", ["utils", "exceptions", "error_texts", "conf", "records", "types", "limits", "signals"]),
    ("log", ["backends"]),
    ("formats", ["formats", "validation"]),
    ("protocol", ["protocol"]),
    ("readers", ["readers"]),
    ("generations", ["generations", "runtime"]),
    ("http", ["http", "asgi"]),
    ("chat", ["chat", "string_streams"]),
    ("websockets", ["websockets"]),
    ("doors", ["views", "urls", "consumers", "routing"]),
    ("project", ["mounts", "checks", "apps", "management", "testing"]),
)
OPTIONAL_PACKAGES = ("channels", "daphne", "httpx", "httptools", "aiohappyeyeballs", "pydantic")


def module_names() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(module_names())


def layer_of(module: str) -> int:
    top = module.split(".")[0]
    ranks = [rank for rank, (_, names) in enumerate(LAYERS) if top in names]
    assert len(ranks) == 1, f"Name the layer of resumable_stream.{top} here."
    return ranks[0]


def imports_of(module: str) -> Iterator[str]:
    """Yield what a module of ours imports of us when it is imported; not what it imports for type checkers alone."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    nodes = list(ast.parse(path.read_text()).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [part for part in package[: len(package) - node.level + 1] if part]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                inner = ".".join([*base, alias.name])
                yield inner if inner in MODULES else ".".join(base)
        nodes += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_imports_point_down(module: str) -> None:
    upward = [found for found in imports_of(module) if found and layer_of(found) > layer_of(module)]

    assert upward == []


@pytest.mark.parametrize(
    ("importing", "never"),
    [
        ("websockets", "http"),
        ("http.sse", "readers.hub"),
        ("generations.writer", "readers.hub"),
        ("generations.writer", "readers.reader"),
        # Each of its verbs has a module of its own.
        ("chat.engine", "generations.writer"),
        ("chat.engine", "generations.generation"),
        ("chat.engine", "protocol.claim"),
        ("chat.engine", "protocol.ending"),
    ],
)
def test_layers_stay_apart_that_have_nothing_to_say_to_each_other(importing: str, never: str) -> None:
    found = {
        target
        for module in MODULES
        if f"{module}.".startswith(f"{importing}.")
        for target in imports_of(module)
        if f"{target}.".startswith(f"{never}.")
    }

    assert found == set()


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in MODULES.values()} - {PACKAGE}),
    ids=lambda folder: str(folder.relative_to(PACKAGE)),
)
def test_every_folder_says_what_it_is_for_and_what_it_may_import(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    is_format = folder.parent.name == "formats" and folder.name != "producers"

    assert text
    assert "ay import" in text or "imports neither" in text or is_format or folder.name in ("commands", "sqlite")


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module in done:
            return
        for found in imports_of(module):
            if found != module:
                visit(found, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())
    assert done == set(MODULES)


def test_the_public_names_are_there_and_are_what_they_seem() -> None:
    assert sorted(resumable_stream.__all__) == sorted(set(resumable_stream.__all__))
    assert {name for name in resumable_stream.__all__ if not name.startswith("_")} >= {
        "ResumableChat",
        "ResumableChatView",
    }
    assert all(getattr(resumable_stream, name) is not None for name in resumable_stream.__all__)
    assert set(resumable_stream.__all__) <= set(dir(resumable_stream))
    assert resumable_stream.ResumableChat is ResumableChat
    assert resumable_stream.ResumableChatView is ResumableChatView


DOCUMENTED = {
    "asgi",
    "client",
    "conf",
    "consumers",
    "exceptions",
    "formats",
    "records",
    "routing",
    "runtime",
    "signals",
    "testing",
    "urls",
}
"""Modules that the documentation names, beside the package itself."""


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_documentation_imports_public_names_alone(document: Path) -> None:
    imports = re.findall(r"from resumable_stream(\.[a-z0-9_.]+)? import ([A-Za-z_, ]+)", document.read_text())

    for module, names in imports:
        found = __import__(f"resumable_stream{module}", fromlist=["__name__"])
        for name in names.strip().split(", "):
            assert hasattr(found, name)
            assert name in resumable_stream.__all__ if not module else module[1:].split(".")[0] in DOCUMENTED, name


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = resumable_stream.Nothing


@pytest.mark.parametrize(
    "module", [name for name, path in MODULES.items() if "__all__" in path.read_text() and name], ids=str
)
def test_what_a_module_says_it_offers_can_be_imported(module: str) -> None:
    found = __import__(f"resumable_stream.{module}", fromlist=["__all__"])

    assert all(hasattr(found, name) for name in found.__all__)
    assert len(set(found.__all__)) == len(found.__all__)


def run(code: str, **environment: str) -> str:
    """Run ``code`` in a Python of its own, without this run's settings."""
    clean = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    clean |= {"PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_can_be_imported_before_django_is_configured() -> None:
    code = """
import sys
import resumable_stream
assert not any(name.startswith("resumable_stream.") for name in sys.modules)
from django.conf import settings
assert not settings.configured
print(resumable_stream.__version__)
"""
    assert run(code).strip() == resumable_stream.__version__


def test_importing_the_views_loads_no_package_that_is_optional() -> None:
    code = f"""
import sys, django
django.setup()
from resumable_stream import ResumableChatView
import resumable_stream.checks
print([name for name in {OPTIONAL_PACKAGES} if name in sys.modules])
"""
    assert run(code, DJANGO_SETTINGS_MODULE="tests.settings").strip() == "[]"


@pytest.mark.parametrize("module", ["consumers", "routing"])
def test_without_channels_its_modules_say_what_to_install_and_all_others_work(module: str) -> None:
    code = f"""
import sys, django
sys.modules["channels"] = None
django.setup()
import resumable_stream.checks, resumable_stream.views, resumable_stream.websockets.connection
try:
    import resumable_stream.{module}
except ImportError as error:
    print(error)
"""
    told = run(code, DJANGO_SETTINGS_MODULE="tests.settings")
    assert "pip install 'django-resumable-stream[channels]'" in told


def test_channels_is_imported_by_the_consumers_alone() -> None:
    line = re.compile(r"^\s*(from|import) channels", re.MULTILINE)

    assert {name for name, path in MODULES.items() if line.search(path.read_text())} == {"consumers"}


def test_importing_the_views_starts_nothing() -> None:
    code = """
import threading, django, asyncio
django.setup()
from resumable_stream import ResumableChatView
import signal
print(threading.active_count(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    assert run(code, DJANGO_SETTINGS_MODULE="tests.settings").split() == ["1", "True"]


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


SAME_NAMES = {
    "End": "of an answer for on_end, and of a stream for those who follow it with the Python client",
    "Start": "what the chat returns of a start, and what a client says on a websocket",
}
"""Names that two public classes share, and what each of them is."""


def test_no_two_public_classes_share_a_name() -> None:
    found: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    shared = {name: modules for name, modules in found.items() if len(modules) > 1}

    assert set(shared) == set(SAME_NAMES), shared
