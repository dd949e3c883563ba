"""How long tests wait for what must come."""

from __future__ import annotations

PATIENCE_SECONDS = 30
"""How long a condition, an answer or a lock may take on a loaded machine before a test calls it missing. No test
measures time by it."""
