"""What tests of the engine share."""

from __future__ import annotations

import pytest

from .engines import Listener


@pytest.fixture
def listener() -> Listener:
    return Listener()
