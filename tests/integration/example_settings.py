"""The example project's own settings, with a README and a log that the tests choose."""

import json
import os
from pathlib import Path

from example_project.settings import *  # noqa: F403 - that is what settings modules do

DEMO_README = Path(os.environ["TEST_EXAMPLE_README"])
RESUMABLE_STREAM = json.loads(os.environ["TEST_PROJECT_SETTINGS"])
