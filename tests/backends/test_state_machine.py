"""Random operations, compared with a model that keeps everything in lists."""

import shutil
import tempfile
from pathlib import Path

import pytest

from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.testing import backend_state_machine

directory = Path(tempfile.gettempdir(), "resumable-stream-models")


@pytest.fixture(scope="module", autouse=True)
def _one_file_for_all_runs() -> object:
    shutil.rmtree(directory, ignore_errors=True)
    yield
    shutil.rmtree(directory)


TestMemoryBackend = backend_state_machine(lambda: MemoryBackend("default", {})).TestCase
TestSQLiteBackend = backend_state_machine(lambda: SQLiteBackend("default", {"path": directory / "log"})).TestCase
