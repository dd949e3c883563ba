"""What the protocol's tests share."""

from __future__ import annotations

import pytest

from .model_log import Stream


@pytest.fixture
def stream() -> Stream:
    """A stream that nobody has written to."""
    return Stream()
