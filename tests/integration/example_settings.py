"""The example project's own settings, with a README, a log and a pace that the tests choose."""

import json
import os
from pathlib import Path

from example_project.settings import *  # noqa: F403 - that is what settings modules do

ROOT_URLCONF = "tests.integration.example_urls"
DEMO_PAGES = [Path(os.environ["TEST_EXAMPLE_README"])]
GATE_AFTER = os.environ["TEST_EXAMPLE_GATE_AFTER"]
RESUMABLE_STREAM = json.loads(os.environ["TEST_PROJECT_SETTINGS"])
