"""The example project's own settings, with a log and a README that the tests choose, and a short lease."""

import os
from pathlib import Path

from example_project.settings import *  # noqa: F403 - that is what settings modules do

DEMO_README = Path(os.environ["TEST_EXAMPLE_README"])
RESUMABLE_STREAM = {
    "BACKENDS": {
        "default": {
            "BACKEND": "resumable_stream.backends.sqlite.SQLiteBackend",
            "OPTIONS": {"path": os.environ["TEST_PROJECT_LOG"]},
        }
    },
    "LEASE_SECONDS": 2,
}
