"""Random operations, compared with a model that keeps everything in lists."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from resumable_stream.backends.memory import MemoryBackend
from resumable_stream.backends.sqlite import SQLiteBackend
from resumable_stream.testing import backend_state_machine

# A file for each process: the tests may run several times at once.
directory = Path(tempfile.gettempdir(), f"resumable-stream-models-{os.getpid()}")


@pytest.fixture(scope="module", autouse=True)
def _one_file_for_all_runs() -> object:
    yield
    shutil.rmtree(directory, ignore_errors=True)  # It is not there where only the other test ran.


TestMemoryBackend = backend_state_machine(lambda: MemoryBackend("default", {})).TestCase
TestSQLiteBackend = backend_state_machine(lambda: SQLiteBackend("default", {"path": directory / "log"})).TestCase
